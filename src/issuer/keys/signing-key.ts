import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { calculateJwkThumbprint } from "jose";
import { misfitOf, type SigningAlgorithm } from "../algorithms.ts";
import { KeyError } from "./key-error.ts";

/** A public key as the JWK Set shows it (RFC 7517): never a private member. */
export type PublicJwk = Readonly<Record<"kty" | "kid" | "use" | "alg", string>> &
  Readonly<Record<string, string>>;

/** A private key that signs with one algorithm, and the public half that verifies. */
export type SigningKey = LocalSigningKey | RemoteSigningKey;

interface KeyFacts {
  /** RFC 7638 thumbprint (SHA-256, base64url). */
  readonly kid: string;
  readonly algorithm: SigningAlgorithm;
  readonly publicJwk: PublicJwk;
}

/** A key in the memory of this process, and the only kind that can be stored. */
export interface LocalSigningKey extends KeyFacts {
  readonly kind: "local";
  readonly privateKey: KeyObject;
}

/** A key that never comes here: somebody else signs with it. */
export interface RemoteSigningKey extends KeyFacts {
  readonly kind: "remote";
  /** What it is called where it is. */
  readonly label: string;
  /**
   * The signature of `input` as a JWS has it (RFC 7515 §5.1).
   *
   * @throws {KeyError} ERR_KEY when there is none
   */
  readonly sign: (input: Buffer) => Promise<Buffer>;
}

/**
 * Prepares a private key for signing with `algorithm`.
 *
 * @param source what the key came from, for messages
 * @throws {KeyError} ERR_KEY when the key does not fit the algorithm
 */
export async function createSigningKey(
  privateKey: KeyObject,
  algorithm: SigningAlgorithm,
  source: string,
): Promise<LocalSigningKey> {
  const misfit = misfitOf(privateKey, algorithm);
  if (misfit) throw new KeyError(source, misfit);
  const publicKey = createPublicKey(privateKey);
  if (!belongTogether(privateKey, publicKey))
    throw new KeyError(source, "the private and the public part of this key do not belong together");
  return Object.freeze({ kind: "local", ...(await keyFactsOf(publicKey, algorithm)), privateKey });
}

/** What is known of a key by its public half. */
export async function keyFactsOf(publicKey: KeyObject, algorithm: SigningAlgorithm): Promise<KeyFacts> {
  const members = publicMembersOf({ ...publicKey.export({ format: "jwk" }) });
  const kid = await calculateJwkThumbprint(members);
  return { kid, algorithm, publicJwk: Object.freeze({ ...members, kid, use: "sig", alg: algorithm }) };
}

/** A JWK carries both parts, and Node.js does not compare them for every type of key. */
function belongTogether(privateKey: KeyObject, publicKey: KeyObject): boolean {
  const digest = privateKey.asymmetricKeyType === "ed25519" ? null : "sha256";
  const probe = Buffer.from("probe");
  try {
    return verify(digest, probe, publicKey, sign(digest, probe, privateKey));
  } catch {
    return false;
  }
}

/** The members of each key type that are public (RFC 7518 §6.2.1 and §6.3.1, RFC 8037 §2). */
const PUBLIC_MEMBERS: Readonly<Record<string, readonly string[]>> = {
  OKP: ["crv", "x"],
  EC: ["crv", "x", "y"],
  RSA: ["n", "e"],
};

function publicMembersOf(jwk: Readonly<Record<string, unknown>>): { kty: string } & Record<string, string> {
  const kty = String(jwk.kty);
  const names = PUBLIC_MEMBERS[kty] ?? [];
  return { kty, ...Object.fromEntries(names.map((name) => [name, String(jwk[name])])) };
}
