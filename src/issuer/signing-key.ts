import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { promisify } from "node:util";
import { calculateJwkThumbprint, type JWK } from "jose";
import { CountersignError } from "../errors.ts";
import { misfitOf, requirementOf, type SigningAlgorithm } from "./algorithms.ts";

/** A public key as the JWK Set shows it (RFC 7517): never a private member. */
export type PublicJwk = Readonly<Record<"kty" | "kid" | "use" | "alg", string>> &
  Readonly<Record<string, string>>;

/** A private key that signs with one algorithm, and the public half that verifies. */
export interface SigningKey {
  /** RFC 7638 thumbprint (SHA-256, base64url). */
  readonly kid: string;
  readonly algorithm: SigningAlgorithm;
  readonly privateKey: KeyObject;
  readonly publicJwk: PublicJwk;
}

/** The keys to publish; the first one signs. */
export type SigningKeys = readonly [SigningKey, ...SigningKey[]];

/** A key that is missing, unreadable, unsafe, or of the wrong kind. The message names where it came from, never the key. */
export class KeyError extends CountersignError {
  /** @param source what the key came from: a file's path or a variable's name */
  constructor(source: string, problem: string, options?: ErrorOptions) {
    super("ERR_KEY", `${source}: ${problem}`, options);
  }
}

/** Larger than the minimum of RFC 7518: NIST SP 800-57 puts 2048 bits at an end in 2030. */
const GENERATED_RSA_BITS = 3072;

const generate = promisify(generateKeyPair);

/** Makes a new private key of the kind that `algorithm` needs. */
export async function generatePrivateKey(algorithm: SigningAlgorithm): Promise<KeyObject> {
  const required = requirementOf(algorithm);
  if (required.type === "rsa")
    return (await generate("rsa", { modulusLength: GENERATED_RSA_BITS })).privateKey;
  if (required.type === "ec") return (await generate("ec", { namedCurve: required.curve })).privateKey;
  return (await generate("ed25519")).privateKey;
}

/**
 * Reads a private key in PEM (PKCS#8, SEC 1 or PKCS#1) or as a JWK.
 *
 * @param source what the text came from, for messages
 * @throws {KeyError} ERR_KEY when the text holds no private key that can be read
 */
export function parsePrivateKey(text: string, source: string): KeyObject {
  const content = text.trim();
  if (content === "") throw new KeyError(source, "empty; expected a private key in PEM or as a JWK");
  if (content.startsWith("{")) return parseJwk(content, source);
  if (/^-----BEGIN (?:ENCRYPTED|[A-Z]+ PRIVATE KEY-----\s+Proc-Type)/.test(content))
    throw new KeyError(source, "this key is encrypted, which is not supported yet; decrypt it first");
  if (/^-----BEGIN (?:CERTIFICATE|(?:RSA )?PUBLIC KEY)/.test(content))
    throw new KeyError(source, "this is no private key, and a certificate or public key cannot sign");
  if (!content.includes("-----BEGIN"))
    throw new KeyError(source, "this is neither PEM nor a JWK; expected a private key in one of them");
  try {
    return createPrivateKey(content);
  } catch (cause) {
    throw new KeyError(source, "cannot be read as a private key in PEM; it may be truncated", { cause });
  }
}

function parseJwk(content: string, source: string): KeyObject {
  let jwk: JWK;
  try {
    jwk = JSON.parse(content) as JWK;
  } catch {
    // The parser's own message would quote the key.
    throw new KeyError(source, "not valid JSON; expected a private key in PEM or as a JWK");
  }
  if (jwk.kty === "oct")
    throw new KeyError(source, "this is a symmetric key, which cannot be published in a JWK Set");
  if (jwk.d === undefined) throw new KeyError(source, "this is a public JWK; a private one has the member d");
  try {
    return createPrivateKey({ key: jwk, format: "jwk" });
  } catch {
    // The cause's message can quote a member.
    throw new KeyError(source, "cannot be read as a private JWK; a member is missing or wrong");
  }
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
): Promise<SigningKey> {
  const misfit = misfitOf(privateKey, algorithm);
  if (misfit) throw new KeyError(source, misfit);
  const publicKey = createPublicKey(privateKey);
  if (!belongTogether(privateKey, publicKey))
    throw new KeyError(source, "the private and the public part of this key do not belong together");
  const members = publicMembersOf({ ...publicKey.export({ format: "jwk" }) });
  const kid = await calculateJwkThumbprint(members);
  const publicJwk = Object.freeze({ ...members, kid, use: "sig", alg: algorithm });
  return Object.freeze({ kid, algorithm, privateKey, publicJwk });
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
