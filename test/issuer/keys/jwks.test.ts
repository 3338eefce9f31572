import { constants, createPublicKey, verify } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createLocalJWKSet, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from "jose";
import { describe, expect, test } from "vitest";
import { createIssuer, type Issuer } from "../../../src/index.ts";
import { SIGNING_ALGORITHMS, type SigningAlgorithm } from "../../../src/issuer/algorithms.ts";
import { createDirectoryStore } from "../../../src/issuer/keys/directory-store.ts";
import { retiringSecondsOf } from "../../../src/issuer/keys/ring.ts";
import { createSigningKey } from "../../../src/issuer/keys/signing-key.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { DAY, HOUR, jwkOf, NOW, pemOf, privateKeyFor, publicMembersFor, ringKey } from "./key-material.ts";

const LIFETIME_SECONDS = 300;
const PRIVATE_KEYS = Object.fromEntries(
  SIGNING_ALGORITHMS.map((algorithm) => [algorithm, privateKeyFor(algorithm)]),
) as Record<SigningAlgorithm, ReturnType<typeof privateKeyFor>>;
// Making RSA keys takes time, and one does for all its algorithms.
const RSA_KEYS = [privateKeyFor("RS256"), privateKeyFor("RS256")];

/** Two more keys for an algorithm. */
function otherKeysFor(algorithm: SigningAlgorithm) {
  return /^[RP]S/.test(algorithm) ? RSA_KEYS : [privateKeyFor(algorithm), privateKeyFor(algorithm)];
}

/** An issuer in a process whose clock stands at `clock.now`. */
function open(options: Omit<Parameters<typeof createIssuer>[0], "url">, clock = { now: NOW }) {
  return createIssuer({
    url: "https://issuer.example",
    expiresIn: LIFETIME_SECONDS,
    now: () => clock.now,
    ...options,
  });
}

const sign = (issuer: Issuer, algorithm?: SigningAlgorithm) => issuer.signJwt({ subject: "me", algorithm });

/** The JWK Set as it leaves the process. */
const jwksOf = (issuer: Issuer) => JSON.parse(JSON.stringify(issuer.jwks())) as JSONWebKeySet;

/** Asserts that a token verifies, with the key of this kid, and has a header of these three members. */
async function expectVerified(token: string, jwks: JSONWebKeySet, alg: string, kid: string, now = NOW) {
  const { protectedHeader, payload } = await jwtVerify(token, createLocalJWKSet(jwks), {
    algorithms: [alg],
    currentDate: new Date(now),
  });
  expect(protectedHeader).toEqual({ alg, kid, typ: "JWT" });
  expect(payload).toMatchObject({ iss: "https://issuer.example", sub: "me" });
}

/** Asserts that every key of the set shows what it may, and nothing else. */
function expectPublicMembersAlone(jwks: JSONWebKeySet, algorithm: SigningAlgorithm) {
  expect(Object.keys(jwks)).toEqual(["keys"]);
  for (const key of jwks.keys) {
    expect(Object.keys(key)).toEqual(publicMembersFor(algorithm));
    expect(key).toMatchObject({ use: "sig", alg: algorithm });
  }
}

describe.each(SIGNING_ALGORITHMS)("%s", (algorithm) => {
  const privateKey = PRIVATE_KEYS[algorithm];
  const jwk = JSON.stringify({ ...jwkOf(privateKey), kid: "mine", use: "sig", key_ops: ["sign"], x5c: [] });

  async function inFile(folder: string, text: string) {
    const file = join(folder, "the.key");
    writeFileSync(file, text, { mode: 0o600 });
    return open({ algorithm, keys: { files: [file] } });
  }

  test.each([
    ["a file in PEM", (folder: string) => inFile(folder, pemOf(privateKey))],
    ["a file with a JWK", (folder: string) => inFile(folder, jwk)],
    ["a variable in PEM", () => open({ algorithm, keys: { env: "KEY" }, env: { KEY: pemOf(privateKey) } })],
    ["a variable with a JWK", () => open({ algorithm, keys: { env: "KEY" }, env: { KEY: jwk } })],
  ])("a key from %s signs, verifies, and shows its public members alone", async (_source, openIt) => {
    using folder = temporaryFolder();
    const issuer = await openIt(folder.path);
    const { kid } = await createSigningKey(privateKey, algorithm, "a test");

    const jwks = jwksOf(issuer);
    expectPublicMembersAlone(jwks, algorithm);
    expect(jwks.keys.map((key) => key.kid)).toEqual([kid]);
    await expectVerified(await sign(issuer), jwks, algorithm, kid);
    expect(issuer.metadata().id_token_signing_alg_values_supported).toEqual([algorithm]);
    await issuer.close();
  });

  test("the keys of a directory show their public members alone, whether pending, active or retiring", async () => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "keys");
    const keys = await Promise.all(
      [privateKey, ...otherKeysFor(algorithm)].map((key) => createSigningKey(key, algorithm, "a test")),
    );
    const [old, middle, young] = keys.map(({ kid }) => kid) as [string, string, string];
    const starts = [NOW - 30 * DAY, NOW, NOW + HOUR];
    const entries = keys.map((key, index) =>
      ringKey(key, { activatesAt: starts[index], retiresAt: starts[index + 1] }),
    );
    await createDirectoryStore(directory).save({ keys: entries, withdrawn: [] }, 0);
    const clock = { now: NOW - 1 };
    const issuer = await open({ algorithm, keys: { directory, rotateEvery: "never" } }, clock);
    const tokens: { kid: string; token: string; signedAt: number }[] = [];

    const goneAfter = retiringSecondsOf(LIFETIME_SECONDS) * 1000;
    for (const [now, active, published] of [
      [NOW - 1, old, [old, middle, young]],
      [NOW, middle, [middle, old, young]],
      [NOW + HOUR - 1, middle, [middle, old, young]],
      [NOW + HOUR, young, [young, old, middle]],
      [NOW + goneAfter, young, [young, middle]],
      [NOW + HOUR + goneAfter, young, [young]],
    ] as const) {
      clock.now = now;
      const jwks = jwksOf(issuer);
      expectPublicMembersAlone(jwks, algorithm);
      expect(jwks.keys.map(({ kid }) => kid)).toEqual(published);
      tokens.push({ kid: active, token: await sign(issuer), signedAt: now });
      // Whatever has not ended yet verifies, with the set of this moment.
      for (const { kid, token, signedAt } of tokens)
        if (now < signedAt + LIFETIME_SECONDS * 1000) await expectVerified(token, jwks, algorithm, kid, now);
      expect(issuer.metadata().id_token_signing_alg_values_supported).toEqual([algorithm]);
    }
    await issuer.close();
  });
});

