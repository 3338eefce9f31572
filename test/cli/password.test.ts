import { execFile } from "node:child_process";
import { PassThrough } from "node:stream";
import { promisify } from "node:util";
import { describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { readSecret } from "../../src/cli/secret-input.ts";
import { readPasswordHash, verifyPassword } from "../../src/policy/authenticators/password-hash.ts";
import { EXECUTABLE } from "../support/command-line.ts";
import { runHere } from "./in-process.ts";

const HINT = "(--help shows how it is used)\n";

/** Whether a line that the command printed is a hash of this password. */
async function isHashOf(line: string, password: string): Promise<boolean> {
  const reading = readPasswordHash(line.trim());
  return "value" in reading && verifyPassword(reading.value, password);
}

const hash = (input: string | Uint8Array, ...flags: string[]) =>
  runHere(["password", "hash", ...flags], { cwd: process.cwd(), input });

describe("countersign password hash", () => {
  test("prints the hash of standard input's line, alone, and beside it the lines for the configuration", async () => {
    const { code, stdout, stderr } = await hash("correct horse \n");

    expect(code).toBe(0);
    expect(stdout).toMatch(/^\$scrypt\$ln=14,r=8,p=5\$\S{22}\$\S{43}\n$/);
    expect(await isHashOf(stdout, "correct horse ")).toBe(true);
    expect(parse(stderr)).toEqual([{ username: "NAME", passwordHash: stdout.trim() }]);
  });

  test.each([
    ["without a line end", "pässwörd"],
    ["with a line end of Windows", "pässwörd\r\n"],
    ["in another normalization form than a client sends", "pässwörd".normalize("NFD")],
  ])("takes a password %s", async (_what, input) => {
    const { stdout } = await hash(input);
    expect(await isHashOf(stdout, "pässwörd")).toBe(true);
  });

  test("--json prints JSON and nothing else", async () => {
    const { stdout, stderr } = await hash("x", "--json");
    expect(stderr).toBe("");
    const { passwordHash, ...others } = JSON.parse(stdout);
    expect(others).toEqual({});
    expect(await isHashOf(passwordHash, "x")).toBe(true);
  });

  test.each([
    ["", "the password is empty"],
    ["\n", "the password is empty"],
    ["a\nb\n", "expected the password alone, on one line"],
    ["a\u0000b", "the password holds a control character"],
    [Uint8Array.of(0x70, 0xe4), "the password is not in UTF-8"],
    ["x".repeat(16_385), "the password is longer than 16384 bytes"],
  ])("refuses standard input that is no password: %#", async (input, message) => {
    expect(await hash(input)).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: ${message}\n${HINT}`,
    });
  });

  test("takes no password as an argument, and says why", async () => {
    const refused = await runHere(["password", "hash", "secret"], { cwd: process.cwd() });
    expect(refused.code).toBe(2);
    const { stdout } = await runHere(["password", "hash", "--help"], { cwd: process.cwd() });
    expect(stdout).toContain("The password is never an argument");
  });

  test("is done by the executable in a pipe", async () => {
    const shell = 'printf "%s\\n" pw | "$0" "$1" password hash 2>/dev/null';
    const { stdout } = await promisify(execFile)("bash", ["-c", shell, process.execPath, EXECUTABLE]);
    expect(await isHashOf(stdout, "pw")).toBe(true);
  });
});

/** A terminal at which these keys are typed, one after another. */
function terminal(keys: string) {
  const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: vi.fn() });
  let shown = "";
  const output = new PassThrough().on("data", (data) => {
    shown += data;
  });
  input.write(keys);
  return { input: input as never, output, isRaw: input.setRawMode, shown: () => shown };
}

describe("at a terminal", () => {
  test("a password is asked for twice, and never shown", async () => {
    const { input, output, shown, isRaw } = terminal("secretx\u007f\rsecret\r");
    expect(await readSecret({ what: "password", twice: true }, { input, output })).toBe("secret");
    expect(shown()).toBe("password: \npassword, again: \n");
    expect(isRaw.mock.calls).toEqual([[true], [false]]);
  });

  test("what is not asked for twice is asked for once", async () => {
    const { input, output, shown } = terminal("secret\r");
    expect(await readSecret({ what: "API key" }, { input, output })).toBe("secret");
    expect(shown()).toBe("API key: \n");
  });

  test.each([
    ["two that differ", "a\rb\r", "the two are not the same; nothing is done"],
    ["an empty one", "\r", "the password is empty"],
    ["an end of the input (Ctrl+D)", "\u0004", "the password is empty"],
    ["an end of the input at the second", "a\r\u0004", "the two are not the same; nothing is done"],
  ])("%s is refused", async (_what, keys, message) => {
    const { input, output } = terminal(keys);
    await expect(readSecret({ what: "password", twice: true }, { input, output })).rejects.toMatchObject({
      code: "ERR_USAGE",
      message,
    });
  });

  test("Ctrl+C ends the process as it does elsewhere", async () => {
    const kill = vi.spyOn(process, "kill").mockReturnValue(true);
    const { input, output } = terminal("se\u0003");
    await readSecret({ what: "password" }, { input, output }).catch(() => {});
    expect(kill).toHaveBeenCalledWith(process.pid, "SIGINT");
    kill.mockRestore();
  });
});
