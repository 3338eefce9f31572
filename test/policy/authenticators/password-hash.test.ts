import bcrypt from "bcrypt";
import { describe, expect, test } from "vitest";
import {
  decoyLike,
  hashPassword,
  type PasswordHash,
  readPasswordHash,
  verifyPassword,
} from "../../../src/policy/authenticators/password-hash.ts";

function hashOf(text: string): PasswordHash {
  const reading = readPasswordHash(text);
  if ("expected" in reading) throw new Error(reading.expected);
  return reading.value;
}

const verify = (text: string, password: string) => verifyPassword(hashOf(text), password);

/** RFC 7914 §12: "pleaseletmein", "SodiumChloride", N = 16384, r = 8, p = 1. */
const RFC_7914 = `$scrypt$ln=14,r=8,p=1$${unpadded("SodiumChloride", "utf8")}$${unpadded(
  "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887",
  "hex",
)}`;

function unpadded(text: string, encoding: BufferEncoding): string {
  return Buffer.from(text, encoding).toString("base64").replace(/=+$/, "");
}

describe("scrypt", () => {
  test("the vector of RFC 7914 verifies", async () => {
    expect(await verify(RFC_7914, "pleaseletmein")).toBe(true);
    expect(await verify(RFC_7914, "pleaseletmeout")).toBe(false);
  });

  test("what hashPassword makes verifies with this password alone", async () => {
    const text = await hashPassword("correct horse");
    expect(text).toMatch(/^\$scrypt\$ln=14,r=8,p=5\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
    expect(await verify(text, "correct horse")).toBe(true);
    expect(await verify(text, "correct horse ")).toBe(false);
    expect(await verify(text, "")).toBe(false);
  });

  test("every byte of the hash counts", async () => {
    const hash = hashOf(RFC_7914);
    if (hash.kind !== "scrypt") throw new Error("not scrypt");
    const digest = Buffer.from(hash.digest);
    digest[digest.length - 1] = 0;
    expect(await verifyPassword({ ...hash, digest }, "pleaseletmein")).toBe(false);
  });

  test("the same password has another hash each time", async () => {
    expect(await hashPassword("a")).not.toBe(await hashPassword("a"));
  });

  test("a password of any length counts to its end", async () => {
    const text = await hashPassword("ä".repeat(100));
    expect(await verify(text, "ä".repeat(100))).toBe(true);
    expect(await verify(text, `${"ä".repeat(99)}ö`)).toBe(false);
  });

  test("a hash at the upper bound verifies: the memory that it needs is allowed", async () => {
    const text = RFC_7914.replace("ln=14,r=8,p=1", "ln=17,r=8,p=1");
    expect(await verify(text, "pleaseletmein")).toBe(false);
  });
});

describe("bcrypt", () => {
  test("what the library bcrypt makes verifies", async () => {
    const text = await bcrypt.hash("pässword", 4);
    expect(text).toMatch(/^\$2b\$/);
    expect(await verify(text, "pässword")).toBe(true);
    expect(await verify(text, "password")).toBe(false);
  });

  test.each([
    ["htpasswd -nbB, in UTF-8", "$2y$05$hpU00gdKYOhNWDJlQ818bubJ6nkEfHNyyFLjlDfaEpF1FjOPWPR/C", "pässwörd:x"],
    // The test vectors of crypt_blowfish.
    ["2a", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"],
    ["2b", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"],
    ["2y", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"],
  ])("a hash of %s verifies", async (_from, text, password) => {
    expect(await verify(text, password)).toBe(true);
    expect(await verify(text, `${password}!`)).toBe(false);
  });

  test("a password longer than what bcrypt looks at is refused, though the library would take it", async () => {
    const longest = "x".repeat(72);
    const text = await bcrypt.hash(longest, 4);
    expect(await bcrypt.compare(`${longest}y`, text)).toBe(true);
    expect(await verify(text, longest)).toBe(true);
    expect(await verify(text, `${longest}y`)).toBe(false);
  });

  test("it is bytes that are counted", async () => {
    const text = await bcrypt.hash("ä".repeat(36), 4);
    expect(await verify(text, "ä".repeat(36))).toBe(true);
    expect(await verify(text, `${"ä".repeat(36)}x`)).toBe(false);
  });
});

describe("a decoy", () => {
  test.each([
    ["scrypt", RFC_7914, "pleaseletmein"],
    ["bcrypt", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"],
  ])("of %s costs the same, and no password is right for it", async (kind, text, password) => {
    const hash = hashOf(text);
    const decoy = decoyLike(hash);
    expect(decoy.kind).toBe(kind);
    if (decoy.kind === "scrypt" && hash.kind === "scrypt") {
      expect(decoy.cost).toEqual(hash.cost);
      expect([decoy.salt.length, decoy.digest.length]).toEqual([hash.salt.length, hash.digest.length]);
    }
    if (decoy.kind === "bcrypt") expect(decoy.text).toMatch(/^\$2b\$05\$[./A-Za-z0-9]{53}$/);
    expect(await verifyPassword(decoy, password)).toBe(false);
  });
});

describe("a text that is no hash that can be used is refused without being repeated", () => {
  const SALT = "U29kaXVtQ2hsb3JpZGU";
  const DIGEST = unpadded("x".repeat(32), "utf8");
  const REMEDY = "countersign password hash makes one";
  const PLAIN = `expected a hash, not the password itself; ${REMEDY}`;
  const OTHER = `expected a hash of scrypt or bcrypt, and this is another kind; ${REMEDY}`;
  const SCRYPT = `expected a whole scrypt hash such as "$scrypt$ln=14,r=8,p=5$<salt>$<hash>", base64 without padding; ${REMEDY}`;
  const EASY = `expected a scrypt hash that is harder to guess: at least ln=13,r=8,p=1; ${REMEDY}`;
  const COSTLY = `expected a scrypt hash that costs less to check: at most 128 MiB (ln=17,r=8) and ln=17,r=8,p=4; ${REMEDY}`;
  const BCRYPT = "expected a whole bcrypt hash: $2b$, $2a$ or $2y$, the cost, and 53 characters";

  test.each([
    ["", PLAIN],
    ["hunter2", PLAIN],
    ["QLAv4F4Ly9w8Q", PLAIN],
    ["$apr1$ZE1XS7oK$leN4WRVly4KToonqyJtVf0", OTHER],
    ["$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA", OTHER],
    ["$6$salt$hash", OTHER],
    ["{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=", OTHER],
    ["$scrypt$", SCRYPT],
    [`$scrypt$ln=14,r=8$${SALT}$${DIGEST}`, SCRYPT],
    [`$scrypt$r=8,ln=14,p=5$${SALT}$${DIGEST}`, SCRYPT],
    [`$scrypt$ln=-14,r=8,p=5$${SALT}$${DIGEST}`, SCRYPT],
    [`$scrypt$ln=14,r=8,p=5$${SALT}`, SCRYPT],
    [`$scrypt$ln=14,r=8,p=5$${SALT}$${DIGEST}=`, SCRYPT],
    [`$scrypt$ln=14,r=8,p=5$${SALT}$${DIGEST} `, SCRYPT],
    [`$scrypt$ln=14,r=8,p=5$${SALT}$${DIGEST}\n`, SCRYPT],
    [`$scrypt$ln=14,r=8,p=5$${SALT}$${DIGEST}$`, SCRYPT],
    [`$scrypt$ln=14,r=8,p=5$${SALT.slice(0, -1)}V$${DIGEST}`, SCRYPT],
    [`$scrypt$ln=14,r=8,p=5$c2FsdA$${DIGEST}`, SCRYPT],
    [`$scrypt$ln=14,r=8,p=5$${SALT}$c2hvcnQ`, SCRYPT],
    [`$scrypt$ln=12,r=8,p=20$${SALT}$${DIGEST}`, EASY],
    [`$scrypt$ln=0,r=8,p=1$${SALT}$${DIGEST}`, EASY],
    [`$scrypt$ln=14,r=8,p=0$${SALT}$${DIGEST}`, EASY],
    [`$scrypt$ln=18,r=8,p=1$${SALT}$${DIGEST}`, COSTLY],
    [`$scrypt$ln=99,r=9999,p=9999$${SALT}$${DIGEST}`, COSTLY],
    [`$scrypt$ln=14,r=8,p=33$${SALT}$${DIGEST}`, COSTLY],
    [`$scrypt$ln=14,r=8,p=5$${SALT}$${DIGEST.repeat(4)}`, COSTLY],
    ["$2b$05$short", BCRYPT],
    ["$2$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", BCRYPT],
    ["$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", BCRYPT],
    ["$2b$03$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", BCRYPT],
    ["$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW ", BCRYPT],
    [
      "$2b$16$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
      "expected a bcrypt hash that costs less to check: at most 15",
    ],
  ])("%s", (text, expected) => {
    expect(readPasswordHash(text)).toEqual({ expected });
  });
});
