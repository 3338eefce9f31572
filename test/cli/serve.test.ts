import { generateKeyPairSync } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodeJwt } from "jose";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { describeRunning } from "../../src/cli/running.ts";
import { createSidecar, parseConfig } from "../../src/index.ts";
import { startBackend } from "../support/backend.ts";
import { runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { withoutRequests } from "../support/log.ts";
import { runHere } from "./in-process.ts";

const HINT = "(--help shows how it is used)\n";

test("--upstream alone is a configuration: every request gets a token", async () => {
  using folder = temporaryFolder();
  await using backend = await startBackend();
  await using sidecar = await startCommand(["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"], {
    cwd: folder.path,
  });

  expect(await (await fetch(`${sidecar.url}/orders/42`)).text()).toBe("ok");
  const token = backend.requests[0]?.headers.authorization?.replace("Bearer ", "") ?? "";
  expect(decodeJwt(token)).toMatchObject({
    iss: `${sidecar.url}/__issuer`,
    sub: "api-gateway",
    aud: `${sidecar.url}/orders/42`,
  });
  expect(existsSync(join(folder.path, "keys", "ring.1.json"))).toBe(true);
});

test("what runs where is said at the start, and SIGTERM ends it with 0", async () => {
  using folder = temporaryFolder();
  await using sidecar = await startCommand(
    ["serve", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0"],
    { cwd: folder.path },
  );
  const { keys } = (await (await fetch(`${sidecar.url}/__issuer/.well-known/jwks.json`)).json()) as {
    keys: { kid: string }[];
  };
  const { code, stdout, stderr } = await sidecar.stop("SIGTERM");
  expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
  expect(withoutRequests(stderr)).toBe(`\
listening on  ${sidecar.url}
forwarding to http://127.0.0.1:9
issuer        ${sidecar.url}/__issuer
signing with  EdDSA, key ${keys[0]?.kid} in ${join(folder.path, "keys")}

SIGTERM: finishing the requests under way; a second signal ends at once
`);
});

test("each algorithm, where its keys come from, and the operators' listener are said at the start", async () => {
  using folder = temporaryFolder();
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    `upstream: http://127.0.0.1:9
listen: 127.0.0.1:0
issuer: {algorithm: ES384}
identity: {account: a, algorithm: ES256}
token: {algorithm: EdDSA}
`,
  );
  await using sidecar = await startCommand(["serve", "--admin", "127.0.0.1:0"], { cwd: folder.path });
  const { keys } = (await (await fetch(`${sidecar.url}/__issuer/.well-known/jwks.json`)).json()) as {
    keys: { kid: string }[];
  };
  const directory = join(folder.path, "keys");
  await vi.waitFor(() => expect(sidecar.output().stderr).toMatch(/operators .*\n/), { timeout: 5000 });
  const stderr = withoutRequests(sidecar.output().stderr);
  const [, adminUrl = ""] = /operators {5}(\S+)\n/.exec(stderr) ?? [];
  expect(stderr).toBe(`\
listening on  ${sidecar.url}
forwarding to http://127.0.0.1:9
issuer        ${sidecar.url}/__issuer
signing with  ES384, key ${keys[0]?.kid} in ${directory}
signing with  EdDSA, key ${keys[1]?.kid} in ${directory}
signing with  ES256, key ${keys[2]?.kid} in ${directory}
operators     ${adminUrl}
`);
  const token = await fetch(`${adminUrl}/identity/token`, { headers: { "x-countersign-identity": "true" } });
  expect(decodeJwt(await token.text())).toMatchObject({ iss: `${sidecar.url}/__issuer`, sub: "a" });
  const { code } = await sidecar.stop();
  expect(code).toBe(0);
  await expect(fetch(adminUrl)).rejects.toThrow("fetch failed");
});

test.each([
  ["files: [a.pem, b.pem]", "from $FOLDER/a.pem, $FOLDER/b.pem"],
  ["env: KEY", "from $KEY"],
  ["ephemeral: true", "in memory"],
])("{%s}: the key is said to be %s", async (keys, where) => {
  using folder = temporaryFolder();
  const pem = () =>
    generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  for (const name of ["a.pem", "b.pem"]) writeFileSync(join(folder.path, name), pem(), { mode: 0o600 });
  const { config } = parseConfig(
    `upstream: http://127.0.0.1:9\nlisten: 127.0.0.1:0\nadmin: false\nissuer: {keys: {${keys}}}\n`,
    {
      file: join(folder.path, "sidecar.yaml"),
    },
  );
  const sidecar = createSidecar(config, { env: { KEY: pem() } });
  onTestFinished(() => sidecar.close());
  const running = await sidecar.start();
  expect(describeRunning(config, running).text.split("\n")[3]).toBe(
    `signing with  EdDSA, key ${running.issuer.jwks().keys[0]?.kid} ${where.replaceAll("$FOLDER", folder.path)}`,
  );
});

test("--admin takes the place of what the file says, or of nothing", async () => {
  using folder = temporaryFolder();
  await using other = await startBackend();
  const run = async (admin: string) => {
    writeFileSync(
      join(folder.path, "sidecar.yaml"),
      `upstream: http://127.0.0.1:9\nlisten: 127.0.0.1:0\n${admin}\n`,
    );
    return await runHere(["serve", "--admin", `127.0.0.1:${other.port}`], { cwd: folder.path });
  };
  for (const admin of ["", "admin: 127.0.0.1:0", "admin: false", "admin: {address: 127.0.0.1:0}"])
    expect(await run(admin)).toEqual({
      code: 1,
      stdout: "",
      stderr: `countersign: cannot listen on 127.0.0.1:${other.port}: another program uses this port; stop it, or choose another port; this is the operators' listener: set admin (--admin) to another address, or to false for none\n`,
    });
});

test("--upstream and --listen take the place of what the file says", async () => {
  using folder = temporaryFolder();
  await using backend = await startBackend();
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    `
listen: {address: 127.0.0.1:1}
upstream: {url: http://127.0.0.1:1, preserveHost: false}
token: {subject: from-the-file}
`,
  );
  await using sidecar = await startCommand(["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"], {
    cwd: folder.path,
  });
  await fetch(sidecar.url);
  const [seen] = backend.requests;
  expect(decodeJwt(seen?.headers.authorization?.replace("Bearer ", "") ?? "").sub).toBe("from-the-file");
  expect(seen?.headers.host).toBe(new URL(backend.url).host);
});

