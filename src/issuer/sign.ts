import { constants, type KeyObject, type SignPrivateKeyInput, sign as signBytes, verify } from "node:crypto";
import { promisify } from "node:util";
import type { SigningAlgorithm } from "./algorithms.ts";
import type { TokenType } from "./claims-set.ts";
import type { SigningKey } from "./keys/signing-key.ts";
import { inSigningThread } from "./signing-threads.ts";

/** The arguments of `crypto.sign` for an algorithm, and whether it may hold up the event loop. */
interface Method {
  readonly digest: string | null;
  readonly options: Omit<SignPrivateKeyInput, "key">;
  /** A signature that costs less than handing it to another thread. */
  readonly isFast: boolean;
}

// JWS has the two numbers of an ECDSA signature side by side (RFC 7518 §3.4), OpenSSL by default in DER.
const ECDSA = { dsaEncoding: "ieee-p1363" } as const;
// RFC 7518 §3.5: the salt is as long as the digest.
const PSS = {
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
} as const;

const METHODS: Readonly<Record<SigningAlgorithm, Method>> = {
  EdDSA: { digest: null, options: {}, isFast: true },
  ES256: { digest: "sha256", options: ECDSA, isFast: true },
  ES384: { digest: "sha384", options: ECDSA, isFast: false },
  ES512: { digest: "sha512", options: ECDSA, isFast: false },
  RS256: { digest: "sha256", options: {}, isFast: false },
  RS384: { digest: "sha384", options: {}, isFast: false },
  RS512: { digest: "sha512", options: {}, isFast: false },
  PS256: { digest: "sha256", options: PSS, isFast: false },
  PS384: { digest: "sha384", options: PSS, isFast: false },
  PS512: { digest: "sha512", options: PSS, isFast: false },
};

/** Whether `signature`, as a JWS has it, is that of `input` with this algorithm. */
export function verifySignature(
  algorithm: SigningAlgorithm,
  input: Buffer,
  publicKey: KeyObject,
  signature: Buffer,
): boolean {
  const { digest, options } = METHODS[algorithm];
  return verify(digest, input, { key: publicKey, ...options }, signature);
}

/**
 * Signs a claims set (JWS Compact Serialization, RFC 7515 §3.1): at once where that is cheap, else in a thread of the
 * pool, or wherever the key is.
 *
 * @param claims the claims set in JSON
 */
export function signJws(key: SigningKey, claims: string, type: TokenType = "JWT"): string | Promise<string> {
  const input = `${headerOf(key, type)}.${Buffer.from(claims).toString("base64url")}`;
  const bytes = Buffer.from(input);
  const compact = (signature: Buffer) => `${input}.${signature.toString("base64url")}`;
  if (key.kind === "remote") return key.sign(bytes).then(compact);
  const { digest, options, isFast } = METHODS[key.algorithm];
  const signer = { key: key.privateKey, ...options };
  if (isFast) return compact(signBytes(digest, bytes, signer));
  return inSigningThread(() => signBeside(digest, bytes, signer)).then(compact);
}

const signBeside = promisify(signBytes);

const headersByType = { JWT: new WeakMap<SigningKey, string>(), "at+jwt": new WeakMap<SigningKey, string>() };

/** The protected header of what `key` signs, encoded. */
function headerOf(key: SigningKey, type: TokenType): string {
  const headers = headersByType[type];
  let header = headers.get(key);
  if (header === undefined) {
    const members = { alg: key.algorithm, kid: key.kid, typ: type };
    header = Buffer.from(JSON.stringify(members)).toString("base64url");
    headers.set(key, header);
  }
  return header;
}
