import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";

/** The hash of a password, taken apart. */
export type PasswordHash = ScryptHash | BcryptHash;

interface ScryptHash {
  readonly kind: "scrypt";
  readonly cost: ScryptCost;
  readonly salt: Buffer;
  readonly digest: Buffer;
}

/** The parameters of scrypt (RFC 7914 §2): it needs 128 · 2^ln · r bytes, and time in proportion to 2^ln · r · p. */
interface ScryptCost {
  readonly ln: number;
  readonly r: number;
  readonly p: number;
}

interface BcryptHash {
  readonly kind: "bcrypt";
  /** `$2a$…` or `$2b$…` */
  readonly text: string;
}

/** What {@link readPasswordHash} answers: the hash, or what was expected instead. */
export type PasswordHashReading = { readonly value: PasswordHash } | { readonly expected: string };

// Of the costs that OWASP's Password Storage Cheat Sheet calls equal, one that needs little memory: 16 MiB. A sidecar
// has not much of it.
const COST: ScryptCost = { ln: 14, r: 8, p: 5 };
const SALT_BYTES = 16;
const DIGEST_BYTES = 32;

/** The longest password that bcrypt looks at to its end. */
const BCRYPT_MAX_BYTES = 72;

// 8 MiB is the least that OWASP names. The most is what one hash, which may come from elsewhere, can take from requests.
const MIN_MEMORY_BYTES = 8 * 1024 * 1024;
const MAX_MEMORY_BYTES = 128 * 1024 * 1024;
const MAX_WORK = 2 ** 22;
/** Each step doubles the time: 15 is a few seconds. */
const MAX_BCRYPT_COST = 15;

const REMEDY = "countersign password hash makes one";
const SCRYPT = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,4}),p=(\d{1,4})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;
const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/;

/**
 * Hashes a password with scrypt and a new salt.
 *
 * @returns a PHC string: `$scrypt$ln=14,r=8,p=5$<salt>$<hash>`, both in base64 without padding
 * @see https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md
 */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const digest = await scryptOf(password, salt, DIGEST_BYTES, COST);
  return `$scrypt$ln=${COST.ln},r=${COST.r},p=${COST.p}$${unpadded(salt)}$${unpadded(digest)}`;
}

/**
 * Whether a password is the one that was hashed. The work is done in Node.js's thread pool.
 *
 * @throws {Error} when there is no memory for it
 */
export async function verifyPassword(hash: PasswordHash, password: string): Promise<boolean> {
  if (hash.kind === "scrypt")
    return timingSafeEqual(await scryptOf(password, hash.salt, hash.digest.length, hash.cost), hash.digest);
  // Native: it is loaded where there is such a hash.
  const { default: bcrypt } = await import("bcrypt");
  const isRight = await bcrypt.compare(password, hash.text);
  // bcrypt ignores what comes after, so another password would do. Asked last, as a refusal must not be faster.
  return isRight && Buffer.byteLength(password) <= BCRYPT_MAX_BYTES;
}

/** Makes a hash that no password has, and that costs as much to verify as `hash`. */
export function decoyLike(hash: PasswordHash): PasswordHash {
  if (hash.kind === "scrypt")
    return { ...hash, salt: randomBytes(hash.salt.length), digest: randomBytes(hash.digest.length) };
  const saltAndDigest = randomBytes(40).toString("base64").replaceAll("+", ".").slice(0, 53);
  return { kind: "bcrypt", text: `${hash.text.slice(0, "$2b$12$".length)}${saltAndDigest}` };
}

/** Reads a scrypt hash as {@link hashPassword} makes it, or a bcrypt hash. What is expected never repeats the text. */
export function readPasswordHash(text: string): PasswordHashReading {
  if (text.startsWith("$scrypt$")) return readScrypt(text);
  if (/^\$2[abxy]?\$/.test(text)) return readBcrypt(text);
  if (/^\$[a-z0-9-]+\$|^\{[A-Z0-9]+\}/i.test(text))
    return { expected: `expected a hash of scrypt or bcrypt, and this is another kind; ${REMEDY}` };
  return { expected: `expected a hash, not the password itself; ${REMEDY}` };
}

function readScrypt(text: string): PasswordHashReading {
  const [, ln, r, p, saltText = "", digestText = ""] = SCRYPT.exec(text) ?? [];
  const salt = Buffer.from(saltText, "base64");
  const digest = Buffer.from(digestText, "base64");
  if (unpadded(salt) !== saltText || unpadded(digest) !== digestText || salt.length < 8 || digest.length < 16)
    return {
      expected: `expected a whole scrypt hash such as "$scrypt$ln=14,r=8,p=5$<salt>$<hash>", base64 without padding; ${REMEDY}`,
    };
  const cost: ScryptCost = { ln: Number(ln), r: Number(r), p: Number(p) };
  const memory = memoryOf(cost);
  if (memory < MIN_MEMORY_BYTES || cost.p < 1)
    return {
      expected: `expected a scrypt hash that is harder to guess: at least ln=13,r=8,p=1; ${REMEDY}`,
    };
  if (memory > MAX_MEMORY_BYTES || 2 ** cost.ln * cost.r * cost.p > MAX_WORK || digest.length > 64)
    return {
      expected: `expected a scrypt hash that costs less to check: at most 128 MiB (ln=17,r=8) and ln=17,r=8,p=4; ${REMEDY}`,
    };
  return { value: { kind: "scrypt", cost, salt, digest } };
}

function readBcrypt(text: string): PasswordHashReading {
  const [, cost] = BCRYPT.exec(text) ?? [];
  if (cost === undefined || Number(cost) < 4)
    return { expected: "expected a whole bcrypt hash: $2b$, $2a$ or $2y$, the cost, and 53 characters" };
  if (Number(cost) > MAX_BCRYPT_COST)
    return { expected: `expected a bcrypt hash that costs less to check: at most ${MAX_BCRYPT_COST}` };
  // What htpasswd and PHP call 2y is what others call 2b; the library knows the latter.
  return { value: { kind: "bcrypt", text: text.replace(/^\$2y/, "$2b") } };
}

const scryptAsync = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt);

function scryptOf(password: string, salt: Buffer, bytes: number, cost: ScryptCost): Promise<Buffer> {
  const { ln, r, p } = cost;
  // A little more than the blocks alone is needed.
  return scryptAsync(password, salt, bytes, {
    N: 2 ** ln,
    r,
    p,
    maxmem: memoryOf(cost) + 1024 * r * p + 65_536,
  });
}

function memoryOf({ ln, r }: ScryptCost): number {
  return 128 * 2 ** ln * r;
}

function unpadded(bytes: Buffer): string {
  return bytes.toString("base64").replace(/=+$/, "");
}
