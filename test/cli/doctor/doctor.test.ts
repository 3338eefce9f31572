import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkKeys } from "../../../src/cli/doctor/keys.ts";
import { type KeySource, readRing } from "../../../src/issuer/keys/key-source.ts";
import { type RingKey, rotationDueAt } from "../../../src/issuer/keys/ring.ts";
import { startBackend } from "../../support/backend.ts";
import { runCommand, temporaryFolder } from "../../support/command-line.ts";
import { runHere } from "../in-process.ts";
import { examine, startExamined } from "./sidecar.ts";

const MINUTE = 60_000;

test("of a sidecar that is as it should be every check is fine, and the exit code is 0", async () => {
  await using backend = await startBackend();
  await using running = await startExamined(backend.url);
  const { code, stdout, stderr } = await runCommand(["doctor"], { cwd: running.folder });
  const { kid = "" } = running.sidecar.issuer.jwks().keys[0] ?? {};
  const { url, adminUrl } = running.sidecar;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  // What it says of this Node.js depends on the day.
  expect(stdout.replace(/^\w+ +runtime .*\n(?: +->.*\n)?/, "").replaceAll(/ {2,}/g, "  ")).toBe(`\
ok  configuration  sidecar.yaml is valid; policies in order: default
ok  keys  EdDSA key ${kid} signs; ${running.folder}/keys is closed to other users
ok  rotation  EdDSA key ${kid} is active; its successor is made in 29 days
ok  operators' listener  ${adminUrl}/readyz: ready
ok  issuer  ${url}/__issuer answers
ok  discovery  the issuer in the document is ${url}/__issuer
ok  clock  the clock of the issuer's host and this one agree
ok  JWK Set  one key: EdDSA ${kid}
ok  caching  verifiers keep the JWK Set for 300 s
ok  signing key  EdDSA key ${kid} is in the public JWK Set
ok  token  a fresh EdDSA token is verified with the public JWK Set
ok  upstream ${backend.url}  accepts connections
${stdout.split("\n").at(-2)}
`);
  expect(stdout).toMatch(/^\d+ ok, \d to look at, 0 to mend\n$/m);
  // No request was sent for it.
  expect(backend.requests).toEqual([]);
});

test("nothing runs: what cannot be reached fails, each with a remedy, and nothing is made", async () => {
  using folder = temporaryFolder();
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    "upstream: http://127.0.0.1:9\nlisten: 127.0.0.1:9\nadmin: 127.0.0.1:19\n",
  );
  const { code, of, findings } = await examine(folder.path);
  expect(code).toBe(1);
  expect(of("keys")).toEqual([
    {
      check: "keys",
      state: "warn",
      found: "there is no key yet for EdDSA",
      remedy: "start the sidecar, or: countersign keys generate",
    },
  ]);
  for (const check of ["operators' listener", "issuer", "upstream http://127.0.0.1:9"])
    expect(of(check)).toEqual([
      {
        check,
        state: "fail",
        found: expect.stringContaining("nobody listens there"),
        remedy: expect.anything(),
      },
    ]);
  expect(of("issuer")).toMatchObject([
    {
      found: "http://127.0.0.1:9/__issuer cannot be reached from here: nobody listens there",
      remedy: expect.stringContaining("start the sidecar"),
    },
  ]);
  expect(findings.filter(({ check }) => ["discovery", "JWK Set", "token"].includes(check))).toEqual([]);
  // Reading the keys made none.
  expect((await examine(folder.path)).of("keys")[0]?.state).toBe("warn");
});

test("the text for people has the remedy below the finding, and counts", async () => {
  using folder = temporaryFolder();
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    "upstream: http://127.0.0.1:9\nlisten: 127.0.0.1:9\nadmin: false\n",
  );
  const { code, stdout } = await runHere(["doctor"], { cwd: folder.path });
  expect(code).toBe(1);
  expect(stdout).toMatch(
    /^fail {2}upstream http:\/\/127\.0\.0\.1:9 {2}nobody listens there\n +-> start the backend, or change upstream/m,
  );
  expect(stdout).toMatch(/^ok {4}operators' listener +turned off \(admin: false\)$/m);
  expect(stdout).toMatch(/\n\d+ ok, \d to look at, 2 to mend\n$/);
});