test("a listener on every address says so, and warns of the issuer that its tokens name", async () => {
  using folder = temporaryFolder();
  await using sidecar = await startCommand(["serve", "--upstream", "http://127.0.0.1:9", "--listen", ":0"], {
    cwd: folder.path,
  });
  const [warning, listening] = sidecar.output().stderr.split("\n");
  expect(warning?.replace(/^\S+ /, "")).toBe(
    "warning: --listen: the sidecar listens on every address and issuer.url is not set, so tokens name 127.0.0.1 as their issuer; set issuer.url to a URL that the backend can reach",
  );
  expect(listening).toBe(`listening on  ${sidecar.url} (and on every other address of this machine)`);
});

describe("wrong usage exits with 2", () => {
  test.each([
    [
      [],
      "there is no ./sidecar.yaml here: name the backend with --upstream URL, or a configuration with -c FILE; countersign init writes a first one",
    ],
    [
      ["--listen", "127.0.0.1:0"],
      "there is no ./sidecar.yaml here: name the backend with --upstream URL, or a configuration with -c FILE; countersign init writes a first one",
    ],
    [["--upstream", "nonsense"], '--upstream: expected a URL such as "http://127.0.0.1:9000"'],
    [["--upstream", ""], '--upstream: expected a URL such as "http://127.0.0.1:9000"'],
    [
      ["--upstream", "http://a/b"],
      "--upstream: expected a URL without a path: a request keeps the path that the client sent",
    ],
    [["--upstream", "http://me:hunter2@a"], "--upstream: expected a URL without a user name or password"],
    [["--upstream", "http://a:0"], "--upstream: expected a port from 1 to 65535"],
    [
      ["--upstream", "http://a", "--listen", "8080"],
      '--listen: expected an address such as "127.0.0.1:8080", "[::1]:8080", ":8080", "unix:/run/c.sock" or "systemd"',
    ],
    [
      ["--upstream", "http://a", "--admin", "8081"],
      '--admin: expected an address such as "127.0.0.1:8080", "[::1]:8080", ":8080", "unix:/run/c.sock" or "systemd"',
    ],
    [["--upstream", "http://a", "--workers", "0"], "--workers: expected at least 1"],
    [["--upstream", "http://a", "--workers", "257"], "--workers: expected at most 256"],
    [
      ["--upstream", "http://a", "--log-level", "loud"],
      "option '--log-level <level>' argument 'loud' is invalid. Allowed choices are debug, info, warn, error, silent.",
    ],
    [
      ["--upstream", "http://a", "--workers", "many"],
      '--workers: expected a number of processes, or "auto" for one a core',
    ],
  ])("%j", async (arguments_, message) => {
    using folder = temporaryFolder();
    expect(await runHere(["serve", ...arguments_], { cwd: folder.path })).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: ${message}\n${HINT}`,
    });
    expect(existsSync(join(folder.path, "keys"))).toBe(false);
  });
});

describe("what cannot be started exits with 1 and says why", () => {
  test("a port in use", async () => {
    using folder = temporaryFolder();
    await using other = await startBackend();
    const listen = `127.0.0.1:${other.port}`;
    expect(
      await runCommand(["serve", "--upstream", "http://127.0.0.1:9", "--listen", listen], {
        cwd: folder.path,
      }),
    ).toEqual({
      code: 1,
      stdout: "",
      stderr: `countersign: cannot listen on ${listen}: another program uses this port; stop it, or choose another port\n`,
    });
  });

  test("an address that this machine does not have", async () => {
    using folder = temporaryFolder();
    expect(
      // RFC 5737: an address for documentation.
      await runHere(["serve", "--upstream", "http://127.0.0.1:9", "--listen", "192.0.2.1:8080"], {
        cwd: folder.path,
      }),
    ).toEqual({
      code: 1,
      stdout: "",
      stderr: "countersign: cannot listen on 192.0.2.1:8080: this machine has no such address\n",
    });
  });

  test("a key that does not fit the algorithm", async () => {
    using folder = temporaryFolder();
    writeFileSync(
      join(folder.path, "sidecar.yaml"),
      "upstream: http://127.0.0.1:9\nissuer: {algorithm: RS256, keys: {env: KEY}}\n",
    );
    const KEY = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    expect(await runHere(["serve"], { cwd: folder.path, env: { KEY } })).toEqual({
      code: 1,
      stdout: "",
      stderr:
        "countersign: the environment variable KEY: RS256 needs an RSA key, and this is an Ed25519 key\n",
    });
  });

  test("a file that does not exist, whatever else is said", async () => {
    using folder = temporaryFolder();
    expect(
      await runHere(["serve", "-c", "none.yaml", "--upstream", "http://127.0.0.1:9"], {
        cwd: folder.path,
      }),
    ).toEqual({
      code: 1,
      stdout: "",
      stderr:
        "none.yaml: this file does not exist; name the configuration with -c FILE or in $COUNTERSIGN_CONFIG\n",
    });
  });
});

test("a promise that a policy's module leaves to itself does not end the sidecar", async () => {
  using folder = temporaryFolder();
  await using backend = await startBackend();
  writeFileSync(
    join(folder.path, "policy.mjs"),
    `export default () => { Promise.reject(new Error("left\\u001b alone")); };\n`,
  );
  const config = join(folder.path, "sidecar.yaml");
  writeFileSync(
    config,
    `listen: 127.0.0.1:0\nupstream: ${backend.url}\nissuer: {keys: {ephemeral: true}}\npolicies: [{name: p, module: ./policy.mjs}]\n`,
  );
  await using sidecar = await startCommand(["serve", "-c", config]);
  for (let i = 0; i < 2; i++) expect((await fetch(sidecar.url)).status).toBe(200);
  expect(sidecar.output().stderr).toContain(
    "warning: a promise was rejected that nobody waits for: left\\u001b alone",
  );
});