test("keys that live as long as the process sign for every algorithm, verify, and show their public members alone", async () => {
  const issuer = await open({ algorithms: [...SIGNING_ALGORITHMS], keys: { ephemeral: true } });
  const jwks = jwksOf(issuer);

  expect(jwks.keys.map(({ alg }) => alg)).toEqual(SIGNING_ALGORITHMS);
  for (const [index, algorithm] of SIGNING_ALGORITHMS.entries()) {
    const key = jwks.keys[index] as JSONWebKeySet["keys"][number];
    expectPublicMembersAlone({ keys: [key] }, algorithm);
    await expectVerified(await sign(issuer, algorithm), jwks, algorithm, String(key.kid));
    if (key.kty === "RSA") expect(Buffer.from(String(key.n), "base64url")).toHaveLength(3072 / 8);
  }
  expect(issuer.metadata().id_token_signing_alg_values_supported).toEqual(SIGNING_ALGORITHMS);
  await issuer.close();
});

test("a directory gets the keys that another algorithm needs, and the one of the issuer comes first", async () => {
  using folder = temporaryFolder();
  const keys = { directory: join(folder.path, "keys") };
  const first = await open({ algorithm: "ES256", keys });
  await first.close();
  const issuer = await open({ algorithm: "EdDSA", algorithms: ["ES384"], keys });

  const jwks = jwksOf(issuer);
  expect(jwks.keys.map(({ alg }) => alg)).toEqual(["EdDSA", "ES384", "ES256"]);
  expect(decodeProtectedHeader(await sign(issuer))).toMatchObject({ alg: "EdDSA", kid: jwks.keys[0]?.kid });
  expect(issuer.metadata().id_token_signing_alg_values_supported).toEqual(["EdDSA", "ES384", "ES256"]);
  await expectVerified(await sign(issuer, "ES256"), jwks, "ES256", String(jwks.keys[2]?.kid));
  await issuer.close();
});

test("an algorithm is in the metadata for as long as one of its keys is published", async () => {
  using folder = temporaryFolder();
  const directory = join(folder.path, "keys");
  const [old, own] = await Promise.all(
    (["ES256", "EdDSA"] as const).map((algorithm) =>
      createSigningKey(PRIVATE_KEYS[algorithm], algorithm, "a test"),
    ),
  );
  if (!old || !own) throw new Error("two keys were made");
  const entries = [ringKey(old, { retiresAt: NOW + HOUR }), ringKey(own)];
  await createDirectoryStore(directory).save({ keys: entries, withdrawn: [] }, 0);
  const clock = { now: NOW };
  const issuer = await open({ keys: { directory } }, clock);
  const algorithms = () => issuer.metadata().id_token_signing_alg_values_supported;

  const goneAt = NOW + HOUR + retiringSecondsOf(LIFETIME_SECONDS) * 1000;
  expect(algorithms()).toEqual(["EdDSA", "ES256"]);
  clock.now = goneAt - 1;
  expect(algorithms()).toEqual(["EdDSA", "ES256"]);
  clock.now = goneAt;
  expect(algorithms()).toEqual(["EdDSA"]);
  await expect(sign(issuer, "ES256")).rejects.toMatchObject({
    code: "ERR_KEY",
    message: "the issuer: there is no key that signs with ES256",
  });
  await issuer.close();
});

describe("the signature has the form of RFC 7518:", () => {
  test.each([
    ["ES256", 64],
    ["ES384", 96],
    ["ES512", 132],
  ] as const)("%s is two numbers side by side, of %i bytes", async (algorithm, length) => {
    const issuer = await open({ algorithm, keys: { ephemeral: true } });
    // DER has the same length now and then.
    for (let times = 0; times < 8; times++) {
      const [, , signature = ""] = (await sign(issuer)).split(".");
      expect(Buffer.from(signature, "base64url")).toHaveLength(length);
    }
    await issuer.close();
  });

  test.each([
    ["PS256", 32],
    ["PS384", 48],
    ["PS512", 64],
  ] as const)("%s has a salt of %i bytes", async (algorithm, saltLength) => {
    const privateKey = PRIVATE_KEYS[algorithm];
    const issuer = await open({ algorithm, keys: { env: "KEY" }, env: { KEY: pemOf(privateKey) } });
    const [header, payload, signature = ""] = (await sign(issuer)).split(".");
    const isValidWith = (length: number) =>
      verify(
        `sha${algorithm.slice(2)}`,
        Buffer.from(`${header}.${payload}`),
        { key: createPublicKey(privateKey), padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: length },
        Buffer.from(signature, "base64url"),
      );
    expect(isValidWith(saltLength)).toBe(true);
    expect(isValidWith(saltLength - 1)).toBe(false);
    await issuer.close();
  });
});
