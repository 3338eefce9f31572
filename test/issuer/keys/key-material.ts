import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { inspect } from "node:util";
import { expect } from "vitest";
import { KeyError } from "../../../src/index.ts";
import type { SigningAlgorithm } from "../../../src/issuer/algorithms.ts";
import type { KeyNeed, Ring, RingKey } from "../../../src/issuer/keys/ring.ts";
import { createSigningKey, type LocalSigningKey } from "../../../src/issuer/keys/signing-key.ts";

/** A moment for clocks that stand still. */
export const NOW = Date.parse("2030-01-01T00:00:00.000Z");
export const MINUTE = 60_000;
export const HOUR = 3_600_000;
export const DAY = 86_400_000;

/** A new private key that fits the algorithm; RSA with the fewest bits there may be, which are made fast. */
export function privateKeyFor(algorithm: SigningAlgorithm): KeyObject {
  if (algorithm === "EdDSA") return generateKeyPairSync("ed25519").privateKey;
  const namedCurve = { ES256: "P-256", ES384: "P-384", ES512: "P-521" }[algorithm as string];
  if (namedCurve) return generateKeyPairSync("ec", { namedCurve }).privateKey;
  return generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
}

/** The PKCS#8 PEM of a key, without encryption. */
export function pemOf(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }) as string;
}

/** The private JWK of a key, without kid, use and alg. */
export function jwkOf(key: KeyObject): Record<string, unknown> {
  return { ...key.export({ format: "jwk" }) };
}

/** A new key that signs. */
export function signingKey(algorithm: SigningAlgorithm = "EdDSA"): Promise<LocalSigningKey> {
  return createSigningKey(privateKeyFor(algorithm), algorithm, "a test");
}

/** A need for tokens of five minutes. */
export function needFor(algorithm: SigningAlgorithm = "EdDSA", change: Partial<KeyNeed> = {}): KeyNeed {
  return { purpose: "token", algorithm, longestLifetimeSeconds: 300, ...change };
}

/** A key of a ring; without `change` it has signed since {@link NOW}. */
export function ringKey(key: LocalSigningKey, change: Partial<RingKey> = {}): RingKey {
  return {
    key,
    purpose: "token",
    createdAt: NOW,
    activatesAt: NOW,
    retiresAt: undefined,
    longestLifetimeSeconds: 300,
    ...change,
  };
}

/** A ring of one new key that signs. */
export async function ringOfOne(algorithm: SigningAlgorithm = "EdDSA"): Promise<Ring> {
  return { keys: [ringKey(await signingKey(algorithm))], withdrawn: [] };
}

/** The kids of a ring, in its order. */
export function kidsOf(ring: Ring): string[] {
  return ring.keys.map(({ key }) => key.kid);
}

/** What the JWK Set may show of a key, in its order. */
export function publicMembersFor(algorithm: SigningAlgorithm): readonly string[] {
  if (algorithm === "EdDSA") return ["kty", "crv", "x", "kid", "use", "alg"];
  if (algorithm.startsWith("ES")) return ["kty", "crv", "x", "y", "kid", "use", "alg"];
  return ["kty", "n", "e", "kid", "use", "alg"];
}

/** The error that this ends in. */
export async function errorOf(action: (() => unknown) | PromiseLike<unknown>): Promise<KeyError> {
  try {
    await (typeof action === "function" ? action() : action);
  } catch (error) {
    expect(error).toBeInstanceOf(KeyError);
    expect(error).toMatchObject({ code: "ERR_KEY", name: "KeyError" });
    return error as KeyError;
  }
  throw new Error("expected a KeyError, and nothing went wrong");
}

/** What a {@link KeyError} says. */
export async function refusalOf(action: (() => unknown) | PromiseLike<unknown>): Promise<string> {
  return (await errorOf(action)).message;
}

/** Everything that a log could show of an error: its causes and hidden members too. */
export function everythingIn(error: unknown): string {
  return inspect(error, { depth: 20, showHidden: true, maxStringLength: null, maxArrayLength: null });
}

/** Pieces of each line of a PEM, and of the private numbers of the key: what no message may hold. */
export function secretsOf(pem: string, passphrase?: string): string[] {
  const { d, p, q } = jwkOf(createPrivateKey({ key: pem, ...(passphrase !== undefined && { passphrase }) }));
  const lines = pem.split("\n").filter((line) => /^[\w+/=]{16,}$/.test(line));
  return [...lines, d, p, q].flatMap((text) => String(text ?? "").match(/.{12}/g) ?? []);
}
