import { createPrivateKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import type { JWK } from "jose";
import { requirementOf, SIGNING_ALGORITHMS, type SigningAlgorithm } from "../algorithms.ts";
import { KeyError } from "./key-error.ts";

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

/** A private key as a text held it. */
export interface ParsedPrivateKey {
  readonly privateKey: KeyObject;
  /** What a JWK said that it is for (RFC 7517 §4.4); a PEM says nothing. */
  readonly algorithm: SigningAlgorithm | undefined;
}

/**
 * Reads a private key in PEM (PKCS#8, SEC 1 or PKCS#1, encrypted or not) or as a JWK.
 *
 * @param source what the text came from, for messages
 * @param passphrase opens an encrypted PEM
 * @throws {KeyError} ERR_KEY when the text holds no private key that can be read
 */
export function parsePrivateKey(text: string, source: string, passphrase?: string): ParsedPrivateKey {
  const content = text.trim();
  if (content === "") throw new KeyError(source, "empty; expected a private key in PEM or as a JWK");
  if (content.startsWith("{")) return parseJwk(content, source);
  return { privateKey: parsePem(content, source, passphrase), algorithm: undefined };
}

/**
 * Reads a private key in PEM.
 *
 * @throws {KeyError} ERR_KEY as {@link parsePrivateKey}
 */
export function parsePem(content: string, source: string, passphrase?: string): KeyObject {
  if (/-----BEGIN (?:CERTIFICATE|(?:[A-Z]+ )?PUBLIC KEY)/.test(content) && !/PRIVATE KEY-----/.test(content))
    throw new KeyError(source, "this is no private key, and a certificate or public key cannot sign");
  if (!content.includes("-----BEGIN"))
    throw new KeyError(source, "this is neither PEM nor a JWK; expected a private key in one of them");
  // PKCS#8 says so in its label, the older forms in a header (RFC 1421 §4.6.1.1).
  const isEncrypted = /-----BEGIN (?:ENCRYPTED|[A-Z]+ PRIVATE KEY-----\s+Proc-Type)/.test(content);
  if (isEncrypted && passphrase === undefined)
    throw new KeyError(source, "this key is encrypted, and no passphrase is given for it");
  try {
    return createPrivateKey({ key: content, ...(isEncrypted && { passphrase }) });
  } catch (cause) {
    const problem = isEncrypted
      ? "the passphrase does not open this key, or the PEM is truncated"
      : "cannot be read as a private key in PEM; it may be truncated";
    throw new KeyError(source, problem, { cause });
  }
}

function parseJwk(content: string, source: string): ParsedPrivateKey {
  let jwk: JWK;
  try {
    jwk = JSON.parse(content) as JWK;
  } catch {
    // The parser's own message would quote the key.
    throw new KeyError(source, "not valid JSON; expected a private key in PEM or as a JWK");
  }
  if ("keys" in jwk)
    throw new KeyError(source, "this is a JWK Set; expected one private JWK, without a list around it");
  if (jwk.kty === "oct")
    throw new KeyError(source, "this is a symmetric key, which cannot be published in a JWK Set");
  if (jwk.d === undefined) throw new KeyError(source, "this is a public JWK; a private one has the member d");
  if (jwk.use === "enc") throw new KeyError(source, 'this key is for encryption (its member use is "enc")');
  if (Array.isArray(jwk.key_ops) && !jwk.key_ops.includes("sign"))
    throw new KeyError(source, 'this key is not for signing (its member key_ops lacks "sign")');
  return { privateKey: privateKeyOf(jwk, source), algorithm: algorithmOf(jwk, source) };
}

function privateKeyOf(jwk: JWK, source: string): KeyObject {
  try {
    return createPrivateKey({ key: jwk, format: "jwk" });
  } catch {
    // The cause's message can quote a member.
    throw new KeyError(source, "cannot be read as a private JWK; a member is missing or wrong");
  }
}

function algorithmOf({ alg }: JWK, source: string): SigningAlgorithm | undefined {
  if (alg === undefined) return undefined;
  // The fully specified name of the same algorithm (RFC 9864 §2.2).
  if (alg === "Ed25519") return "EdDSA";
  const known = SIGNING_ALGORITHMS.find((algorithm) => algorithm === alg);
  if (known) return known;
  throw new KeyError(source, `its member alg is none of ${SIGNING_ALGORITHMS.join(", ")}`);
}

/** Writes a private key as PKCS#8 PEM, encrypted where a passphrase is given (PBES2, AES-256; RFC 8018 §6.2). */
export function formatPrivateKey(key: KeyObject, passphrase?: string): string {
  const encryption = passphrase === undefined ? {} : { cipher: "aes-256-cbc", passphrase };
  return key.export({ type: "pkcs8", format: "pem", ...encryption }) as string;
}
