import bcrypt from "bcrypt";
import { beforeAll, describe, expect, test } from "vitest";
import type { Outcome } from "../../../src/policy/authenticators/authenticator.ts";
import { openBasic } from "../../../src/policy/authenticators/basic.ts";
import type { BasicOptions, BasicUser } from "../../../src/policy/authenticators/options.ts";
import { hashPassword } from "../../../src/policy/authenticators/password-hash.ts";
import { requestWith, surroundings } from "./support.ts";

const WRONG: Outcome = { kind: "invalid", reason: "the user name or the password is wrong" };
let scryptHash: string;
let bcryptHash: string;

beforeAll(async () => {
  scryptHash = await hashPassword("correct horse");
  bcryptHash = await bcrypt.hash("battery staple", 4);
});

const user = (username: string, passwordHash: string, others: Partial<BasicUser> = {}): BasicUser => ({
  username,
  passwordHash,
  claims: {},
  disabled: false,
  ...others,
});

/** An authenticator of these users. */
async function open(users: readonly BasicUser[], options: Partial<BasicOptions> = {}) {
  return openBasic(
    "ops",
    { type: "basic", users, htpasswd: undefined, forwardCredential: false, ...options },
    surroundings(),
  );
}

const base64 = (text: string) => Buffer.from(text).toString("base64");
/** A request whose Authorization field is this. */
const authorized = (value: string) => requestWith(["Authorization", value]);
const signedIn = (text: string) => authorized(`Basic ${base64(text)}`);

describe("a user", () => {
  test("with a scrypt hash is known by the password, with the claims of the entry", async () => {
    const basic = await open([user("ops", scryptHash, { claims: { role: "ops" } })]);
    expect(await basic.authenticate(signedIn("ops:correct horse"))).toEqual({
      kind: "user",
      user: { sub: "ops", claims: { role: "ops" } },
    });
    expect(await basic.authenticate(signedIn("ops:wrong"))).toEqual(WRONG);
  });

  test("with a bcrypt hash is known by the password", async () => {
    const basic = await open([user("ops", bcryptHash)]);
    expect(await basic.authenticate(signedIn("ops:battery staple"))).toMatchObject({ user: { sub: "ops" } });
    expect(await basic.authenticate(signedIn("ops:wrong"))).toEqual(WRONG);
  });

  test("who is not known is refused with the words for a wrong password", async () => {
    const basic = await open([user("ops", bcryptHash)]);
    expect(await basic.authenticate(signedIn("nobody:battery staple"))).toEqual(WRONG);
    expect(await basic.authenticate(signedIn("Ops:battery staple"))).toEqual(WRONG);
    expect(await basic.authenticate(signedIn(":battery staple"))).toEqual(WRONG);
  });

  test("who is disabled is refused, and learns of it with the right password alone", async () => {
    const basic = await open([user("ops", bcryptHash, { disabled: true })]);
    expect(await basic.authenticate(signedIn("ops:wrong"))).toEqual(WRONG);
    const disabled = { kind: "invalid", reason: "the user is disabled" };
    expect(await basic.authenticate(signedIn("ops:battery staple"))).toEqual(disabled);
    expect(await basic.authenticate(signedIn("ops:battery staple"))).toEqual(disabled);
  });

  test("of nobody: without users everybody is refused", async () => {
    const basic = await open([]);
    expect(await basic.authenticate(signedIn("ops:x"))).toEqual(WRONG);
  });

  test.each(["__proto__", "constructor", "toString"])("named %s is nobody", async (name) => {
    const basic = await open([user("ops", bcryptHash)]);
    expect(await basic.authenticate(signedIn(`${name}:x`))).toEqual(WRONG);
  });

  test("whose hash is none makes the authenticator fail to open", async () => {
    await expect(open([user("ops", "hunter2")])).rejects.toThrow(
      /^the password hash of "ops": expected a hash, not the password itself/,
    );
  });
});

