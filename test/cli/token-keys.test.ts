import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from "jose";
import { beforeEach, expect, test } from "vitest";
import { nextLabel } from "../../src/issuer/keys/pkcs11/manage-token.ts";
import { startBackend } from "../support/backend.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { requireProgram } from "../support/programs.ts";
import { startReloadable } from "../support/reloadable.ts";
import { refuseSecrets } from "../support/secrets.ts";
import { createSoftToken, PKCS11JS, SOFTHSM } from "../support/softhsm.ts";
import { runHere } from "./in-process.ts";

beforeEach((context) => {
  requireProgram(context, SOFTHSM);
  requireProgram(context, PKCS11JS);
});

/** A folder with a configuration whose keys are on a token of its own. */
function setUp(labels: readonly string[], more = "algorithm: ES256", rest = "") {
  const token = createSoftToken();
  const folder = temporaryFolder();
  const textOf = (list: readonly string[]) =>
    `listen: 127.0.0.1:8080\nadmin: false\nupstream: http://127.0.0.1:9\n${token.yaml(list, more)}${rest}`;
  const save = (list: readonly string[]) => writeFileSync(join(folder.path, "sidecar.yaml"), textOf(list));
  save(labels);
  return {
    token,
    save,
    async run(...arguments_: readonly string[]) {
      const result = await runHere(arguments_, { cwd: folder.path, env: token.env });
      refuseSecrets("what a command prints", result.stdout.replaceAll(/eyJ[\w.-]+/g, "") + result.stderr);
      return result;
    },
    [Symbol.dispose]() {
      token[Symbol.dispose]();
      folder[Symbol.dispose]();
    },
  };
}

/** The lists that `keys rotate` has printed. */
function listsIn(stdout: string): string[][] {
  return [...stdout.matchAll(/keys: \[(.*)\]/g)].map(([, list = ""]) => list.split(", "));
}

test("a rotation as keys rotate says it refuses no token, at verifiers that keep the JWK Set for a step", async () => {
  using place = setUp(["signing-1"]);
  const { token } = place;
  expect((await place.run("keys", "list")).stderr).toContain("make it: countersign keys generate");
  expect((await place.run("keys", "generate")).stdout).toMatch(
    /^ES256 key [\w-]{43} is made on the token, with the label signing-1\n$/,
  );
  expect((await place.run("keys", "generate")).stdout).toBe("every key of the list is on the token\n");
  await using backend = await startBackend();
  let time = Date.now();
  const yamlFor = (labels: readonly string[]) =>
    `upstream: ${backend.url}\n${token.yaml(labels, "algorithm: ES256")}token: {audience: a, tokenId: true}\n`;
  const warnings: string[] = [];
  await using sidecar = await startReloadable(yamlFor(["signing-1"]), {
    env: token.env,
    now: () => time,
    onKeyEvent: (event) => event.kind === "warning" && warnings.push(event.message),
  });
  const kids = new Set<unknown>();
  let cached = sidecar.issuer().jwks();

  const { stdout } = await place.run("keys", "rotate");
  const steps = listsIn(stdout);
  expect(steps).toEqual([["signing-1", "signing-2"], ["signing-2", "signing-1"], ["signing-2"]]);
  for (const labels of [["signing-1"], ...steps]) {
    time += 300_000;
    await sidecar.reload(yamlFor(labels));
    await fetch(sidecar.url);
    const jwt = String(backend.requests.at(-1)?.headers.authorization).replace("Bearer ", "");
    const keys = createLocalJWKSet({ keys: [...cached.keys] } as unknown as JSONWebKeySet);
    kids.add((await jwtVerify(jwt, keys, { currentDate: new Date(time) })).protectedHeader.kid);
    cached = sidecar.issuer().jwks();
  }

  expect(kids.size).toBe(2);
  expect(warnings).toEqual([]);
  expect(stdout).toContain("5 minutes later (issuer.jwksMaxAge)");
  expect(stdout).toContain("65 minutes after that");
  expect((await place.run("keys", "rotate")).stdout).toContain("the label signing-3");
});

test("list, validate, mint, explain and export use the keys of the token", async () => {
  using place = setUp(["one"], "url: https://issuer.example\n  algorithm: EdDSA");
  await place.run("keys", "generate");
  const [row] = JSON.parse((await place.run("keys", "list", "--json")).stdout);
  expect(row).toMatchObject({ label: "one", algorithm: "EdDSA", state: "active", next: "rotated by hand" });
  expect((await place.run("keys", "list")).stdout).toMatch(/^kid +label +algorithm/);
  expect((await place.run("validate")).code).toBe(0);
  const token = (await place.run("mint")).stdout.trim();
  expect((await place.run("verify", token)).code).toBe(0);
  expect((await place.run("explain", "GET", "/")).stdout).toContain(
    "token      Authorization: Bearer …, EdDSA",
  );
  const doctor = (await place.run("doctor", "--json")).stdout;
  expect(JSON.parse(doctor).findings).toContainEqual(
    expect.objectContaining({ check: "keys", state: "ok", found: `EdDSA key ${row.kid} signs` }),
  );
  const exported = await place.run("issuer", "export", "public", "--json");
  expect(JSON.parse(exported.stdout).keys).toEqual([{ kid: row.kid, alg: "EdDSA" }]);
});

test("what a list says cannot be said by a command", async () => {
  using place = setUp(["one"]);
  await place.run("keys", "generate");
  for (const command of [
    ["retire", "abc"],
    ["import", "key.pem"],
  ]) {
    const { code, stderr } = await place.run("keys", ...command);
    expect(code).toBe(1);
    expect(stderr).toContain("by taking its label out of that list");
  }
  expect((await place.run("keys", "rotate", "--emergency")).stderr).toContain(
    "leave its label alone in the list",
  );
});

test("keys for two RSA algorithms are rotated together, so that none changes its algorithm", async () => {
  using place = setUp(
    ["r1", "r2"],
    "algorithm: RS256",
    "policies:\n  - {name: a, token: {algorithm: PS256}}\n",
  );
  const made = (await place.run("keys", "generate")).stdout;
  expect(made).toMatch(/^RS256 key .* r1\nPS256 key .* r2\n$/);
  const alone = await place.run("keys", "rotate", "--algorithm", "PS256");
  expect(alone.code).toBe(1);
  expect(alone.stderr).toContain("rotate all RSA algorithms at once");

  const { stdout } = await place.run("keys", "rotate");
  const steps = listsIn(stdout);
  expect(steps).toEqual([
    ["r1", "r2", "r3", "r4"],
    ["r3", "r4", "r1", "r2"],
    ["r3", "r4"],
  ]);
  const uses: Record<string, Set<string>> = {};
  for (const labels of steps) {
    place.save(labels);
    for (const { label, algorithm } of JSON.parse((await place.run("keys", "list", "--json")).stdout)) {
      uses[label] ??= new Set();
      uses[label].add(algorithm);
    }
  }
  expect(Object.values(uses).map(({ size }) => size)).toEqual([1, 1, 1, 1]);
});

test.each([
  ["signing-1", ["signing-1"], "signing-2"],
  ["signing-1", ["signing-1", "signing-2"], "signing-3"],
  ["signing-09", ["signing-09"], "signing-10"],
  ["main", ["main"], "main-2"],
  ["main", ["main", "main-2"], "main-3"],
  ["2026", ["2026"], "2027"],
] as const)("after %s, where %j are used, comes %s", (label, used, next) => {
  expect(nextLabel(label, new Set(used))).toBe(next);
});
