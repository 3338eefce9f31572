import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { sidecarJsonSchema } from "../../src/config/json-schema.ts";
import { EXECUTABLE, runCommand } from "../support/command-line.ts";

const HINT = "(--help shows how it is used)\n";

describe("--help", () => {
  test.each([["--help"], ["help"]])("%s lists every command there is", async (argument) => {
    const { code, stdout, stderr } = await runCommand([argument]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const [, commands = ""] = /\nCommands:\n(.*?)\n\n/s.exec(stdout) ?? [];
    expect(commands.split("\n").map((line) => line.trim().split(" ")[0])).toEqual([
      "serve",
      "validate",
      "mint",
      "demo",
      "schema",
      "help",
    ]);
  });

  test.each([
    ["serve", ["-c, --config <file>", "--upstream <url>", "--listen <address>", "-h, --help"]],
    ["validate", ["-c, --config <file>", "--json", "-h, --help"]],
    [
      "mint",
      [
        "-c, --config <file>",
        "--policy <name>",
        "--subject <sub>",
        "--audience <aud...>",
        "--expires-in <duration>",
        "--claim <name=value...>",
        "--json",
        "-h, --help",
      ],
    ],
    ["demo", ["-c, --config <file>", "--upstream <url>", "--listen <address>", "-h, --help"]],
    ["schema", ["-h, --help"]],
  ])("%s lists its options", async (command, options) => {
    const { code, stdout } = await runCommand([command, "--help"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`^Usage: countersign ${command} \\[options\\]\n`));
    const found = stdout.match(/^ {2}-[^ ].*?(?= {2,})/gm)?.map((option) => option.trim());
    expect(found).toEqual(options);
  });

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
    [["serve", "--frob"], "unknown option '--frob'\n"],
    [["validate", "--jsno"], "unknown option '--jsno'\n(Did you mean --json?)\n"],
    [["serve", "--upstream"], "option '--upstream <url>' argument missing\n"],
    [["validate", "-c"], "option '-c, --config <file>' argument missing\n"],
    [["serve", "now"], "too many arguments for 'serve'. Expected 0 arguments but got 1: now.\n"],
  ])("%j", async (arguments_, message) => {
    expect(await runCommand(arguments_)).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: ${message}${HINT}`,
    });
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
