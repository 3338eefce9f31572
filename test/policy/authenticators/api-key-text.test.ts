import { describe, expect, test } from "vitest";
import { createApiKey, isMistyped } from "../../../src/policy/authenticators/api-key-text.ts";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

describe("a new key", () => {
  test.each(["csk", "A", "abcdefgh12345678"])(
    "has the prefix %s, 43 random digits and a checksum",
    (prefix) => {
      const key = createApiKey(prefix);
      expect(key).toMatch(new RegExp(`^${prefix}_[0-9A-Za-z]{49}$`));
      expect(isMistyped(key)).toBe(false);
    },
  );

  test("is another each time", () => {
    expect(new Set(Array.from({ length: 1000 }, () => createApiKey("csk"))).size).toBe(1000);
  });

  test("has each digit as often as every other", () => {
    const counts = new Map<string, number>();
    const keys = 5000;
    for (let i = 0; i < keys; i++)
      for (const digit of createApiKey("csk").slice(4, 47)) counts.set(digit, (counts.get(digit) ?? 0) + 1);
    expect([...counts.keys()].sort()).toEqual([...ALPHABET].sort());
    const expected = (keys * 43) / 62;
    const chiSquared = [...counts.values()].reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
    // 61 degrees of freedom: more than 150 never happens. A byte modulo 62 would make it 1400.
    expect(chiSquared).toBeLessThan(150);
  });

  test("has a checksum that others can compute: CRC-32 to the base of 62", () => {
    // Computed with zlib.crc32 of Python.
    expect(isMistyped(`csk_${"0".repeat(43)}2Anc97`)).toBe(false);
    expect(isMistyped(`csk_${"0".repeat(43)}2Anc90`)).toBe(true);
  });
});

describe("a mistyped key is told", () => {
  const key = createApiKey("csk");

  test("where one character is another", () => {
    for (let i = 4; i < key.length; i++) {
      const other = key[i] === "x" ? "y" : "x";
      expect(isMistyped(`${key.slice(0, i)}${other}${key.slice(i + 1)}`)).toBe(true);
    }
  });

  test("where two neighbours have changed places", () => {
    for (let i = 4; i < key.length - 1; i++) {
      const swapped = `${key.slice(0, i)}${key[i + 1]}${key[i]}${key.slice(i + 2)}`;
      expect(isMistyped(swapped)).toBe(swapped !== key);
    }
  });

  test("where it has another prefix", () => {
    expect(isMistyped(key.replace("csk", "ckk"))).toBe(true);
  });

  test.each([
    ["a secret of another kind", "hunter2"],
    ["an empty text", ""],
    ["a key that is cut", key.slice(0, -1)],
    ["a key with more behind it", `${key}x`],
    ["a key without a prefix", key.slice(4)],
  ])("but of %s nothing is said", (_what, text) => {
    expect(isMistyped(text)).toBe(false);
  });
});
