import { createPublicKey, type KeyObject, type webcrypto } from "node:crypto";
import { misfitOf, type SigningAlgorithm } from "../../issuer/algorithms.ts";

/** A public key of an issuer, and what it may verify. */
export interface VerificationKey {
  readonly kid: string | undefined;
  /** Those of the accepted algorithms that its kind, and its own `alg`, allow; at least one. */
  readonly algorithms: readonly SigningAlgorithm[];
  readonly key: KeyObject;
}

/** The keys of an issuer at a moment. Another object is another moment. */
export type VerificationKeySet = readonly VerificationKey[];

/**
 * Reads a JWK Set (RFC 7517 §5). Keys that cannot verify with one of `algorithms` are left out: those of another kind or
 * for another use, weak ones, and every one that holds a secret.
 *
 * @throws {Error} when the text is no JWK Set
 */
export function parseJwkSet(text: string, algorithms: readonly SigningAlgorithm[]): VerificationKeySet {
  const set = jsonObjectOf(text);
  if (!Array.isArray(set?.keys)) throw new Error("it is not a JWK Set: a JSON object with a list of keys");
  if (set.keys.length > MAX_KEYS) throw new Error(`it has more than ${MAX_KEYS} keys`);
  return set.keys.flatMap((jwk: unknown) => verificationKeyOf(jwk, algorithms) ?? []);
}

/** A token without a `kid` is tried with every key that its algorithm fits. */
const MAX_KEYS = 200;

/** The keys that may have made a signature. Without a `kid`, that is each one that the algorithm fits. */
export function candidatesFor(
  keySet: VerificationKeySet,
  algorithm: SigningAlgorithm,
  kid: string | undefined,
): VerificationKeySet {
  return keySet.filter((key) => key.algorithms.includes(algorithm) && (kid === undefined || kid === key.kid));
}

/** The JSON object in a text; `undefined` where there is something else. */
export function jsonObjectOf(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function verificationKeyOf(
  jwk: unknown,
  algorithms: readonly SigningAlgorithm[],
): VerificationKey | undefined {
  if (!isObject(jwk) || !isForVerifying(jwk)) return undefined;
  const key = publicKeyOf(jwk);
  const fitting = algorithms.filter(
    (algorithm) => (jwk.alg === undefined || jwk.alg === algorithm) && key && !misfitOf(key, algorithm),
  );
  if (!key || fitting.length === 0) return undefined;
  return { kid: typeof jwk.kid === "string" ? jwk.kid : undefined, algorithms: fitting, key };
}

/** `use` and `key_ops` are optional (RFC 7517 §4.2 and §4.3); where they stand, they count. */
function isForVerifying({ use, key_ops: operations }: Readonly<Record<string, unknown>>): boolean {
  if (use !== undefined && use !== "sig") return false;
  return operations === undefined || (Array.isArray(operations) && operations.includes("verify"));
}

/** Of the members of a JWK, only those of a public key count (RFC 7518 §6): no certificate is looked at. */
function publicKeyOf(jwk: Readonly<Record<string, unknown>>): KeyObject | undefined {
  const { kty, crv, x, y, n, e } = jwk;
  // Whoever has read a JWK Set with a private key can sign with it: such a key proves nothing.
  if (kty === "oct" || SECRET_MEMBERS.some((member) => Object.hasOwn(jwk, member))) return undefined;
  try {
    return createPublicKey({ key: { kty, crv, x, y, n, e } as webcrypto.JsonWebKey, format: "jwk" });
  } catch {
    return undefined;
  }
}

/** RFC 7518 §6.2.2, §6.3.2 and §6.4.1. */
const SECRET_MEMBERS = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
