import { CompactEncrypt, compactDecrypt, decodeProtectedHeader } from "jose";
import { KeyError } from "../key-error.ts";
import type { EncryptionKeys } from "./encryption-keys.ts";

const ALGORITHMS = { alg: "dir", enc: "A256GCM" } as const;
const TYPE = "countersign-ring";

/** A text, what it is of, and which version of it this is: an old one, or one of another issuer, cannot pass for it. */
export interface VersionedText {
  readonly text: string;
  readonly name: string;
  readonly version: number;
}

/** Encrypts with AES-256-GCM (JWE Compact Serialization, RFC 7516 §3.1; direct encryption, RFC 7518 §4.5). */
export function encryptText(
  { text, name, version }: VersionedText,
  [{ id, bytes }]: EncryptionKeys,
): Promise<string> {
  return new CompactEncrypt(Buffer.from(text))
    .setProtectedHeader({ ...ALGORITHMS, kid: id, typ: TYPE, name, version })
    .encrypt(bytes);
}

/** Whether a text was encrypted with the first of the keys. */
export function isEncryptedWithFirst(encrypted: string, [first]: EncryptionKeys): boolean {
  return keyIdIn(encrypted) === first.id;
}

/**
 * Opens what {@link encryptText} made.
 *
 * @param source where it was, for messages
 * @throws {KeyError} ERR_KEY when none of the keys is the one that it was encrypted with, or it was changed since
 */
export async function decryptText(
  encrypted: string,
  keys: EncryptionKeys,
  source: string,
): Promise<VersionedText> {
  const id = keyIdIn(encrypted);
  if (id === undefined)
    throw new KeyError(source, `this is not a key ring that Countersign wrote; ${REMEDY}`);
  const key = keys.find((candidate) => candidate.id === id);
  if (!key)
    throw new KeyError(
      source,
      "the key ring is encrypted with another key than encryptionKey says; give that one too, behind the first",
    );
  try {
    const { plaintext, protectedHeader } = await compactDecrypt(encrypted, key.bytes, {
      keyManagementAlgorithms: [ALGORITHMS.alg],
      contentEncryptionAlgorithms: [ALGORITHMS.enc],
    });
    const { name, version } = protectedHeader;
    return { text: Buffer.from(plaintext).toString(), name: String(name), version: Number(version) };
  } catch (cause) {
    const problem = `the key ring was changed by somebody else than Countersign; ${REMEDY}`;
    throw new KeyError(source, problem, { cause });
  }
}

const REMEDY = "restore it from a backup, or use another prefix to begin a new ring";

function keyIdIn(encrypted: string): string | undefined {
  try {
    const { typ, kid } = decodeProtectedHeader(encrypted);
    return typ === TYPE ? kid : undefined;
  } catch {
    return undefined;
  }
}
