import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ask } from "../../src/cli/ask.ts";
import { startAdminSidecar } from "../admin/sidecar.ts";
import { startBackend } from "../support/backend.ts";
import { createCa, issueForServer, writeTlsFiles } from "../support/certificates.ts";
import { runCommand, temporaryFolder } from "../support/command-line.ts";
import { runHere } from "./in-process.ts";

/** Asks with this configuration. */
async function health(yaml: string | undefined, ...arguments_: string[]) {
  using folder = temporaryFolder();
  if (yaml !== undefined) writeFileSync(join(folder.path, "sidecar.yaml"), yaml);
  return await runHere(["health", ...arguments_], { cwd: folder.path });
}

const UPSTREAM = "upstream: http://127.0.0.1:9\n";

test("of a sidecar that is ready it says so in a line, and the exit code is 0", async () => {
  await using sidecar = await startAdminSidecar({ yaml: "" });
  using folder = temporaryFolder();
  writeFileSync(join(folder.path, "sidecar.yaml"), `${UPSTREAM}admin: 127.0.0.1:${sidecar.adminPort}\n`);
  expect(await runCommand(["health"], { cwd: folder.path })).toEqual({
    code: 0,
    stdout: `${sidecar.adminUrl}/readyz: ready\n`,
    stderr: "",
  });
});

test("of one that is not it says why, and the exit code is 1; it lives all the same", async () => {
  await using sidecar = await startAdminSidecar({
    yaml: 'upstream: {url: "http://127.0.0.1:9", healthCheck: {path: /up, interval: 1s}}',
  });
  const url = sidecar.adminUrl ?? "";
  const { code, stdout, stderr } = await health(undefined, "--url", url);
  expect({ code, stderr }).toEqual({ code: 1, stderr: "" });
  expect(stdout).toMatch(/^\S+\/readyz: not ready\n {2}upstream http:\/\/127\.0\.0\.1:9: .+\n$/);

  const { code: jsonCode, stdout: json } = await health(undefined, "--url", url, "--json");
  expect(jsonCode).toBe(1);
  expect(JSON.parse(json)).toMatchObject({
    url: `${url}/readyz`,
    status: "not ready",
    checks: { keys: { ready: true }, "upstream http://127.0.0.1:9": { ready: false } },
  });

  expect(await health(undefined, "--url", url, "--live")).toEqual({
    code: 0,
    stdout: `${url}/livez: live\n`,
    stderr: "",
  });
});

describe("where the operators' listener is", () => {
  test.each([
    ["on every address, so the loopback one is asked", (port: number) => `admin: ":${port}"`],
    ["in the long form", (port: number) => `admin: {address: "127.0.0.1:${port}"}`],
    ["in a variable", (port: number) => `admin: $env(NO_SUCH_VARIABLE, 127.0.0.1:${port})`],
  ])("%s", async (_what, admin) => {
    await using sidecar = await startAdminSidecar({ yaml: "" });
    expect(await health(`${UPSTREAM}${admin(sidecar.adminPort)}\n`)).toMatchObject({ code: 0 });
  });

  test("on a Unix socket, by the configuration and by --url", async () => {
    using folder = temporaryFolder();
    const socket = join(folder.path, "admin.sock");
    await using _sidecar = await startAdminSidecar({ yaml: `admin: unix:${socket}\n` });
    const ready = { code: 0, stdout: `unix:${socket}/readyz: ready\n`, stderr: "" };
    expect(await health(`${UPSTREAM}admin: unix:${socket}\n`)).toEqual(ready);
    expect(await health(undefined, "--url", `unix:${socket}`)).toEqual(ready);
  });

  test("behind TLS with a certificate for a name that the probe does not use", async () => {
    using folder = temporaryFolder();
    const ca = await createCa();
    const names = [{ type: "dns", value: "ops.example" } as const];
    writeTlsFiles(folder.path, await ca.issue({ commonName: "ops.example", names }), ca);
    const tls = `tls: {cert: "${folder.path}/tls.crt", key: "${folder.path}/tls.key"}`;
    await using sidecar = await startAdminSidecar({ yaml: `admin: {address: "127.0.0.1:0", ${tls}}\n` });
    const admin = `admin: {address: "127.0.0.1:${sidecar.adminPort}", ${tls}}\n`;
    expect(await health(`${UPSTREAM}${admin}`)).toMatchObject({ code: 0 });
    expect(await health(undefined, "--url", sidecar.adminUrl ?? "")).toMatchObject({ code: 0 });
  });

  test("of everything else in the file nothing has to be right: the running sidecar may have another version of it", async () => {
    await using sidecar = await startAdminSidecar({ yaml: "" });
    const yaml = `upstreem: $env(NO_SUCH_VARIABLE)\nadmin: 127.0.0.1:${sidecar.adminPort}\ntoken: {subject: 5}\n`;
    expect(await health(yaml)).toMatchObject({ code: 0, stderr: "" });
  });

  test("not said: the default address is asked, with a file or without", async () => {
    // Whoever listens there on this machine.
    const asked = expect.stringMatching(/^http:\/\/127\.0\.0\.1:8081\/readyz: /);
    for (const yaml of [undefined, "", UPSTREAM]) expect(await health(yaml)).toMatchObject({ stdout: asked });
  });

  test("not to be found out: that is said, with the key, and what to do", async () => {
    const hint = "\n(--help shows how it is used)\n";
    const unknown =
      "countersign: the configuration does not say where the operators' listener is (admin); name it with --url URL";
    for (const [admin, code, message] of [
      ["admin: false", 2, `countersign: the configuration has no operators' listener (admin: false)${hint}`],
      ["admin: systemd:admin", 2, `${unknown}${hint}`],
      ["admin: 127.0.0.1:0", 2, `${unknown}${hint}`],
      [
        "admin: true",
        1,
        'sidecar.yaml:2:8 admin: expected an address such as "127.0.0.1:8081", or false for none\n',
      ],
      [
        "admin: unix:/run/$env(NO_SUCH_VARIABLE)",
        1,
        "sidecar.yaml:2:18 admin: the environment variable NO_SUCH_VARIABLE is not set; set it, or give a default: $env(NO_SUCH_VARIABLE, …)\n",
      ],
    ] as const)
      expect(await health(`${UPSTREAM}${admin}\n`)).toEqual({ code, stdout: "", stderr: message });
    expect(await health("admin: [")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("not valid YAML"),
    });
    expect(await health(undefined, "-c", "none.yaml")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("none.yaml: this file cannot be read"),
    });
  });

  test.each(["8081", "http://a/readyz", "ftp://a", "http://me:hunter2@a"])(
    "--url %s is wrong usage",
    async (url) => {
      expect(await health(undefined, "--url", url)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('--url: expected a URL such as "http://127.0.0.1:8081"'),
      });
    },
  );
});