test("a configuration with problems is told with their lines, and nothing that hangs on it is looked at", async () => {
  using folder = temporaryFolder();
  writeFileSync(join(folder.path, "sidecar.yaml"), "upstreem: a\ntoken: {subject: 5}\n");
  const { code, findings } = await examine(folder.path);
  expect(code).toBe(1);
  expect(findings.map(({ check, state }) => `${check} ${state}`)).toEqual([
    expect.stringMatching(/^runtime /),
    ...["configuration fail", "configuration fail", "configuration fail"],
  ]);
  expect(findings.map(({ found }) => found)).toContainEqual(
    expect.stringContaining("sidecar.yaml:1:1 upstreem: unknown key"),
  );
});

test("what is doubtful in the configuration is a warning, and no failure", async () => {
  await using backend = await startBackend();
  await using running = await startExamined(backend.url);
  running.configure({ yaml: "token: {additionalClaims: {iss: me}}\n" });
  const { code, of } = await examine(running.folder);
  expect(code).toBe(0);
  expect(of("configuration").map(({ state }) => state)).toEqual(["ok", "warn"]);
});

test("a file that the configuration names and that is not there is told with its key", async () => {
  await using backend = await startBackend();
  await using running = await startExamined(backend.url);
  running.configure({ yaml: "policies: [{name: a, module: ./none.mjs}]\n" });
  const { code, of } = await examine(running.folder);
  expect(code).toBe(1);
  expect(of("configuration")).toMatchObject([
    { state: "fail", found: expect.stringContaining("policies[0].module: ") },
  ]);
});

describe("keys", () => {
  test("open to others fail, with what closes them", async () => {
    await using backend = await startBackend();
    await using running = await startExamined(backend.url);
    chmodSync(join(running.folder, "keys"), 0o755);
    const { code, of } = await examine(running.folder);
    expect(code).toBe(1);
    expect(of("keys")).toMatchObject([
      { state: "fail", found: expect.stringContaining(`chmod 700 ${running.folder}/keys`) },
    ]);
    // It is told once.
    expect(of("configuration").map(({ state }) => state)).toEqual(["ok"]);
    expect(of("token")).toEqual([]);
  });

  test("of a sidecar that runs with others are not in its JWK Set", async () => {
    await using backend = await startBackend();
    await using running = await startExamined(backend.url);
    const file = join(running.folder, "sidecar.yaml");
    writeFileSync(file, readFileSync(file, "utf8").replace("/keys}", "/other-keys}"));
    await runHere(["keys", "generate"], { cwd: running.folder });
    const { code, of } = await examine(running.folder);
    expect(code).toBe(1);
    expect(of("signing key")).toMatchObject([
      { state: "fail", found: expect.stringContaining("is not in the public JWK Set") },
    ]);
  });

  test("each that signs is looked for, and signs a token that is verified", async () => {
    await using backend = await startBackend();
    const yaml = "token: {algorithm: ES256}\nidentity: {account: a, algorithm: ES384}\n";
    await using running = await startExamined(backend.url, { yaml });
    const { code, of } = await examine(running.folder);
    expect(code).toBe(0);
    expect(of("token").map(({ found }) => found)).toEqual(
      ["EdDSA", "ES256", "ES384"].map((alg) => `a fresh ${alg} token is verified with the public JWK Set`),
    );
    expect(of("rotation")).toHaveLength(3);
  });

  test("in the memory of the sidecar are no problem, but their tokens cannot be tried", async () => {
    await using backend = await startBackend();
    await using running = await startExamined(backend.url);
    writeFileSync(
      join(running.folder, "sidecar.yaml"),
      `upstream: ${backend.url}\nlisten: 127.0.0.1:${running.sidecar.port}\nadmin: false\nissuer: {keys: {ephemeral: true}}\n`,
    );
    const { code, of } = await examine(running.folder);
    expect(code).toBe(0);
    expect(of("keys")).toMatchObject([{ state: "ok" }]);
    expect(of("token")).toEqual([]);
  });

  test("whose successor should have been made an hour ago are doubtful", async () => {
    await using backend = await startBackend();
    await using running = await startExamined(backend.url);
    const { config } = running.sidecar;
    const rotationAt = async (time: number) =>
      (await checkKeys(config, time)).findings.filter(({ check }) => check === "rotation");
    const source = config.issuer.keys as Extract<KeySource, { kind: "directory" }>;
    const [entry] = (await readRing(source, Date.now)).ring.keys;
    const dueAt = rotationDueAt(entry as RingKey, source.rotation) ?? 0;
    expect(await rotationAt(dueAt + 59 * MINUTE)).toMatchObject([{ state: "ok" }]);
    expect(await rotationAt(dueAt + 61 * MINUTE)).toMatchObject([
      { state: "warn", found: expect.stringContaining("should have a successor by now") },
    ]);
  });
});

