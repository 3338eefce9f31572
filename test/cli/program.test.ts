import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { sidecarJsonSchema } from "../../src/config/json-schema.ts";
import { EXECUTABLE, runCommand } from "../support/command-line.ts";
import { runHere } from "./in-process.ts";

/** Of what these print nothing depends on the folder. */
const here = (arguments_: readonly string[]) => runHere(arguments_, { cwd: process.cwd() });
const HINT = "(--help shows how it is used)\n";

describe("--help", () => {
  test.each([["--help"], ["help"]])("%s lists every command there is", async (argument) => {
    const { code, stdout, stderr } = await runCommand([argument]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const [, commands = ""] = /\nCommands:\n(.*?)\n\n/s.exec(stdout) ?? [];
    expect(commands.split("\n").map((line) => line.trim().split(" ")[0])).toEqual([
      "init",
      "serve",
      "validate",
      "explain",
      "test",
      "mint",
      "verify",
      "keys",
      "issuer",
      "api-key",
      "password",
      "doctor",
      "health",
      "reload",
      "demo",
      "schema",
      "help",
    ]);
  });

  test.each([
    [
      "serve",
      [
        "-c, --config <file>",
        "--upstream <url>",
        "--listen <address>",
        "--admin <address>",
        "--workers <number>",
        "--issuer-only",
        "--log-level <level>",
        "--log-format <format>",
        "-h, --help",
      ],
    ],
    ["validate", ["-c, --config <file>", "--json", "-h, --help"]],
    [
      "explain",
      [
        "-c, --config <file>",
        "-H, --header <field>",
        "--from <ip>",
        "--client-cert <file>",
        "--json",
        "-h, --help",
      ],
    ],
    ["test", ["-c, --config <file>", "--json", "-h, --help"]],
    [
      "mint",
      [
        "-c, --config <file>",
        "--policy <name>",
        "--subject <sub>",
        "--audience <aud...>",
        "--expires-in <duration>",
        "--claim <name=value...>",
        "--algorithm <alg>",
        "--not-before",
        "--token-id",
        "--identity",
        "--json",
        "-h, --help",
      ],
    ],
    [
      "verify",
      ["-c, --config <file>", "--jwks <place>", "--issuer <iss>", "--audience <aud>", "--json", "-h, --help"],
    ],
    ["issuer export", ["-c, --config <file>", "--watch", "--json", "-h, --help"]],
    ["keys list", ["-c, --config <file>", "--json", "-h, --help"]],
    [
      "keys generate",
      [
        "-c, --config <file>",
        "--algorithm <alg>",
        "--output <file>",
        "--passphrase-env <name>",
        "-h, --help",
      ],
    ],
    ["keys rotate", ["-c, --config <file>", "--algorithm <alg>", "--identity", "--emergency", "-h, --help"]],
    ["keys retire", ["-c, --config <file>", "--now", "-h, --help"]],
    [
      "keys import",
      ["-c, --config <file>", "--algorithm <alg>", "--identity", "--passphrase-env <name>", "-h, --help"],
    ],
    [
      "api-key create",
      ["--claim <name=value...>", "--expires <time>", "--prefix <prefix>", "--json", "-h, --help"],
    ],
    ["api-key hash", ["--claim <name=value...>", "--expires <time>", "--json", "-h, --help"]],
    ["password hash", ["--json", "-h, --help"]],
    ["init", ["--from-upstream <url>", "-h, --help"]],
    ["doctor", ["-c, --config <file>", "--url <url>", "--json", "-h, --help"]],
    ["health", ["-c, --config <file>", "--url <url>", "--live", "--json", "-h, --help"]],
    ["reload", ["-c, --config <file>", "--url <url>", "--json", "-h, --help"]],
    [
      "demo",
      [
        "-c, --config <file>",
        "--upstream <url>",
        "--listen <address>",
        "--admin <address>",
        "--log-level <level>",
        "--log-format <format>",
        "-h, --help",
      ],
    ],
    ["schema", ["--policy-tests", "-h, --help"]],
  ])("%s lists its options", async (command, options) => {
    const { code, stdout } = await here([...command.split(" "), "--help"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`^Usage: countersign ${command} \\[options\\](?: .*)?\n`));
    const found = stdout.match(/^ {2}-[^ ].*?(?= {2,})/gm)?.map((option) => option.trim());
    expect(found).toEqual(options);
  });

  test("keys lists what can be done with them", async () => {
    for (const arguments_ of [
      ["keys", "--help"],
      ["help", "keys"],
    ]) {
      const { code, stdout } = await here(arguments_);
      expect(code).toBe(0);
      const [, commands = ""] = /\nCommands:\n(.*)$/s.exec(stdout) ?? [];
      expect(commands.match(/^ {2}\S+/gm)?.map((line) => line.trim())).toEqual([
        ...["list", "generate", "rotate", "retire", "import", "help"],
      ]);
    }
  });

  test("every command says what it is for", async () => {
    for (const group of [[], ["keys"], ["issuer"], ["api-key"], ["password"]]) {
      const arguments_ = [...group, "--help"];
      const { stdout } = await here(arguments_);
      const [, commands = ""] = /\nCommands:\n(.*?)(?:\n\n|$)/s.exec(stdout) ?? [];
      for (const line of commands.trim().split("\n")) expect(line).toMatch(/ {2,}[a-z]/);
    }
  });

  test.each([[["keys"]], [["keys", "-c"]], [["issuer"]], [["api-key"]], [["password"]]])(
    "%j alone is wrong usage",
    async (arguments_) => {
      const { code, stdout, stderr } = await here(arguments_);
      expect(code).toBe(2);
      expect(stdout).toBe("");
      expect(stderr).not.toBe("");
    },
  );

  test("countersign alone prints the help, as wrong usage", async () => {
    const { code, stdout, stderr } = await runCommand([]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toMatch(/^Usage: countersign \[options\] \[command\]\n/);
  });
});

test.each([["--version"], ["-V"]])("%s prints the version of the package", async (argument) => {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  expect(await runCommand([argument])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
});

describe("a command line that makes no sense exits with 2 and says why", () => {
  test.each([
    [["frobnicate"], "unknown command 'frobnicate'\n"],
    [["serv"], "unknown command 'serv'\n(Did you mean serve?)\n"],
    [["keys", "lst"], "unknown command 'lst'\n(Did you mean list?)\n"],
    [["keys", "rotate", "--emergancy"], "unknown option '--emergancy'\n(Did you mean --emergency?)\n"],
    [["verify", "a", "--jwk", "b"], "unknown option '--jwk'\n(Did you mean --jwks?)\n"],
    [["serve", "--admin"], "option '--admin <address>' argument missing\n"],
    [["serve", "--frob"], "unknown option '--frob'\n"],
    [["validate", "--jsno"], "unknown option '--jsno'\n(Did you mean --json?)\n"],
    [["serve", "--upstream"], "option '--upstream <url>' argument missing\n"],
    [["validate", "-c"], "option '-c, --config <file>' argument missing\n"],
    [["serve", "now"], "too many arguments for 'serve'. Expected 0 arguments but got 1: now.\n"],
  ])("%j", async (arguments_, message) => {
    expect(await here(arguments_)).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: ${message}${HINT}`,
    });
  });
});

test("the exit code of the executable is that of wrong usage", async () => {
  expect(await runCommand(["serve", "--frob"])).toEqual({
    code: 2,
    stdout: "",
    stderr: `countersign: unknown option '--frob'\n${HINT}`,
  });
});

test("schema prints the JSON Schema", async () => {
  const { code, stdout, stderr } = await runCommand(["schema"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(JSON.parse(stdout)).toEqual(sidecarJsonSchema());
});

test("a reader that stops early, such as head, is no error", async () => {
  const shell = 'set -o pipefail; "$0" "$1" schema | true';
  const { stderr } = await promisify(execFile)("bash", ["-c", shell, process.execPath, EXECUTABLE]);
  expect(stderr).toBe("");
});
