import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { readApiKeys } from "../../src/config/authenticators/api-key.ts";
import { isMistyped } from "../../src/policy/authenticators/api-key-text.ts";
import { runHere } from "./in-process.ts";

const HINT = "(--help shows how it is used)\n";
const sha256Of = (key: string) => createHash("sha256").update(key).digest("hex");
const create = (...arguments_: string[]) =>
  runHere(["api-key", "create", ...arguments_], { cwd: process.cwd() });
const hashOf = (input: string, ...arguments_: string[]) =>
  runHere(["api-key", "hash", ...arguments_], { cwd: process.cwd(), input });

describe("countersign api-key create", () => {
  test("prints the key alone, and beside it the entry with its hash, which a keys file takes", async () => {
    const { code, stdout, stderr } = await create("acme");

    expect(code).toBe(0);
    expect(stdout).toMatch(/^csk_[0-9A-Za-z]{49}\n$/);
    const key = stdout.trim();
    expect(isMistyped(key)).toBe(false);
    expect(parse(stderr)).toEqual([{ subject: "acme", sha256: sha256Of(key) }]);
    expect(stderr).not.toContain(key);
    expect(readApiKeys(`keys:\n${stderr}`, "keys.yaml")).toEqual([
      { subject: "acme", sha256: sha256Of(key), claims: {}, expiresAt: undefined, disabled: false },
    ]);
  });

  test("makes another key each time", async () => {
    expect((await create("acme")).stdout).not.toBe((await create("acme")).stdout);
  });

  test("writes the claims and the expiry that it is told", async () => {
    const { stderr } = await create(
      "a: b #c",
      ...["--claim", "plan=gold", "limits=[1,2]", "--expires", "2127-01-31"],
    );
    const [key] = readApiKeys(`keys:\n${stderr}`, "keys.yaml");
    expect(key).toMatchObject({
      subject: "a: b #c",
      claims: { plan: "gold", limits: [1, 2] },
      expiresAt: Date.UTC(2127, 0, 31),
    });
  });

  test("counts an expiry that is a duration from now", async () => {
    const before = Math.floor(Date.now() / 1000) * 1000;
    const { stderr } = await create("acme", "--expires", "90d");
    const [key] = readApiKeys(`keys:\n${stderr}`, "keys.yaml");
    expect(key?.expiresAt).toBeGreaterThanOrEqual(before + 90 * 86_400_000);
    expect(key?.expiresAt).toBeLessThanOrEqual(Date.now() + 90 * 86_400_000);
  });

  test("--prefix is what the key begins with", async () => {
    expect((await create("acme", "--prefix", "orders")).stdout).toMatch(/^orders_[0-9A-Za-z]{49}\n$/);
  });

  test("--json prints the key and its entry, and nothing else", async () => {
    const { stdout, stderr } = await create("acme", "--claim", "n=1", "--json");
    expect(stderr).toBe("");
    const { key, entry } = JSON.parse(stdout);
    expect(entry).toEqual({ subject: "acme", sha256: sha256Of(key), claims: { n: 1 } });
  });

  test.each([
    [[""], "the subject is empty"],
    [["a", "--prefix", "a_b"], "--prefix: expected a letter, then at most 15 letters and digits"],
    [["a", "--prefix", ""], "--prefix: expected a letter, then at most 15 letters and digits"],
    [["a", "--claim", "plan"], "--claim: expected name=value"],
    [["a", "--claim", "sub=b"], "--claim: sub cannot be set like this; it is the subject"],
    [
      ["a", "--expires", "soon"],
      '--expires: expected a duration such as "90d", or a time such as "2027-01-31"',
    ],
    [
      ["a", "--expires", "2127-02-30"],
      '--expires: expected a duration such as "90d", or a time such as "2027-01-31"',
    ],
    [["a", "--expires", "2020-01-31"], "--expires: this time has passed"],
    [[], "missing required argument 'subject'"],
  ])("wrong usage: %j", async (arguments_, message) => {
    expect(await create(...arguments_)).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: ${message}\n${HINT}`,
    });
  });
});

describe("countersign api-key hash", () => {
  const SECRET = "a shared secret that is long enough";

  test("prints the SHA-256 of standard input's line, alone, and beside it the entry", async () => {
    const { code, stdout, stderr } = await hashOf(`${SECRET}\n`, "acme", "--claim", "plan=gold");
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${sha256Of(SECRET)}\n` });
    expect(parse(stderr)).toEqual([{ subject: "acme", sha256: sha256Of(SECRET), claims: { plan: "gold" } }]);
    expect(stderr).not.toContain(SECRET);
  });

  test("--json prints the entry", async () => {
    const { stdout, stderr } = await hashOf(SECRET, "acme", "--json");
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toEqual({ subject: "acme", sha256: sha256Of(SECRET) });
  });

  test("warns of a key that can be guessed, and what it prints can still be pasted", async () => {
    const { code, stderr } = await hashOf("secret", "acme");
    expect(code).toBe(0);
    expect(stderr).toMatch(/^# warning: this key is short/);
    expect(parse(stderr)).toEqual([{ subject: "acme", sha256: sha256Of("secret") }]);
  });

  test.each([
    ["", "the API key is empty"],
    ["a\nb", "expected the API key alone, on one line"],
    [" key", "expected visible ASCII characters: a header does not carry others as they are"],
    ["schlüssel", "expected visible ASCII characters: a header does not carry others as they are"],
    [`csk_${"0".repeat(49)}`, "the API key is mistyped: its checksum is wrong"],
  ])("refuses what is no key: %j", async (input, message) => {
    expect(await hashOf(input, "acme")).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: ${message}\n${HINT}`,
    });
  });
});