describe("the field (RFC 7617 §2)", () => {
  test.each(["Basic", "basic", "BASIC", "bAsIc"])("has the scheme %s", async (scheme) => {
    const basic = await open([user("ops", bcryptHash)]);
    const request = authorized(`${scheme} ${base64("ops:battery staple")}`);
    expect(await basic.authenticate(request)).toMatchObject({ kind: "user" });
  });

  test("is cut at the first colon: a password may hold more", async () => {
    const basic = await open([user("ops", await bcrypt.hash("a:b:", 4))]);
    expect(await basic.authenticate(signedIn("ops:a:b:"))).toMatchObject({ kind: "user" });
  });

  test("is UTF-8, in whichever normalization form", async () => {
    const basic = await open([user("Zoë", await bcrypt.hash("pässwörd", 4))]);
    for (const form of ["NFC", "NFD"])
      expect(await basic.authenticate(signedIn("Zoë:pässwörd".normalize(form)))).toMatchObject({
        user: { sub: "Zoë" },
      });
  });

  test("may lack the padding of base64", async () => {
    expect(base64("ops:pw12")).toBe("b3BzOnB3MTI=");
    const padded = await open([user("ops", await bcrypt.hash("pw12", 4))]);
    expect(await padded.authenticate(authorized("Basic b3BzOnB3MTI"))).toMatchObject({ kind: "user" });
    expect(await padded.authenticate(authorized("Basic b3BzOnB3MTI="))).toMatchObject({ kind: "user" });
  });

  test.each([["Bearer abc"], ["Basicabc"], ["Digest username=a"], [""]])(
    "of another scheme is for somebody else: %j",
    async (value) => {
      const basic = await open([user("ops", bcryptHash)]);
      expect(await basic.authenticate(authorized(value))).toMatchObject({ kind: "not-mine" });
    },
  );

  test("that is absent is for somebody else", async () => {
    const basic = await open([user("ops", bcryptHash)]);
    const outcome = await basic.authenticate(requestWith(["Host", "a"]));
    expect(outcome).toMatchObject({ kind: "not-mine" });
  });

  const NOT_BASE64 = "the credentials are not in base64";
  test.each([
    ["Basic", "the credential is empty"],
    ["Basic ", "the credential is empty"],
    ["Basic !!!!", NOT_BASE64],
    ["Basic b3BzOnB3 b3BzOnB3", NOT_BASE64],
    ["Basic b3Bz*OnB3", NOT_BASE64],
    ["Basic b3BzOnB3MTI===", NOT_BASE64],
    ["Basic b3BzOnB3MTJ", NOT_BASE64],
    ["Basic b3BzO", NOT_BASE64],
    ["Basic b3BzOg-_", NOT_BASE64],
    ["Basic =", NOT_BASE64],
    [`Basic ${base64("ops")}`, "the credentials have no colon between user name and password"],
    [`Basic ${base64("ops:a\u0000b")}`, "the credentials hold a control character"],
    [`Basic ${base64("o\nps:a")}`, "the credentials hold a control character"],
    [`Basic ${base64("ops:\u007f")}`, "the credentials hold a control character"],
    [`Basic ${Buffer.from("ops:p\xe4ss", "latin1").toString("base64")}`, "the credentials are not in UTF-8"],
  ])("that is malformed is refused: %s", async (value, reason) => {
    const basic = await open([user("ops", bcryptHash)]);
    expect(await basic.authenticate(authorized(value))).toEqual({ kind: "invalid", reason });
  });

  test("that stands there twice is refused, whichever comes first", async () => {
    const basic = await open([user("ops", bcryptHash)]);
    const good = `Basic ${base64("ops:battery staple")}`;
    for (const values of [
      [good, good],
      [good, "Bearer abc"],
      ["Bearer abc", good],
    ])
      expect(
        await basic.authenticate(requestWith(values.flatMap((value) => ["authorization", value]))),
      ).toEqual({ kind: "invalid", reason: "there is more than one credential" });
  });
});

test("the challenge names the realm and UTF-8, whatever was wrong", async () => {
  const basic = await open([]);
  expect(basic.challenge(undefined)).toBe('Basic realm="countersign", charset="UTF-8"');
  expect(basic.challenge("wrong")).toBe('Basic realm="countersign", charset="UTF-8"');
});

test("the credential's place is the Authorization field", async () => {
  expect((await open([])).place).toEqual({ fields: ["authorization"] });
  expect((await open([], { forwardCredential: true })).forwardCredential).toBe(true);
});
