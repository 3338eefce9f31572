import { execFileSync, spawn } from "node:child_process";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { describe, expect, test, vi } from "vitest";
import { keepCopy } from "../../src/cli/static-issuer/keep-copy.ts";
import { loadConfig } from "../../src/config/load.ts";
import { SIGNING_ALGORITHMS } from "../../src/issuer/algorithms.ts";
import type { SourceHealth } from "../../src/refresh.ts";
import { jwkOf, pemOf, privateKeyFor } from "../issuer/keys/key-material.ts";
import { startBackend } from "../support/backend.ts";
import { EXECUTABLE, runCommand, temporaryFolder } from "../support/command-line.ts";
import { startSidecar } from "../support/sidecar.ts";
import { startStaticHost } from "../support/static-host.ts";
import { storedRingIn } from "../support/stored-ring.ts";
import { runHere } from "./in-process.ts";

const URL_OF_COPY = "https://tokens.example.com/issuer";
const IDENTITY = "identity: {account: a, project: p, environment_type: production}\n";
const FILES = [
  ".well-known/jwks.json",
  ".well-known/openid-configuration",
  ".well-known/oauth-authorization-server",
];
const [JWKS = "", DISCOVERY = "", OAUTH = ""] = FILES;
const HINT = "\n(--help shows how it is used)\n";

