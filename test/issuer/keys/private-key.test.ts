import { createHash, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { SigningAlgorithm } from "../../../src/issuer/algorithms.ts";
import { formatPrivateKey, parsePrivateKey } from "../../../src/issuer/keys/private-key.ts";
import { createSigningKey } from "../../../src/issuer/keys/signing-key.ts";
import { errorOf, everythingIn, jwkOf, pemOf, privateKeyFor, refusalOf, secretsOf } from "./key-material.ts";
import {
  RFC_EC_KEY_FOR_ENCRYPTION,
  RFC_EC_THUMBPRINT,
  RFC_ED25519_KEY,
  RFC_ED25519_THUMBPRINT,
  RFC_RSA_KEY,
  RFC_RSA_THUMBPRINT,
} from "./rfc-keys.ts";

const ed25519 = privateKeyFor("EdDSA");
const p256 = privateKeyFor("ES256");
const p384 = privateKeyFor("ES384");
const p521 = privateKeyFor("ES512");
const rsa = privateKeyFor("RS256");
const ed448 = generateKeyPairSync("ed448").privateKey;
const secp256k1 = generateKeyPairSync("ec", { namedCurve: "secp256k1" }).privateKey;
const rsa1024 = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey;
const rsaPss = generateKeyPairSync("rsa-pss", { modulusLength: 2048 }).privateKey;

const PASSPHRASE = "correct horse battery staple";
const CIPHER = { cipher: "aes-256-cbc", passphrase: PASSPHRASE } as const;

/** What `openssl ecparam -name prime256v1 -genkey` writes first. */
const EC_PARAMETERS = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";

const PEM = "cannot be read as a private key in PEM; it may be truncated";
const NEITHER = "this is neither PEM nor a JWK; expected a private key in one of them";
const PUBLIC = "this is no private key, and a certificate or public key cannot sign";
const EMPTY = "empty; expected a private key in PEM or as a JWK";
const LOCKED = "this key is encrypted, and no passphrase is given for it";
const NOT_OPENED = "the passphrase does not open this key, or the PEM is truncated";
const JWK = "cannot be read as a private JWK; a member is missing or wrong";

const parse = (text: string, passphrase?: string) => parsePrivateKey(text, "k", passphrase);

function exportPublic(key: KeyObject, type: "spki" | "pkcs1"): string {
  return createPublicKey(key).export({ type, format: "pem" }) as string;
}

function exported(key: KeyObject, type: "pkcs8" | "pkcs1" | "sec1", encryption = {}): string {
  return key.export({ type, format: "pem", ...encryption }) as string;
}

describe("a private key may be", () => {
  const pem = pemOf(ed25519);

  test.each([
    ["PEM in PKCS#8", ed25519, pem],
    ["PEM in PKCS#8, of an EC key", p521, pemOf(p521)],
    ["PEM in PKCS#8, of an RSA key", rsa, pemOf(rsa)],
    ["PEM in SEC 1", p256, exported(p256, "sec1")],
    [
      "PEM in SEC 1 behind its parameters, as OpenSSL writes it",
      p256,
      `${EC_PARAMETERS}${exported(p256, "sec1")}`,
    ],
    ["PEM in PKCS#1", rsa, exported(rsa, "pkcs1")],
    ["PEM with Windows line ends", ed25519, pem.replaceAll("\n", "\r\n")],
    ["PEM amid spaces", ed25519, `\n  ${pem}\n\n`],
    ["PEM behind a byte order mark", ed25519, `\uFEFF${pem}`],
    ["PEM behind the words that OpenSSL writes", ed25519, `Bag Attributes\n    friendlyName: a\n${pem}`],
    ["PEM without the last line end", ed25519, pem.trimEnd()],
    [
      "PEM before its certificate",
      ed25519,
      `${pem}-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n`,
    ],
    ["a JWK", ed25519, JSON.stringify(jwkOf(ed25519))],
    ["a JWK over several lines", ed25519, JSON.stringify(jwkOf(ed25519), undefined, 2)],
    ["a JWK of an EC key", p384, JSON.stringify(jwkOf(p384))],
    ["a JWK of an RSA key", rsa, JSON.stringify(jwkOf(rsa))],
    [
      "a JWK for signing",
      rsa,
      JSON.stringify({ ...jwkOf(rsa), use: "sig", key_ops: ["sign", "verify"], x5c: [] }),
    ],
  ])("%s", (_form, key, text) => {
    expect(parse(text)).toEqual({ privateKey: expect.anything(), algorithm: undefined });
    expect(parse(text).privateKey.equals(key)).toBe(true);
  });

  test.each([
    ["EdDSA", "EdDSA", ed25519],
    ["Ed25519", "EdDSA", ed25519],
    ["ES384", "ES384", p384],
    ["RS512", "RS512", rsa],
    ["PS256", "PS256", rsa],
  ] as const)("a JWK whose alg is %s, for %s", (alg, algorithm, key) => {
    expect(parse(JSON.stringify({ ...jwkOf(key), alg })).algorithm).toBe(algorithm);
  });
});

describe.each([
  ["PKCS#8", ed25519, exported(ed25519, "pkcs8", CIPHER), /^-----BEGIN ENCRYPTED PRIVATE KEY-----/],
  [
    "PKCS#1",
    rsa,
    exported(rsa, "pkcs1", CIPHER),
    /^-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n/,
  ],
  [
    "SEC 1",
    p256,
    exported(p256, "sec1", CIPHER),
    /^-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n/,
  ],
  ["what formatPrivateKey writes", p384, formatPrivateKey(p384, PASSPHRASE), /^-----BEGIN ENCRYPTED /],
])("an encrypted key in %s", (_form, key, pem, beginning) => {
  test("opens with its passphrase", () => {
    expect(pem).toMatch(beginning);
    expect(parse(pem, PASSPHRASE).privateKey.equals(key)).toBe(true);
    expect(parse(pem.replaceAll("\n", "\r\n"), PASSPHRASE).privateKey.equals(key)).toBe(true);
  });

  test("is refused without a passphrase, and with another one, and neither is said", async () => {
    for (const [passphrase, problem] of [
      [undefined, LOCKED],
      ["another passphrase", NOT_OPENED],
      ["", NOT_OPENED],
    ] as const) {
      const error = await errorOf(() => parse(pem, passphrase));
      expect(error.message).toBe(`k: ${problem}`);
      for (const secret of [...secretsOf(pem, PASSPHRASE), PASSPHRASE, "another passphrase"])
        expect(everythingIn(error)).not.toContain(secret);
    }
  });

  test("that is cut is refused with the right passphrase", async () => {
    expect(await refusalOf(() => parse(pem.slice(0, -40), PASSPHRASE))).toBe(`k: ${NOT_OPENED}`);
  });
});

test("a passphrase makes no difference to a key that is not encrypted", () => {
  expect(parse(pemOf(rsa), PASSPHRASE).privateKey.equals(rsa)).toBe(true);
  expect(formatPrivateKey(rsa)).toBe(pemOf(rsa));
});

describe("what is not a private key for signing is refused, and never quoted:", () => {
  const jwk = jwkOf(ed25519);
  const json = (change: object, of: object = jwk) => JSON.stringify({ ...of, ...change });

  test.each([
    ["nothing", "", EMPTY],
    ["spaces", " \n\n", EMPTY],
    ["other words", "hello", NEITHER],
    ["binary garbage", Buffer.from([0, 255, 254, 10, 0]).toString(), NEITHER],
    ["a JSON list", `[${json({})}]`, NEITHER],
    ["PEM with another body", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", PEM],
    ["PEM that is cut", pemOf(ed25519).slice(0, 60), PEM],
    ["a public key", exportPublic(ed25519, "spki"), PUBLIC],
    ["a public key in PKCS#1", exportPublic(rsa, "pkcs1"), PUBLIC],
    ["a certificate", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", PUBLIC],
    ["a JWK that is cut", json({}).slice(0, -2), "not valid JSON; expected a private key in PEM or as a JWK"],
    ["a public JWK", json({ d: undefined }), "this is a public JWK; a private one has the member d"],
    ["an empty JWK", "{}", "this is a public JWK; a private one has the member d"],
    [
      "a symmetric JWK",
      JSON.stringify({ kty: "oct", k: "c2VjcmV0c2VjcmV0" }),
      "this is a symmetric key, which cannot be published in a JWK Set",
    ],
    [
      "a JWK Set",
      JSON.stringify({ keys: [jwk] }),
      "this is a JWK Set; expected one private JWK, without a list around it",
    ],
    ["a JWK for encryption", json({ use: "enc" }), 'this key is for encryption (its member use is "enc")'],
    [
      "a JWK that may not sign",
      json({ key_ops: ["verify"] }),
      'this key is not for signing (its member key_ops lacks "sign")',
    ],
    [
      "a JWK that may do nothing",
      json({ key_ops: [] }),
      'this key is not for signing (its member key_ops lacks "sign")',
    ],
    [
      "a JWK for another algorithm",
      json({ alg: "RSA-OAEP" }, jwkOf(rsa)),
      "its member alg is none of EdDSA, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512",
    ],
    [
      "a JWK whose alg is no string",
      json({ alg: 1 }),
      "its member alg is none of EdDSA, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512",
    ],
    ["a JWK of an unknown type", JSON.stringify({ kty: jwk.d, d: jwk.d }), JWK],
    ["a JWK that lacks a member", json({ qi: undefined }, RFC_RSA_KEY), JWK],
    ["a JWK with a number for d", json({ d: 7 }), JWK],
    ["a JWK with null for d", json({ d: null }), JWK],
  ])("%s", async (_what, text, problem) => {
    const error = await errorOf(() => parse(text));
    expect(error.message).toBe(`k: ${problem}`);
    const secrets = [...secretsOf(pemOf(ed25519)), ...secretsOf(pemOf(rsa)), RFC_RSA_KEY.d, RFC_RSA_KEY.p];
    for (const secret of [...secrets, "c2VjcmV0c2VjcmV0"]) expect(everythingIn(error)).not.toContain(secret);
  });
});

describe("a PEM that is cut at any byte is refused:", () => {
  test.each([
    ["Ed25519", pemOf(ed25519), undefined],
    ["EC in SEC 1", exported(p256, "sec1"), undefined],
    ["EC, encrypted", exported(p256, "sec1", CIPHER), PASSPHRASE],
    ["RSA", pemOf(rsa), undefined],
  ])("%s", async (_key, pem, passphrase) => {
    const problems = new Set<string>();
    // The last byte is the line end, which a key can do without.
    for (let length = 0; length < pem.length - 1; length++) {
      const error = await errorOf(() => parse(pem.slice(0, length), passphrase));
      problems.add(error.message);
    }
    const whole = passphrase === undefined ? [] : [`k: ${NOT_OPENED}`];
    expect([...problems]).toEqual([`k: ${EMPTY}`, `k: ${NEITHER}`, `k: ${PEM}`, ...whole]);
  });

  test("a JWK", async () => {
    const text = JSON.stringify(jwkOf(rsa));
    const problems = new Set<string>();
    for (let length = 1; length < text.length; length++)
      problems.add(await refusalOf(() => parse(text.slice(0, length))));
    expect([...problems]).toEqual(["k: not valid JSON; expected a private key in PEM or as a JWK"]);
  });
});

describe("a key of the wrong kind is refused:", () => {
  const open = (key: KeyObject, algorithm: SigningAlgorithm) => createSigningKey(key, algorithm, "k");

  test.each([
    ["EdDSA", rsa, "EdDSA needs an Ed25519 key, and this is an RSA key"],
    ["EdDSA", ed448, "EdDSA needs an Ed25519 key, and this is a key of the type ed448"],
    ["EdDSA", p256, "EdDSA needs an Ed25519 key, and this is an EC key on P-256"],
    ["RS256", ed25519, "RS256 needs an RSA key, and this is an Ed25519 key"],
    ["PS256", rsaPss, "PS256 needs an RSA key, and this is a key of the type rsa-pss"],
    ["PS512", p256, "PS512 needs an RSA key, and this is an EC key on P-256"],
    ["ES256", p384, "ES256 needs an EC key on P-256, and this is an EC key on P-384"],
    ["ES384", p521, "ES384 needs an EC key on P-384, and this is an EC key on P-521"],
    ["ES512", p256, "ES512 needs an EC key on P-521, and this is an EC key on P-256"],
    ["ES256", secp256k1, "ES256 needs an EC key on P-256, and this is an EC key on secp256k1"],
    [
      "RS256",
      generateKeyPairSync("rsa", { modulusLength: 2048, publicExponent: 3 }).privateKey,
      "an RSA key needs an odd public exponent of at least 65537, and this one has 3",
    ],
    ["RS256", rsa1024, "an RSA key needs at least 2048 bits, and this one has 1024"],
  ] as const)("for %s", async (algorithm, key, problem) => {
    expect(await refusalOf(open(key, algorithm))).toBe(`k: ${problem}`);
  });

  test.each([
    // Not EdDSA: Node.js 24 makes x from d, whatever x says, and 26 refuses the key.
    ["ES256", p256, privateKeyFor("ES256"), ["x", "y"]],
    ["RS256", rsa, privateKeyFor("RS256"), ["n"]],
  ] as const)("a JWK for %s whose parts belong to two keys", async (algorithm, key, other, members) => {
    const mixed = { ...jwkOf(key), ...Object.fromEntries(members.map((name) => [name, jwkOf(other)[name]])) };
    const message = await refusalOf(async () => open(parse(JSON.stringify(mixed)).privateKey, algorithm));
    // Node.js itself compares the parts of some types.
    expect([`k: ${JWK}`, "k: the private and the public part of this key do not belong together"]).toContain(
      message,
    );
  });
});

test("a PEM whose parts belong to two keys is refused", async () => {
  const sec1 = (key: KeyObject) => key.export({ type: "sec1", format: "der" });
  const POINT_BYTES = 65;
  // The public key is at the end (RFC 5915 §3).
  const mixed = Buffer.concat([
    sec1(p256).subarray(0, -POINT_BYTES),
    sec1(privateKeyFor("ES256")).subarray(-POINT_BYTES),
  ]);
  const pem = `-----BEGIN EC PRIVATE KEY-----\n${mixed.toString("base64")}\n-----END EC PRIVATE KEY-----\n`;
  expect(await refusalOf(async () => createSigningKey(parse(pem).privateKey, "ES256", "k"))).toBe(
    "k: the private and the public part of this key do not belong together",
  );
});

describe("the kid is the thumbprint of RFC 7638:", () => {
  const { use: _use, ...ec } = RFC_EC_KEY_FOR_ENCRYPTION;

  test.each([
    ["Ed25519, RFC 8037 §A.3", "EdDSA", RFC_ED25519_KEY, ["crv", "kty", "x"], RFC_ED25519_THUMBPRINT],
    ["RSA, RFC 7517 §A.2 and RFC 7638 §3.1", "RS256", RFC_RSA_KEY, ["e", "kty", "n"], RFC_RSA_THUMBPRINT],
    ["EC, RFC 7517 §A.2", "ES256", ec, ["crv", "kty", "x", "y"], RFC_EC_THUMBPRINT],
    ["EC on P-384", "ES384", jwkOf(p384), ["crv", "kty", "x", "y"], undefined],
    ["EC on P-521", "ES512", jwkOf(p521), ["crv", "kty", "x", "y"], undefined],
    ["a new RSA key", "PS384", jwkOf(rsa), ["e", "kty", "n"], undefined],
  ] as const)("%s", async (_key, algorithm, jwk: Record<string, unknown>, members, literal) => {
    // §3: the required members in the order of their names, without spaces.
    const canonical = `{${members.map((name) => `"${name}":"${jwk[name]}"`).join(",")}}`;
    const thumbprint = createHash("sha256").update(canonical).digest("base64url");
    expect(literal ?? thumbprint).toBe(thumbprint);

    const { privateKey } = parse(JSON.stringify(jwk));
    const { kid, publicJwk } = await createSigningKey(privateKey, algorithm, "k");

    expect(kid).toBe(thumbprint);
    const shown = Object.fromEntries(members.map((name) => [name, jwk[name]]));
    expect(publicJwk).toEqual({ ...shown, kid, use: "sig", alg: algorithm });
  });

  test("the EC key of RFC 7517 §A.2 as it stands is for encryption", async () => {
    expect(await refusalOf(() => parse(JSON.stringify(RFC_EC_KEY_FOR_ENCRYPTION)))).toBe(
      'k: this key is for encryption (its member use is "enc")',
    );
  });
});
