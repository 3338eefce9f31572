import { createHmac, sign } from "node:crypto";
import { CompactEncrypt, exportJWK, exportSPKI } from "jose";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { JwtOptions } from "../../../src/policy/authenticators/options.ts";
import { startBackend } from "../../support/backend.ts";
import { createTestClock, openTestJwt } from "../../support/caller.ts";
import {
  generateTestKeyPair,
  publicJwkOf,
  startIdentityProvider,
  TEST_AUDIENCE,
  type TestIdentityProvider,
  type TestJwk,
  type TestKeyPair,
} from "../../support/identity-provider.ts";

const clock = createTestClock();
const NOW = clock.now() / 1000;
const rsa = generateTestKeyPair("rsa-1", "RS256");
const attacker = generateTestKeyPair("key-1", "ES256");
let provider: TestIdentityProvider;
let rsaJwk: TestJwk;
let ownJwk: TestJwk;

beforeAll(async () => {
  provider = await startIdentityProvider({ now: clock.now });
  rsaJwk = await publicJwkOf(rsa);
  ownJwk = await publicJwkOf(provider.key());
});
beforeEach(() => provider.publish([ownJwk, rsaJwk]));
afterAll(() => provider[Symbol.asyncDispose]());

/** What an authenticator says of a token. The algorithms are as wrong as they can be. */
async function ask(token: string, options: Partial<JwtOptions> = {}) {
  using login = await openTestJwt(provider.url, clock, {
    algorithms: ["RS256", "ES256", "HS256", "none", "None"] as unknown as JwtOptions["algorithms"],
    ...options,
  });
  return await login.ask(token);
}

const base64url = (value: unknown) =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

const payload = () => ({ iss: provider.url, sub: "admin", aud: TEST_AUDIENCE, exp: NOW + 300 });

const ALGORITHM = "the token is signed with an algorithm that is not accepted";
const UNKNOWN_KEY = "the token is signed with a key that the issuer does not have";
const FORGED = "the signature of the token is not that of the key";
const MALFORMED = "the credential is not a JWT";

test.each(["none", "None", "NONE", "nOnE", "", " none", null, undefined, 0, ["ES256"], { alg: "ES256" }])(
  "a token with alg %j is refused, whatever stands for the signature",
  async (alg) => {
    const unsigned = `${base64url({ alg, kid: "key-1" })}.${base64url(payload())}`;
    const [, , signature] = (await provider.sign()).split(".");
    expect(await ask(`${unsigned}.`)).toEqual({ kind: "invalid", reason: MALFORMED });
    expect(await ask(`${unsigned}.AA`)).toEqual({ kind: "invalid", reason: ALGORITHM });
    expect(await ask(`${unsigned}.${signature}`)).toEqual({ kind: "invalid", reason: ALGORITHM });
  },
);

test("a public key is no secret: HS256 with its PEM or JWK is refused", async () => {
  const pem = await exportSPKI(rsa.publicKey);
  const jwk = await exportJWK(rsa.publicKey);
  const secrets = [pem, pem.trim(), JSON.stringify(jwk), JSON.stringify(rsaJwk), String(jwk.n)];
  for (const secret of [...secrets, Buffer.from(String(jwk.n), "base64url")]) {
    const signed = `${base64url({ alg: "HS256", kid: rsa.kid })}.${base64url(payload())}`;
    const signature = createHmac("sha256", secret).update(signed).digest("base64url");
    expect(await ask(`${signed}.${signature}`)).toEqual({ kind: "invalid", reason: ALGORITHM });
  }
});

test("a symmetric key in the JWK Set verifies nothing", async () => {
  provider.publish([{ kty: "oct", k: base64url("secret"), kid: "shared", alg: "HS256", use: "sig" }]);
  const signed = `${base64url({ alg: "HS256", kid: "shared" })}.${base64url(payload())}`;
  const signature = createHmac("sha256", "secret").update(signed).digest("base64url");
  expect(await ask(`${signed}.${signature}`)).toEqual({ kind: "invalid", reason: ALGORITHM });
});

test("a key that a token brings along is not used", async () => {
  const jwk = await publicJwkOf(attacker);
  for (const kid of [undefined, "key-1", "mine"]) {
    const token = await provider.sign({ sub: "admin" }, { kid, jwk: { ...jwk, kid } }, attacker);
    expect(await ask(token)).toMatchObject({ kind: "invalid" });
  }
});

