import { createHash } from "node:crypto";

/** A key of AES-256, and the name by which a text says that it was encrypted with it. */
export interface EncryptionKey {
  readonly id: string;
  /** 32 bytes. */
  readonly bytes: Uint8Array;
}

/** Keys of which the first encrypts, and every one decrypts. */
export type EncryptionKeys = readonly [EncryptionKey, ...EncryptionKey[]];

/** What an encryption key looks like, for messages. */
export const ENCRYPTION_KEYS_EXPECTED =
  "expected 32 bytes in base64, such as `openssl rand -base64 32` prints, or in hex; of several, with spaces or lines between, the first encrypts";

const KEY_BYTES = 32;

/** Reads keys in base64, base64url or hex, with spaces, commas or line ends between; `undefined` where there is none or one is wrong. */
export function parseEncryptionKeys(text: string): EncryptionKeys | undefined {
  const parts = text.split(/[\s,]+/).filter((part) => part !== "");
  const [first, ...others] = parts.map(keyBytesOf).map((bytes) => bytes && { id: idOf(bytes), bytes });
  return first && others.every((key) => key !== undefined) ? [first, ...others] : undefined;
}

function keyBytesOf(text: string): Uint8Array | undefined {
  if (/^[\da-f]{64}$/i.test(text)) return Buffer.from(text, "hex");
  if (!/^[\w+/-]+={0,2}$/.test(text)) return undefined;
  const bytes = Buffer.from(text, "base64url");
  return bytes.length === KEY_BYTES ? bytes : undefined;
}

/** It tells keys apart, and says nothing of them. */
function idOf(bytes: Uint8Array): string {
  return createHash("sha256").update("countersign ring key").update(bytes).digest("base64url").slice(0, 16);
}
