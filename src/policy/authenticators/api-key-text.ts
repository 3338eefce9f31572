import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** 43 characters out of 62: 256 bits. */
const SECRET_LENGTH = 43;
/** CRC-32 has at most six digits to the base of 62. */
const CHECKSUM_LENGTH = 6;
const SHAPE = new RegExp(
  `^(?<body>[A-Za-z][A-Za-z0-9]{0,15}_[0-9A-Za-z]{${SECRET_LENGTH}})(?<checksum>[0-9A-Za-z]{${CHECKSUM_LENGTH}})$`,
);

/** The prefix of keys that name no other: what a scanner for leaked secrets can look for. */
export const DEFAULT_PREFIX = "csk";

/** A prefix that an API key may have. */
export const PREFIX_SHAPE = /^[A-Za-z][A-Za-z0-9]{0,15}$/;

/**
 * Makes an API key: `<prefix>_<secret><checksum>`, with 256 bits of randomness and a CRC-32 of all before it, by which a
 * mistyped key, or a text that only looks like one, is told without a look at the keys.
 */
export function createApiKey(prefix: string): string {
  const body = `${prefix}_${randomDigits(SECRET_LENGTH)}`;
  return `${body}${checksumOf(body)}`;
}

/** Whether a text looks like a key of {@link createApiKey} and cannot be one. */
export function isMistyped(text: string): boolean {
  const { body = "", checksum } = SHAPE.exec(text)?.groups ?? {};
  return checksum !== undefined && checksumOf(body) !== checksum;
}

function checksumOf(body: string): string {
  let rest = crc32(body);
  let digits = "";
  for (let i = 0; i < CHECKSUM_LENGTH; i++) {
    digits = `${ALPHABET[rest % 62]}${digits}`;
    rest = Math.floor(rest / 62);
  }
  return digits;
}

/** Each digit is equally likely: of the values of a byte, those are left out that would favour the first digits. */
function randomDigits(count: number): string {
  let digits = "";
  while (digits.length < count)
    for (const byte of randomBytes(count))
      if (byte < 248 && digits.length < count) digits += ALPHABET[byte % 62];
  return digits;
}