test("a key that a token points to is not fetched", async () => {
  const jwks = JSON.stringify({ keys: [await publicJwkOf(attacker)] });
  const asked: string[] = [];
  await using server = await startBackend((request, response) => {
    asked.push(String(request.url));
    response.end(jwks);
  });
  const header = { jku: `${server.url}/jwks`, x5u: `${server.url}/x5u`, x5c: ["MIIB"], x5t: "AA" };

  expect(await ask(await provider.sign({}, header, attacker))).toEqual({ kind: "invalid", reason: FORGED });
  expect(await ask(await provider.sign({}, { ...header, kid: "mine" }, attacker))).toEqual({
    kind: "invalid",
    reason: UNKNOWN_KEY,
  });
  expect(asked).toEqual([]);
});

test("what a token says of its key beside the kid does not matter where the signature is good", async () => {
  const token = await provider.sign({}, { jku: "http://127.0.0.1:1/", jwk: await publicJwkOf(attacker) });
  expect(await ask(token)).toMatchObject({ kind: "user" });
});

test.each([
  [{ crit: ["urn:example:bound"], "urn:example:bound": true }],
  [{ crit: ["exp"], exp: NOW }],
  [{ crit: [] }],
  [{ crit: "b64" }],
  [{ crit: ["b64"], b64: false }],
  [{ crit: ["__proto__"] }],
])("a critical extension that is not known is refused: %j", async (extension) => {
  const [, claims = ""] = (await provider.sign()).split(".");
  const header = { alg: "ES256", kid: "key-1", ...extension };
  expect(await ask(signTexts(JSON.stringify(header), claims, provider.key()))).toMatchObject({
    kind: "invalid",
  });
});

test.each([
  "../../../../etc/passwd",
  "/dev/null",
  "' OR 1=1 --",
  "key-1' UNION SELECT 'secret",
  "key-1\0",
  "KEY-1",
  " key-1",
  "",
  "__proto__",
  "0",
  "http://127.0.0.1:1/key",
  "k".repeat(8000),
])("a kid is compared and nothing else: %j", async (kid) => {
  expect(await ask(await provider.sign({}, { kid }))).toEqual({ kind: "invalid", reason: UNKNOWN_KEY });
});

test.each([[1], [["key-1"]], [{ $ne: "" }], [null], [true]])(
  "a kid that is no string is refused: %j",
  async (kid) => {
    const header = JSON.stringify({ alg: "ES256", kid });
    const token = signTexts(header, base64url(payload()), provider.key());
    expect(await ask(token)).toEqual({ kind: "invalid", reason: "the kid of the token is not a string" });
  },
);

test("an encrypted token is refused", async () => {
  const token = await new CompactEncrypt(Buffer.from(JSON.stringify(payload())))
    .setProtectedHeader({ alg: "RSA-OAEP-256", enc: "A256GCM", kid: rsa.kid })
    .encrypt(rsa.publicKey);
  expect(await ask(token)).toMatchObject({ kind: "invalid" });
});

test.each([
  ["for encryption", { use: "enc" }],
  ["for another algorithm", { alg: "ES384" }],
  ["for key agreement", { key_ops: ["deriveKey"] }],
  ["whose operations are no list", { key_ops: "verify" }],
  ["for signing only", { key_ops: ["sign"] }],
  ["on another curve than it says", { crv: "P-384" }],
  ["of another kind than it says", { kty: "RSA" }],
  ["with a private part", { d: "AA" }],
  ["with the kid of another", { kid: "key-2" }],
])("a key %s does not verify", async (_what, change) => {
  provider.publish([{ ...ownJwk, ...change }]);
  expect(await ask(await provider.sign())).toEqual({ kind: "invalid", reason: UNKNOWN_KEY });
});

test("a key that says nothing of its use verifies what fits its kind", async () => {
  const { kty, crv, x, y, kid } = ownJwk;
  provider.publish([{ kty, crv, x, y, kid }]);
  expect(await ask(await provider.sign())).toMatchObject({ kind: "user" });
});

test("an EC key does not verify a token that says RS256", async () => {
  const { alg: _alg, ...jwk } = ownJwk;
  provider.publish([jwk]);
  const token = signTexts(
    JSON.stringify({ alg: "RS256", kid: "key-1" }),
    base64url(payload()),
    provider.key(),
  );
  expect(await ask(token)).toEqual({ kind: "invalid", reason: UNKNOWN_KEY });
});

test("an algorithm that is not in the list is refused, though the issuer has a key for it", async () => {
  const token = await provider.sign({}, {}, rsa);
  expect(await ask(token)).toMatchObject({ kind: "user" });
  expect(await ask(token, { algorithms: ["ES256"] })).toEqual({ kind: "invalid", reason: ALGORITHM });
});

test("an RSA key of less than 2048 bits is not used", async () => {
  const weak = generateTestKeyPair("weak", "RS256", 1024);
  provider.publish([await publicJwkOf(weak)]);
  const token = signTexts(JSON.stringify({ alg: "RS256", kid: "weak" }), base64url(payload()), weak);
  expect(await ask(token)).toEqual({ kind: "invalid", reason: UNKNOWN_KEY });
});