/** A folder with a configuration and its keys, where `issuer export site` is run. */
function placeWith({ url = URL_OF_COPY, issuer = "", yaml = IDENTITY } = {}) {
  const folder = temporaryFolder();
  const write = (name: string, content: string) =>
    writeFileSync(join(folder.path, name), content, { mode: 0o600 });
  const configure = (change: { readonly url?: string; readonly yaml?: string; readonly issuer?: string }) => {
    const named = (change.url ?? url) === "" ? "" : `url: '${change.url ?? url}'`;
    const inner = [named, change.issuer ?? issuer].filter((part) => part !== "").join(", ");
    write(
      "sidecar.yaml",
      `upstream: http://127.0.0.1:9\nadmin: false\nissuer: {${inner}}\n${change.yaml ?? yaml}`,
    );
  };
  configure({});
  const run = (...arguments_: string[]) => runHere(arguments_, { cwd: folder.path });
  return {
    path: folder.path,
    write,
    configure,
    run,
    export: (...arguments_: string[]) => run("issuer", "export", ...arguments_),
    read: (path: string) => readFileSync(join(folder.path, "site", path), "utf8"),
    /** The kids in the copy. */
    kids: () =>
      (JSON.parse(readFileSync(join(folder.path, "site", JWKS), "utf8")).keys as { kid: string }[]).map(
        ({ kid }) => kid,
      ),
    ring: (): { keys: { kid: string; algorithm: string }[] } => storedRingIn(join(folder.path, "keys")),
    /** When each file was written. */
    times: () => FILES.map((path) => statSync(join(folder.path, "site", path)).mtimeMs),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

/** The ring of the default configuration: an RSA key takes a second, and the tests do not care which it is. */
const madeRing = (async () => {
  using place = placeWith();
  expect((await place.run("keys", "generate")).code).toBe(0);
  return JSON.stringify(place.ring());
})();

async function placeWithKeys(options: Parameters<typeof placeWith>[0] = {}) {
  const place = placeWith(options);
  if (options.yaml === undefined && options.issuer === undefined) {
    mkdirSync(join(place.path, "keys"), { mode: 0o700 });
    place.write("keys/ring.1.json", await madeRing);
  } else expect((await place.run("keys", "generate")).code).toBe(0);
  return place;
}

test("the files say what the sidecar answers, byte for byte, and where each belongs is printed", async () => {
  using place = await placeWithKeys();
  await using sidecar = await startSidecar("http://127.0.0.1:9", {
    yaml: `issuer: {url: '${URL_OF_COPY}', keys: {directory: ${place.path}/keys}}\n${IDENTITY}`,
  });

  const { code, stdout, stderr } = await place.export("site");

  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const answer = async (path: string) => (await fetch(`${sidecar.url}${path}`)).text();
  expect(place.read(JWKS)).toBe(await answer("/__issuer/.well-known/jwks.json"));
  expect(place.read(DISCOVERY)).toBe(await answer("/__issuer/.well-known/openid-configuration"));
  expect(place.read(OAUTH)).toBe(await answer("/.well-known/oauth-authorization-server/__issuer"));
  expect(JSON.parse(place.read(DISCOVERY))).toMatchObject({
    issuer: URL_OF_COPY,
    jwks_uri: `${URL_OF_COPY}/.well-known/jwks.json`,
    id_token_signing_alg_values_supported: ["EdDSA", "RS256"],
  });
  expect(stdout.replaceAll(/ {2,}/g, "  ")).toBe(`\
written  site/.well-known/jwks.json  ${URL_OF_COPY}/.well-known/jwks.json
written  site/.well-known/openid-configuration  ${URL_OF_COPY}/.well-known/openid-configuration
written  site/.well-known/oauth-authorization-server  https://tokens.example.com/.well-known/oauth-authorization-server/issuer
Upload them in this order, each with Content-Type: application/json and Cache-Control: public, max-age=300; then: countersign doctor
The last belongs to the root of the host (RFC 8414): clients of OAuth read it, clouds do not.
`);
});

test("an issuer without a path has all of its documents below the folder", async () => {
  using place = await placeWithKeys({ url: "https://tokens.example.com" });
  const { stdout } = await place.export("site", "--json");
  expect(JSON.parse(stdout)).toEqual({
    issuer: "https://tokens.example.com",
    contentType: "application/json",
    cacheControl: "public, max-age=300",
    files: FILES.map((path) => ({
      file: `site/${path}`,
      url: `https://tokens.example.com/${path}`,
      written: true,
    })),
    keys: place.ring().keys.map(({ kid, algorithm }) => ({ kid, alg: algorithm })),
  });
  expect((await place.export("site")).stdout).not.toContain("root of the host");
});

test("a verifier that knows the copy alone accepts the tokens of the sidecar", async () => {
  using place = placeWith();
  await using host = await startStaticHost(join(place.path, "site"));
  await using backend = await startBackend();
  const issuer = `issuer: {url: '${host.url}', keys: {directory: ${place.path}/keys}}\n`;
  await using sidecar = await startSidecar(backend.url, { yaml: `${issuer}${IDENTITY}` });
  place.configure({ url: host.url });
  expect((await place.export("site")).code).toBe(0);

  await fetch(`${sidecar.url}/orders`);
  const ofRequest = String(backend.requests[0]?.headers.authorization).replace("Bearer ", "");
  const ofIdentity = await sidecar.issuer.getIdToken({ audience: "sts.amazonaws.com" });

  const discovery = await fetch(`${host.url}/.well-known/openid-configuration`);
  const { issuer: iss, jwks_uri: uri } = (await discovery.json()) as { issuer: string; jwks_uri: string };
  const keys = createRemoteJWKSet(new URL(uri));
  expect((await jwtVerify(ofRequest, keys, { issuer: iss })).payload.sub).toBe("api-gateway");
  expect((await jwtVerify(ofIdentity, keys, { issuer: iss })).payload.sub).toBe("a/p");
  expect(host.asked).toEqual(["/issuer/.well-known/openid-configuration", "/issuer/.well-known/jwks.json"]);
});

test("of no algorithm is a private member in the copy", async () => {
  using place = placeWith({
    issuer: `keys: {files: [${SIGNING_ALGORITHMS.map((alg) => `${alg}.jwk`).join(", ")}]}`,
  });
  // RSA keys that differ, or they would have the same kid.
  const keyFor = (alg: (typeof SIGNING_ALGORITHMS)[number]): KeyObject =>
    /^[RP]S/.test(alg) ? generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey : privateKeyFor(alg);
  const jwks = SIGNING_ALGORITHMS.map((alg) => ({ ...jwkOf(keyFor(alg)), alg }));
  for (const jwk of jwks) place.write(`${jwk.alg}.jwk`, JSON.stringify(jwk));

  expect((await place.export("site")).code).toBe(0);

  const copied = JSON.parse(place.read(JWKS)).keys as Record<string, string>[];
  expect(copied.map(({ alg }) => alg).sort()).toEqual([...SIGNING_ALGORITHMS].sort());
  for (const { kty = "", ...members } of copied)
    expect(Object.keys(members).sort()).toEqual(
      [
        ...({ OKP: ["crv", "x"], EC: ["crv", "x", "y"], RSA: ["n", "e"] }[kty] ?? []),
        "kid",
        "use",
        "alg",
      ].sort(),
    );
  const everything = FILES.map(place.read).join();
  for (const jwk of jwks as Record<string, string>[])
    for (const member of ["d", "p", "q", "dp", "dq", "qi"])
      if (jwk[member]) expect(everything).not.toContain(jwk[member]);
});

test("files that say the same are left alone; a key that does not sign yet is in the copy", async () => {
  using place = await placeWithKeys();
  await place.export("site");
  const before = place.times();
  expect((await place.export("site")).stdout).toMatch(/^(?:unchanged .*\n){3}Upload/);
  expect(place.times()).toEqual(before);

  await place.run("keys", "rotate", "--algorithm", "EdDSA");
  expect((await place.export("site")).stdout).toMatch(/^written .*\nunchanged .*\nunchanged .*\nUpload/);
  expect(place.times().slice(1)).toEqual(before.slice(1));
  expect(place.kids().sort()).toEqual(
    place
      .ring()
      .keys.map(({ kid }) => kid)
      .sort(),
  );
  expect(place.kids()).toHaveLength(3);
});

test("everybody may read the files, whatever the process masks, and a link is replaced and not followed", async () => {
  using place = await placeWithKeys();
  place.write("elsewhere", "mine");
  mkdirSync(join(place.path, "site/.well-known"), { recursive: true });
  symlinkSync(join(place.path, "elsewhere"), join(place.path, "site", JWKS));
  const before = process.umask(0o077);
  try {
    await place.export("site");
    await place.export("new/site");
  } finally {
    process.umask(before);
  }
  const modeOf = (path: string) => (statSync(join(place.path, path)).mode & 0o777).toString(8);
  for (const path of FILES) expect(modeOf(`new/site/${path}`)).toBe("644");
  for (const path of ["new", "new/site", "new/site/.well-known"]) expect(modeOf(path)).toBe("755");
  expect(readFileSync(join(place.path, "elsewhere"), "utf8")).toBe("mine");
  expect(modeOf(`site/${JWKS}`)).toBe("644");
});

test("a FIFO in the place of a file is replaced, and nobody waits for it", async () => {
  using place = await placeWithKeys();
  mkdirSync(join(place.path, "site/.well-known"), { recursive: true });
  execFileSync("mkfifo", [join(place.path, "site", JWKS)]);
  expect((await place.export("site")).code).toBe(0);
  expect(place.kids()).toHaveLength(2);
});

test("the JWK Set is written first, and what cannot be written is named", async () => {
  using place = await placeWithKeys();
  mkdirSync(join(place.path, "site", DISCOVERY), { recursive: true });
  const { code, stdout, stderr } = await place.export("site");
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(
    /^countersign: site\/\.well-known\/openid-configuration: this file cannot be written: EISDIR/,
  );
  expect(place.kids()).toHaveLength(2);
  expect(existsSync(join(place.path, "site", OAUTH))).toBe(false);
});

test("what a process that was killed has left is removed, after a minute", async () => {
  using place = await placeWithKeys();
  mkdirSync(join(place.path, "site/.well-known"), { recursive: true });
  const leftOf = (digit: string) => `.jwks.json.${digit.repeat(36)}.tmp`;
  for (const digit of ["1", "2"]) place.write(`site/.well-known/${leftOf(digit)}`, "{");
  utimesSync(join(place.path, "site/.well-known", leftOf("1")), 0, 0);
  await place.export("site");
  expect(readdirSync(join(place.path, "site/.well-known")).filter((name) => name.endsWith(".tmp"))).toEqual([
    leftOf("2"),
  ]);
});

test("a process that is killed while it writes leaves the old file or the new one", async () => {
  using folder = temporaryFolder();
  const program = fileURLToPath(new URL("processes/write-copies.ts", import.meta.url));
  const whole = ["a", "b", "c"].map((letter) => letter.repeat(100_000));
  for (let kills = 0; kills < 5; kills++) {
    const child = spawn(process.execPath, [program, folder.path, "a", "b", "c"]);
    const closed = once(child, "close");
    let errors = "";
    child.stderr.on("data", (data) => {
      errors += data;
    });
    await Promise.race([once(child.stdout, "data"), closed]);
    await new Promise((resolve) => setTimeout(resolve, kills * 1.7));
    child.kill("SIGKILL");
    await closed;
    expect(errors).toBe("");
    for (const path of [JWKS, DISCOVERY])
      expect(whole.includes(readFileSync(join(folder.path, path), "utf8")), path).toBe(true);
  }
});

describe("warnings", () => {
  test("of an issuer over http, and of keys that clouds do not take", async () => {
    using place = await placeWithKeys({
      url: "http://tokens.example.com",
      yaml: "token: {algorithm: ES256}\n",
    });
    const { code, stderr } = await place.export("site");
    expect(code).toBe(0);
    expect(stderr).toBe(`\
warning: issuer.url is http://tokens.example.com: clouds fetch over https alone, and whoever is on the way could put other keys there
warning: the keys are for EdDSA, ES256, and AWS, Azure and Google Cloud want RS256; configure identity, or issuer.algorithm: RS256
`);
  });

  test("are not for keys that an issuer without identity has for RS256", async () => {
    using place = await placeWithKeys({ yaml: "", issuer: "algorithm: RS256" });
    expect((await place.export("site")).stderr).toBe("");
  });
});

describe("refused, with nothing written, is", () => {
  const refusalOf = async (place: ReturnType<typeof placeWith>, directory = "site") => {
    const { code, stdout, stderr } = await place.export(directory);
    expect(stdout).toBe("");
    expect(code).toBe(stderr.endsWith(HINT) ? 2 : 1);
    expect(existsSync(join(place.path, directory, ".well-known"))).toBe(false);
    return stderr.replace("countersign: ", "").replace(HINT, "").trimEnd();
  };

  test("an issuer that has no URL of its own", async () => {
    using place = await placeWithKeys({ url: "" });
    expect(await refusalOf(place)).toBe(
      "sidecar.yaml:3:9 issuer.url: not set, and only this machine reaches the default; set issuer.url to the URL that site will be reachable at",
    );
  });

  test("one whose keys are in the memory of another process", async () => {
    using place = placeWith({ issuer: "keys: {ephemeral: true}" });
    expect(await refusalOf(place)).toBe(
      "issuer.keys.ephemeral: these keys are in the memory of the sidecar alone, and new at every start; use a directory, files, env or pkcs11",
    );
  });

  test("one that has no keys yet, or not those of identity", async () => {
    using place = placeWith();
    const remedy = "start the sidecar, or make them first: countersign keys generate";
    expect(await refusalOf(place)).toBe(
      `${place.path}/keys: there is no key yet for EdDSA, RS256 (identity); ${remedy}`,
    );
    expect(existsSync(join(place.path, "keys"))).toBe(false);
    place.configure({ yaml: "" });
    await place.run("keys", "generate");
    place.configure({});
    expect(await refusalOf(place)).toBe(
      `${place.path}/keys: there is no key yet for RS256 (identity); ${remedy}`,
    );
  });

  test.each([
    [".", "the key directory PLACE/keys is inside of it"],
    ["keys", "this is the key directory, or inside of it"],
    ["./keys/../keys/site", "this is the key directory, or inside of it"],
    ["link", "this is the key directory, or inside of it"],
    ["link/site", "this is the key directory, or inside of it"],
    ["linked-site", "this is the key directory, or inside of it"],
  ])("the folder %s, where private keys are", async (directory, reason) => {
    using place = await placeWithKeys();
    symlinkSync(join(place.path, "keys"), join(place.path, "link"));
    mkdirSync(join(place.path, "linked-site"));
    symlinkSync(join(place.path, "keys"), join(place.path, "linked-site/.well-known"));
    const { code, stderr } = await place.export(directory);
    expect(code).toBe(2);
    expect(stderr).toBe(
      `countersign: ${directory}: ${reason.replace("PLACE", place.path)}; choose a folder for the public files alone${HINT}`,
    );
    expect(readdirSync(join(place.path, "keys"))).toEqual([expect.stringMatching(/^ring\.\d+\.json$/)]);
  });

  test("a folder with a key file in it, or a link to it", async () => {
    using place = placeWith({ issuer: "keys: {files: [linked.pem]}", yaml: "" });
    mkdirSync(join(place.path, "secrets"));
    place.write("secrets/a.pem", pemOf(privateKeyFor("EdDSA")));
    symlinkSync(join(place.path, "secrets/a.pem"), join(place.path, "linked.pem"));
    const reason = `the private key ${place.path}/linked.pem is inside of it; choose a folder for the public files alone`;
    for (const directory of [".", "secrets"])
      expect(await refusalOf(place, directory)).toBe(`${directory}: ${reason}`);
    expect((await place.export("site")).code).toBe(0);
  });

  test.each([[[]], [[""]]])("%j as the folder", async (arguments_) => {
    using place = placeWith();
    const { code, stderr } = await place.export(...arguments_);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^countersign: (?:missing required argument 'dir'|expected a folder)/);
  });
});

test("a key from a variable is copied too", async () => {
  using place = placeWith({ issuer: "algorithm: ES256, keys: {env: SIGNING_KEY}", yaml: "" });
  const { code, stderr } = await runHere(["issuer", "export", "site"], {
    cwd: place.path,
    env: { SIGNING_KEY: pemOf(privateKeyFor("ES256")).replaceAll("\n", "\\n") },
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining("want RS256") });
  expect(place.kids()).toHaveLength(1);
});

/** Keeps a copy in this process; what it tells is collected. */
async function keepHere(place: ReturnType<typeof placeWith>) {
  const told: SourceHealth[] = [];
  const file = join(place.path, "sidecar.yaml");
  const copy = await keepCopy({
    directory: join(place.path, "site"),
    file,
    read: () => loadConfig({ file }),
    now: Date.now,
    onCopy: () => {},
    onHealth: (health) => told.push(health),
  });
  return { ...copy, told, [Symbol.asyncDispose]: () => copy.close() };
}

describe("--watch", () => {
  const bounded = { timeout: 10_000, interval: 25 };

  test("follows the keys and the configuration, tells each change on a line, and ends with 0", async () => {
    const yaml = "identity: {account: a, algorithm: ES256}\n";
    using place = placeWith({ yaml });
    const child = spawn(process.execPath, [EXECUTABLE, "issuer", "export", "site", "--watch", "--json"], {
      cwd: place.path,
    });
    using _ = { [Symbol.dispose]: () => child.kill("SIGKILL") };
    const closed = once(child, "close");
    const output = { stdout: "", stderr: "" };
    for (const stream of ["stdout", "stderr"] as const)
      child[stream].on("data", (data) => {
        output[stream] += data;
      });
    const lines = () =>
      output.stdout
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line) as { file: string; keys?: { kid: string }[] });

    // As a sidecar beside it would: the keys come later.
    await vi.waitFor(
      () => expect(output.stderr).toContain("there is no key yet for EdDSA, ES256 (identity)"),
      bounded,
    );
    await place.run("keys", "generate");
    await vi.waitFor(
      () => expect(lines().map(({ file }) => file)).toEqual(FILES.map((path) => `site/${path}`)),
      bounded,
    );
    expect(output.stderr).toMatch(/Z site is kept up to date again\n$/);

    await place.run("keys", "rotate", "--algorithm", "EdDSA");
    await vi.waitFor(() => expect(place.kids()).toHaveLength(3), bounded);
    await vi.waitFor(() => expect(lines()[3]?.keys).toHaveLength(3), bounded);
    const listed = await place.run("keys", "list", "--json");
    expect(JSON.parse(listed.stdout)).toContainEqual(
      expect.objectContaining({ state: "pending", kid: place.kids()[2] }),
    );

    place.configure({ yaml: "identity: {account: a, algorithm: ES256, deployment: d}\n" });
    await vi.waitFor(() => expect(place.read(DISCOVERY)).toContain('"deployment"'), bounded);
    const changed = () =>
      lines()
        .slice(4)
        .map(({ file }) => file);
    await vi.waitFor(() => expect(changed()).toEqual([`site/${DISCOVERY}`, `site/${OAUTH}`]), bounded);

    child.kill("SIGTERM");
    expect(await closed).toEqual([0, null]);
    expect(output.stderr.replaceAll(/^\S+Z /gm, "")).toBe(`\
error: site cannot be brought up to date: ${place.path}/keys: there is no key yet for EdDSA, ES256 (identity); start the sidecar, or make them first: countersign keys generate
warning: the keys are for EdDSA, ES256, and AWS, Azure and Google Cloud want RS256; configure identity, or issuer.algorithm: RS256
site is kept up to date again
`);
  });

  test("a configuration with a mistake, or for another place, is told; the copy goes on by the one before", async () => {
    using place = await placeWithKeys();
    await using copy = await keepHere(place);
    for (const [change, message] of [
      [{ yaml: "identty: {}\n" }, "unknown key `identty`"],
      [
        { url: "https://b.example.com" },
        "issuer.url changed: restart this command when the sidecar is restarted",
      ],
      [{ issuer: "keys: {directory: other}" }, "issuer.keys changed: restart this command"],
      [{ issuer: "algorithm: ES384" }, "there is no key yet for ES384"],
    ] as const) {
      place.configure(change);
      await place.run("keys", "generate", "-c", "good.yaml");
      await copy.refresh();
      expect(copy.told.at(-1)).toEqual({
        kind: "problem",
        message: expect.stringMatching(/^sidecar\.yaml cannot be used, and what it said before goes on: /),
      });
      expect(JSON.stringify(copy.told.at(-1))).toContain(message);
    }
    // A key that is made meanwhile is copied.
    place.configure({});
    place.write("good.yaml", readFileSync(join(place.path, "sidecar.yaml"), "utf8"));
    place.configure({ yaml: "identty: {}\n" });
    await place.run("keys", "rotate", "--algorithm", "EdDSA", "-c", "good.yaml");
    await copy.refresh();
    expect(place.kids()).toHaveLength(3);

    place.configure({});
    await copy.refresh();
    expect(copy.told.at(-1)).toEqual({ kind: "recovered" });
  });

  test("a copy that cannot be written is told once, with the keys that it lacks and when they sign", async () => {
    using place = await placeWithKeys();
    await using sidecar = await startSidecar("http://127.0.0.1:9", {
      yaml: `issuer: {url: '${URL_OF_COPY}', keys: {directory: ${place.path}/keys}}\n${IDENTITY}`,
    });
    await using copy = await keepHere(place);
    const [active] = place.kids();
    rmSync(join(place.path, "site"), { recursive: true });
    place.write("site", "in the way");
    await place.run("keys", "rotate", "--algorithm", "EdDSA");
    // The sidecar publishes it, so that it has its time.
    await sidecar.issuer.refreshKeys();
    await copy.refresh();
    await copy.refresh();
    const { stdout } = await place.run("keys", "list", "--json");
    const pending = (JSON.parse(stdout) as Record<string, string>[]).find(
      ({ state, purpose }) => state === "pending" && purpose === "token",
    );
    expect(pending?.activatesAt).toMatch(/^20.*Z$/);
    const messages = copy.told.flatMap((health) => (health.kind === "problem" ? [health.message] : []));
    expect(messages.at(-1)).toContain("this file cannot be written: ENOTDIR");
    expect(messages.at(-1)).toContain(`EdDSA key ${active} signs now`);
    expect(messages.at(-1)).toContain(`EdDSA key ${pending?.kid} signs from ${pending?.activatesAt}`);
    expect(new Set(messages).size).toBe(messages.length);

    rmSync(join(place.path, "site"));
    await copy.refresh();
    expect(copy.told.at(-1)).toEqual({ kind: "recovered" });
    expect(place.kids()).toContain(pending?.kid);
  });

  test("without a configuration that it can use it does not begin", async () => {
    using place = placeWith({ url: "" });
    const { code, stderr } = await runCommand(["issuer", "export", "site", "--watch"], { cwd: place.path });
    // It ends: nothing keeps it waiting for a signal.
    expect(code).toBe(1);
    expect(stderr).toContain("issuer.url: not set");
  });
});
