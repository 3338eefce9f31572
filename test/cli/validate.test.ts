import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { runCommand, temporaryFolder } from "../support/command-line.ts";
import { runHere } from "./in-process.ts";

const UPSTREAM = "upstream: http://127.0.0.1:9000\n";
const EPHEMERAL =
  "the signing key is lost at every restart, and backends refuse tokens until they fetch the new one; use a directory in production";

/** Runs `countersign validate` in a folder with these files. */
async function validate(
  files: Record<string, string>,
  arguments_: string[] = [],
  env: Record<string, string> = {},
) {
  using folder = temporaryFolder();
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder.path, name), content);
  return await runHere(["validate", ...arguments_], { cwd: folder.path, env });
}

describe("a configuration without problems", () => {
  test("is said to be valid, with the order of its policies", async () => {
    const text = `${UPSTREAM}policies: [{name: health, match: {path: /healthz}}, {name: rest}]\n`;
    expect(await validate({ "sidecar.yaml": text })).toEqual({
      code: 0,
      stdout: "sidecar.yaml is valid; policies in order: health, rest\n",
      stderr: "",
    });
  });

  test("is valid with warnings", async () => {
    const text = `${UPSTREAM}issuer: {keys: {ephemeral: true}}\n`;
    expect(await validate({ "sidecar.yaml": text })).toEqual({
      code: 0,
      stdout: "sidecar.yaml is valid; policies in order: default\n",
      stderr: `warning: sidecar.yaml:2:28 issuer.keys.ephemeral: ${EPHEMERAL}\n`,
    });
  });

  test("is told to a program with --json", async () => {
    const text = `${UPSTREAM}issuer: {keys: {ephemeral: true}}\n`;
    const { code, stdout, stderr } = await validate({ "sidecar.yaml": text }, ["--json"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(JSON.parse(stdout)).toEqual({
      valid: true,
      problems: [],
      warnings: [
        {
          file: "sidecar.yaml",
          position: { line: 2, column: 28 },
          key: "issuer.keys.ephemeral",
          message: EPHEMERAL,
        },
      ],
    });
  });

  test("gets no keys made by being validated", async () => {
    using folder = temporaryFolder();
    writeFileSync(join(folder.path, "sidecar.yaml"), UPSTREAM);
    expect((await runCommand(["validate"], { cwd: folder.path })).code).toBe(0);
    expect(existsSync(join(folder.path, "keys"))).toBe(false);
  });
});

describe("which file", () => {
  test("-c names it", async () => {
    const { stdout } = await validate({ "other.yaml": UPSTREAM }, ["-c", "other.yaml"]);
    expect(stdout).toBe("other.yaml is valid; policies in order: default\n");
  });

  test("$COUNTERSIGN_CONFIG names it where -c does not", async () => {
    const files = { "sidecar.yaml": "upstream: 5\n", "other.yaml": UPSTREAM, "third.yaml": UPSTREAM };
    const env = { COUNTERSIGN_CONFIG: "other.yaml" };
    expect((await validate(files, [], env)).stdout).toBe("other.yaml is valid; policies in order: default\n");
    expect((await validate(files, ["-c", "third.yaml"], env)).stdout).toBe(
      "third.yaml is valid; policies in order: default\n",
    );
  });

  test("an empty $COUNTERSIGN_CONFIG names none", async () => {
    const { stdout } = await validate({ "sidecar.yaml": UPSTREAM }, [], { COUNTERSIGN_CONFIG: "" });
    expect(stdout).toBe("sidecar.yaml is valid; policies in order: default\n");
  });

  test.each([
    [["-c", "none.yaml"], {}],
    [[], { COUNTERSIGN_CONFIG: "none.yaml" }],
  ])("one that does not exist is a problem: %j %j", async (arguments_, env) => {
    expect(await validate({}, arguments_, env)).toEqual({
      code: 1,
      stdout: "",
      stderr:
        "none.yaml: this file does not exist; name the configuration with -c FILE or in $COUNTERSIGN_CONFIG\n",
    });
  });

  test("without any the usage is wrong", async () => {
    expect(await validate({})).toEqual({
      code: 2,
      stdout: "",
      stderr:
        "countersign: there is no ./sidecar.yaml here: name the configuration with -c FILE; countersign init writes a first one\n(--help shows how it is used)\n",
    });
  });
});

describe("a configuration with problems", () => {
  const BAD = `token: {audiance: x}
upstream: 5
issuer: {basePath: /}
`;

  test("has each of them printed with its place, and exits with 1", async () => {
    expect(await validate({ "sidecar.yaml": BAD })).toEqual({
      code: 1,
      stdout: "",
      stderr: `\
sidecar.yaml:1:9 token.audiance: unknown key \`audiance\`; did you mean \`audience\`?
sidecar.yaml:2:11 upstream: expected a URL such as "http://127.0.0.1:9000", or a map with the key url
sidecar.yaml:3:20 issuer.basePath: expected a path below /: everything under it is answered by the issuer and never forwarded
`,
    });
  });

  test("has each of them told to a program with --json", async () => {
    const { code, stdout, stderr } = await validate({ "sidecar.yaml": BAD }, ["--json"]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: "" });
    expect(JSON.parse(stdout)).toMatchObject({
      valid: false,
      problems: [
        { file: "sidecar.yaml", position: { line: 1, column: 9 }, key: "token.audiance" },
        { position: { line: 2, column: 11 }, key: "upstream" },
        { position: { line: 3, column: 20 }, key: "issuer.basePath" },
      ],
      warnings: [],
    });
  });

  test("is refused in the same words by every command", async () => {
    using folder = temporaryFolder();
    writeFileSync(join(folder.path, "sidecar.yaml"), BAD);
    const { code, stderr } = await runCommand(["validate"], { cwd: folder.path });
    for (const arguments_ of [
      ["serve"],
      ["mint"],
      ["explain", "GET", "/"],
      ["verify", "a.b.c"],
      ["keys", "list"],
      ["keys", "rotate"],
      ["demo", "-c", "sidecar.yaml"],
    ])
      expect(await runHere(arguments_, { cwd: folder.path })).toEqual({ code, stdout: "", stderr });
    expect(code).toBe(1);
  });
});

describe("keys that exist are checked too", () => {
  test("the place is that of issuer.keys, where the file has it", async () => {
    const text = `${UPSTREAM}issuer:\n  keys: {env: KEY}\n`;
    const { stderr } = await validate({ "sidecar.yaml": text });
    expect(stderr).toBe(
      "sidecar.yaml:3:9 issuer.keys: the environment variable KEY: not set; expected a private key in PEM or as a JWK\n",
    );
  });

  test.each([
    [
      "a key file of an operator's own",
      "EdDSA.pem",
      "this file is not part of the key ring in its directory; move it away, and import it where its key is to be used: countersign keys import FILE",
    ],
    [
      "a key ring that is broken",
      "ring.1.json",
      "this key ring is truncated or is not JSON; restore it from a backup, or move it away to begin a new ring, whose tokens verifiers refuse until they fetch the new keys",
    ],
  ])("%s", async (_what, name, problem) => {
    using folder = temporaryFolder();
    const keys = join(folder.path, "keys");
    mkdirSync(keys, { mode: 0o700 });
    writeFileSync(join(keys, name), "garbage", { mode: 0o600 });
    writeFileSync(join(folder.path, "sidecar.yaml"), UPSTREAM);
    const message = `${keys}/${name}: ${problem}`;

    expect(await runHere(["validate"], { cwd: folder.path })).toEqual({
      code: 1,
      stdout: "",
      stderr: `sidecar.yaml:1:1 issuer.keys: ${message}\n`,
    });
    const { stdout } = await runHere(["validate", "--json"], { cwd: folder.path });
    expect(JSON.parse(stdout)).toEqual({
      valid: false,
      problems: [{ file: "sidecar.yaml", position: { line: 1, column: 1 }, key: "issuer.keys", message }],
      warnings: [],
    });
  });

  test("a key directory that is open to others", async () => {
    using folder = temporaryFolder();
    const keys = join(folder.path, "keys");
    mkdirSync(keys);
    chmodSync(keys, 0o755);
    writeFileSync(join(folder.path, "sidecar.yaml"), UPSTREAM);
    expect(await runHere(["validate"], { cwd: folder.path })).toEqual({
      code: 1,
      stdout: "",
      stderr: `sidecar.yaml:1:1 issuer.keys: ${keys}: this key directory is open to other users (mode 0755); close it: chmod 700 ${keys}\n`,
    });
  });

  test("a key in a variable, of which nothing is printed", async () => {
    const text = `${UPSTREAM}issuer: {keys: {env: KEY}}\n`;
    const { code, stderr } = await validate({ "sidecar.yaml": text }, [], { KEY: "hunter2" });
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr:
        "sidecar.yaml:2:16 issuer.keys: the environment variable KEY: this is neither PEM nor a JWK; expected a private key in one of them\n",
    });
  });

  test.each([
    ["that is not there", undefined, /none\.mjs: this file does not exist\n$/],
    ["without a function", "export default 1", /none\.mjs: expected a function as its default export\n$/],
  ])("the module of a policy %s", async (_what, source, message) => {
    const text = `${UPSTREAM}policies:\n  - name: a\n    module: ./none.mjs\n`;
    const { code, stderr } = await validate({ "sidecar.yaml": text, ...(source && { "none.mjs": source }) });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^sidecar\.yaml:4:13 policies\[0\]\.module: \//);
    expect(stderr).toMatch(message);
  });
});