describe("the operators' listener", () => {
  test("of a sidecar that is not ready fails, with the reasons", async () => {
    const upstream = "{url: http://127.0.0.1:9, healthCheck: {path: /up, interval: 1s}}";
    await using running = await startExamined(upstream);
    const { code, of } = await examine(running.folder);
    expect(code).toBe(1);
    expect(of("operators' listener")).toMatchObject([
      { state: "fail", found: expect.stringContaining("not ready; upstream http://127.0.0.1:9: ") },
    ]);
  });

  test("that is another server fails", async () => {
    await using backend = await startBackend();
    await using other = await startBackend();
    await using running = await startExamined(backend.url);
    const file = `upstream: ${backend.url}\nlisten: 127.0.0.1:${running.sidecar.port}\nadmin: 127.0.0.1:${other.port}\n`;
    writeFileSync(join(running.folder, "sidecar.yaml"), file);
    const { of } = await examine(running.folder);
    expect(of("operators' listener")).toMatchObject([
      { state: "fail", found: expect.stringContaining("not the operators' listener of a sidecar") },
    ]);
  });
});

test("no key, passphrase, token or variable is in what it prints", async () => {
  await using backend = await startBackend();
  await using running = await startExamined(backend.url);
  const passphrase = "correct-horse-battery-staple";
  running.configure({
    yaml: `authenticators: {ops: {type: apiKey, header: X-Key, keys: [{subject: a, sha256: ${"ab".repeat(32)}}]}}\nauthenticate: [ops]\n`,
  });
  writeFileSync(
    join(running.folder, "enc.yaml"),
    `upstream: ${backend.url}\nlisten: 127.0.0.1:${running.sidecar.port}\nadmin: false\nissuer: {keys: {directory: enc, passphrase: ${passphrase}}}\n`,
  );
  await runHere(["keys", "generate", "-c", "enc.yaml"], { cwd: running.folder });
  for (const arguments_ of [[], ["-c", "enc.yaml"]]) {
    const { text } = await examine(running.folder, ...arguments_);
    expect(text).not.toMatch(/eyJ|PRIVATE|abababab/);
    expect(text).not.toContain(passphrase);
  }
});

test.each([
  [["--url", "nonsense"], "--url: expected the URL of an issuer such as"],
  [["--url", "http://me:hunter2@a/__issuer"], "--url: expected the URL of an issuer such as"],
  [
    [],
    "there is no ./sidecar.yaml here: name the configuration with -c FILE; countersign init writes a first one",
  ],
])("%j is wrong usage", async (arguments_, message) => {
  using folder = temporaryFolder();
  const { code, stdout, stderr } = await runHere(["doctor", ...arguments_], { cwd: folder.path });
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toContain(`countersign: ${message}`);
  expect(stderr).not.toContain("hunter2");
});