test("a key that cannot be read does not take the others with it", async () => {
  const broken = [
    null,
    1,
    "key",
    [],
    {},
    { kty: "EC" },
    { ...ownJwk, x: "AA", kid: "other" },
    { kty: "AKP" },
  ];
  provider.publish([...broken, ownJwk]);
  expect(await ask(await provider.sign())).toMatchObject({ kind: "user" });
});

describe("without a kid", () => {
  test("each key that fits is tried", async () => {
    provider.publish([await publicJwkOf(generateTestKeyPair("first", "ES256")), rsaJwk, ownJwk]);
    expect(await ask(await provider.sign({}, { kid: undefined }))).toMatchObject({ kind: "user" });
  });

  test("a token that none of them has signed is refused", async () => {
    const token = await provider.sign({}, { kid: undefined }, attacker);
    expect(await ask(token)).toEqual({ kind: "invalid", reason: UNKNOWN_KEY });
  });
});

describe("a token text that was changed", () => {
  const changes: Readonly<Record<string, (token: string) => string>> = {
    "cut short": (token) => token.slice(0, -4),
    "without its signature": (token) => token.slice(0, token.lastIndexOf(".") + 1),
    "without the last dot": (token) => token.slice(0, token.lastIndexOf(".")),
    "with a fourth part": (token) => `${token}.AA`,
    "with padding": (token) => `${token}==`,
    "with a space in its signature": (token) => `${token.slice(0, -3)} ${token.slice(-3)}`,
    "with a tab in its payload": (token) => token.replace(".", ".\t"),
    "with a line break behind it": (token) => `${token}\n`,
    "in base64": (token) => `${token.slice(0, -4)}+/+/`,
    "with a character over": (token) => `${token}A`,
    "with other bits behind the last byte": (token) => withOtherLastBits(token),
    "with another payload": (token) => {
      const [header, , signature] = token.split(".");
      return [header, base64url({ ...payload(), sub: "root" }), signature].join(".");
    },
    "with another header": (token) =>
      [base64url({ alg: "ES256", kid: "key-1", typ: "JWT" }), ...token.split(".").slice(1)].join("."),
  };

  test.each(Object.entries(changes))(
    "%s is refused, before and after the good one was seen",
    async (_what, change) => {
      using login = await openTestJwt(provider.url, clock);
      const token = await provider.sign({ sub: "ada" });
      const changed = change(token);

      expect((await login.ask(changed)).kind).toBe("invalid");
      expect(await login.ask(token)).toMatchObject({ kind: "user" });
      expect((await login.ask(changed)).kind).toBe("invalid");
    },
  );
});

test.each(["", "a.b.c", "..", "....", "null.null.null", "W10.W10.AA", "{}", "é.é.é", ".".repeat(8000)])(
  "what is no JWT is refused: %j",
  async (text) => {
    expect(await ask(text)).toMatchObject({ kind: "invalid" });
  },
);

test("a payload that is nested deeper than the stack harms nothing", async () => {
  const nested = `${"[".repeat(4000)}${"]".repeat(4000)}`;
  const text = JSON.stringify({ ...payload(), nested: 0 }).replace('"nested":0', `"nested":${nested}`);
  const { kid } = provider.key();
  const token = signTexts(JSON.stringify({ alg: "ES256", kid }), base64url(text), provider.key());
  expect((await ask(token)).kind).toBe("user");
});

test("no reason holds anything of the token", async () => {
  const secrets = ["s3cr3t-subject", "s3cr3t-audience", "s3cr3t-kid"];
  const [sub, aud, kid] = secrets;
  const outcomes = await Promise.all([
    provider.sign({ sub, aud }).then((token) => ask(token)),
    provider.sign({ sub }, { kid }).then((token) => ask(token)),
    provider.sign({ sub, exp: 1 }).then((token) => ask(token)),
    ask("s3cr3t-subject"),
  ]);
  for (const outcome of outcomes) expect(JSON.stringify(outcome)).not.toMatch(/s3cr3t/);
});

/** Signs two texts as they are, the header as JSON and the payload in base64url. */
function signTexts(header: string, payloadText: string, { privateKey }: TestKeyPair): string {
  const signed = `${base64url(header)}.${payloadText}`;
  const isRsa = privateKey.asymmetricKeyType === "rsa";
  const key = isRsa ? privateKey : { key: privateKey, dsaEncoding: "ieee-p1363" as const };
  return `${signed}.${sign("sha256", Buffer.from(signed), key).toString("base64url")}`;
}

/** Another text that decodes to the same bytes: 64 bytes leave four bits of the last character over. */
function withOtherLastBits(token: string): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return `${token.slice(0, -1)}${alphabet[alphabet.indexOf(token.slice(-1)) + 1]}`;
}