describe("what is no answer of a sidecar", () => {
  test("nobody listens", async () => {
    expect(await health(undefined, "--url", "http://127.0.0.1:9")).toEqual({
      code: 1,
      stdout: "http://127.0.0.1:9/readyz: no answer: nobody listens there\n",
      stderr: "",
    });
    const { code, stdout } = await health(undefined, "--url", "unix:/no/such.sock", "--json");
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      url: "unix:/no/such.sock/readyz",
      status: "no answer: there is no such socket",
    });
  });

  test("who accepts and stays silent is waited for two seconds", async () => {
    const server = createServer(() => {}).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const { code, stdout } = await health(undefined, "--url", `http://127.0.0.1:${port}`);
    server.close();
    expect({ code, stdout }).toEqual({
      code: 1,
      stdout: `http://127.0.0.1:${port}/readyz: no answer: no answer within 2 s\n`,
    });
  });

  test.each([
    [200, "ok"],
    [200, '{"status":1}'],
    [404, '{"status":404}'],
    [301, '{"status":"ready"}'],
  ])("another server that answers %d %s", async (status, body) => {
    await using backend = await startBackend((_request, response) => response.writeHead(status).end(body));
    expect(await health(undefined, "--url", backend.url)).toEqual({
      code: 1,
      stdout: `${backend.url}/readyz: this is not the operators' listener of a sidecar: the answer is ${status}\n`,
      stderr: "",
    });
  });

  test("what it sends cannot steer the terminal", async () => {
    await using backend = await startBackend((_request, response) =>
      response
        .writeHead(503)
        .end(JSON.stringify({ status: "a\u001b[2J", checks: { b: { reason: "c\nd" } } })),
    );
    const { stdout } = await health(undefined, "--url", backend.url);
    expect(stdout).toBe(`${backend.url}/readyz: a\\u001b[2J\n  b: c\\nd\n`);
  });
});

test("a certificate that nobody vouches for will do only where that is said", async () => {
  using folder = temporaryFolder();
  const ca = await createCa();
  writeTlsFiles(folder.path, await issueForServer(ca), ca);
  const tls = `tls: {cert: "${folder.path}/tls.crt", key: "${folder.path}/tls.key"}`;
  await using sidecar = await startAdminSidecar({ yaml: `admin: {address: "127.0.0.1:0", ${tls}}\n` });
  const origin = sidecar.adminUrl ?? "";
  await expect(ask({ origin }, "/livez", 2000)).rejects.toThrow(/certificate/);
  expect((await ask({ origin, takesAnyCertificate: true }, "/livez", 2000)).status).toBe(200);
});

test("a path cannot lead to another host", async () => {
  await using backend = await startBackend();
  expect((await ask({ origin: backend.url }, "//127.0.0.1:9/keys", 2000)).status).toBe(200);
  expect(backend.requests.map(({ url }) => url)).toEqual(["//127.0.0.1:9/keys"]);
});
