import type { KeyObject } from "node:crypto";

/**
 * The signing algorithms that an issuer may use (RFC 7518 §3.1, RFC 8037 §3.1). All are asymmetric: a shared
 * HS256 secret could not be published in a JWK Set.
 */
export const SIGNING_ALGORITHMS = [
  "EdDSA",
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
] as const;

/** A JWS `alg` value that an issuer may sign with. */
export type SigningAlgorithm = (typeof SIGNING_ALGORITHMS)[number];

/** What a key must be for an algorithm: its type, and for elliptic curves the curve by OpenSSL's name. */
type KeyRequirement =
  | { readonly type: "ed25519" }
  | { readonly type: "rsa" }
  | { readonly type: "ec"; readonly curve: string; readonly curveName: "P-256" | "P-384" | "P-521" };

/** RFC 7518 §3.3 and §3.5: at least 2048 bits. */
const MIN_RSA_BITS = 2048;
/** One signature with a larger key takes tens of milliseconds. */
const MAX_RSA_BITS = 8192;
/** NIST SP 800-56B §6.2: with a smaller one, and with 1 for everybody, signatures can be forged. */
const MIN_RSA_EXPONENT = 65_537n;

const CURVES = {
  ES256: { type: "ec", curve: "prime256v1", curveName: "P-256" },
  ES384: { type: "ec", curve: "secp384r1", curveName: "P-384" },
  ES512: { type: "ec", curve: "secp521r1", curveName: "P-521" },
} as const;

/** The kind of key that `algorithm` signs with. */
export function requirementOf(algorithm: SigningAlgorithm): KeyRequirement {
  if (algorithm === "EdDSA") return { type: "ed25519" };
  if (algorithm === "ES256" || algorithm === "ES384" || algorithm === "ES512") return CURVES[algorithm];
  return { type: "rsa" };
}

/** Why `key` cannot sign with `algorithm`, as the end of a sentence; `undefined` where it can. */
export function misfitOf(key: KeyObject, algorithm: SigningAlgorithm): string | undefined {
  const required = requirementOf(algorithm);
  const { namedCurve } = key.asymmetricKeyDetails ?? {};
  const fits =
    key.asymmetricKeyType === required.type && (required.type !== "ec" || namedCurve === required.curve);
  if (!fits) return `${algorithm} needs ${describe(required)}, and this is ${describeKey(key)}`;
  return required.type === "rsa" ? rsaProblemOf(key) : undefined;
}

function rsaProblemOf({ asymmetricKeyDetails }: KeyObject): string | undefined {
  const { modulusLength = 0, publicExponent = 0n } = asymmetricKeyDetails ?? {};
  if (modulusLength < MIN_RSA_BITS)
    return `an RSA key needs at least ${MIN_RSA_BITS} bits, and this one has ${modulusLength}`;
  if (modulusLength > MAX_RSA_BITS)
    return `an RSA key of more than ${MAX_RSA_BITS} bits is too slow, and this one has ${modulusLength}`;
  if (publicExponent < MIN_RSA_EXPONENT || publicExponent % 2n === 0n)
    return `an RSA key needs an odd public exponent of at least ${MIN_RSA_EXPONENT}, and this one has ${publicExponent}`;
  return undefined;
}

function describe(required: KeyRequirement): string {
  if (required.type === "ed25519") return "an Ed25519 key";
  return required.type === "rsa" ? "an RSA key" : `an EC key on ${required.curveName}`;
}

function describeKey({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  if (asymmetricKeyType === "rsa") return "an RSA key";
  if (asymmetricKeyType === "ed25519") return "an Ed25519 key";
  if (asymmetricKeyType !== "ec") return `a key of the type ${asymmetricKeyType}`;
  const curve = asymmetricKeyDetails?.namedCurve;
  const name = Object.values(CURVES).find((known) => known.curve === curve)?.curveName ?? curve;
  return `an EC key on ${name}`;
}
