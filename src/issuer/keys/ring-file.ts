import { createHash } from "node:crypto";
import { z } from "zod";
import { SIGNING_ALGORITHMS } from "../algorithms.ts";
import { KeyError } from "./key-error.ts";
import { formatPrivateKey, parsePem } from "./private-key.ts";
import { EMPTY_RING, type Ring, type RingKey } from "./ring.ts";
import { createSigningKey, type LocalSigningKey } from "./signing-key.ts";

/** The version of the format below. */
const FORMAT = 1;

const time = z.iso.datetime({ precision: 3 }).transform((text) => Date.parse(text));

const keySchema = z.strictObject({
  kid: z.string(),
  purpose: z.enum(["token", "identity"]),
  algorithm: z.enum(SIGNING_ALGORITHMS),
  createdAt: time,
  activatesAt: time.nullable(),
  retiresAt: time.nullable(),
  longestLifetimeSeconds: z.int().positive(),
  privateKey: z.string(),
});

const ringSchema = z.strictObject({
  format: z.literal(FORMAT),
  keys: z.array(keySchema),
  withdrawn: z.array(z.string()),
  saves: z.array(z.string()),
});

/** A ring as its file has it. */
export interface FiledRing {
  readonly ring: Ring;
  /** The id of the save that wrote it, then those of the saves before. */
  readonly saves: readonly string[];
  /** Whether a private key in it is not encrypted. */
  readonly isPlain: boolean;
}

/** Writes a ring as JSON, its private keys as PKCS#8 PEM, encrypted where a passphrase is given. */
export function formatRing({ keys, withdrawn }: Ring, saves: readonly string[], passphrase?: string): string {
  const file: z.input<typeof ringSchema> = {
    format: FORMAT,
    keys: keys.map(({ key, purpose, longestLifetimeSeconds, ...times }) => ({
      kid: key.kid,
      purpose,
      algorithm: key.algorithm,
      createdAt: formatTime(times.createdAt),
      activatesAt: times.activatesAt === undefined ? null : formatTime(times.activatesAt),
      retiresAt: times.retiresAt === undefined ? null : formatTime(times.retiresAt),
      longestLifetimeSeconds,
      privateKey: formatPrivateKey(key.privateKey, passphrase),
    })),
    withdrawn: [...withdrawn],
    saves: [...saves],
  };
  return `${JSON.stringify(file, undefined, 2)}\n`;
}

function formatTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

/** What {@link parseRing} takes beside the text. */
export interface ParseRingOptions {
  readonly passphrase?: string | undefined;
  /** One that was read before: a key in it whose text is the same is not tried again, which takes a signature. */
  readonly known?: Ring;
}

/**
 * Reads what {@link formatRing} wrote.
 *
 * @param source the file's path, for messages
 * @throws {KeyError} ERR_KEY when the text is not a whole ring, or a key in it cannot be used
 */
export async function parseRing(
  text: string,
  source: string,
  { passphrase, known = EMPTY_RING }: ParseRingOptions = {},
): Promise<FiledRing> {
  const { keys, withdrawn, saves } = checkedRing(text, source);
  const before = new Map(known.keys.map(({ key }) => [key.kid, key]));
  const ringKeys = await Promise.all(
    keys.map((key) => ringKeyOf(key, source, { passphrase, known: before.get(key.kid) })),
  );
  const isPlain = keys.some(({ privateKey }) => !privateKey.includes("ENCRYPTED"));
  return { ring: { keys: ringKeys, withdrawn }, saves, isPlain };
}

function checkedRing(text: string, source: string): z.output<typeof ringSchema> {
  if (text.trim() === "") throw new KeyError(source, `empty; ${RESTORE}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own message would quote the file.
    throw new KeyError(source, `this key ring is truncated or is not JSON; ${RESTORE}`);
  }
  const format = (value as { format?: unknown } | null)?.format;
  if (typeof format === "number" && format > FORMAT)
    throw new KeyError(
      source,
      `a newer version of Countersign wrote this key ring (format ${format}, and this one reads ${FORMAT}); run that version or a later one`,
    );
  const checked = ringSchema.safeParse(value);
  if (checked.success) return checked.data;
  const place = checked.error.issues[0]?.path.join(".") || "its top";
  throw new KeyError(source, `this is not a key ring that Countersign wrote (see ${place}); ${RESTORE}`);
}

const RESTORE =
  "restore it from a backup, or move it away to begin a new ring, whose tokens verifiers refuse until they fetch the new keys";

/** Of the text that a key was read from: to write it again, to compare, takes longer. */
const digests = new WeakMap<LocalSigningKey, string>();

async function ringKeyOf(
  { kid, purpose, algorithm, privateKey: pem, longestLifetimeSeconds, ...times }: z.output<typeof keySchema>,
  source: string,
  {
    passphrase,
    known,
  }: { readonly passphrase: string | undefined; readonly known: LocalSigningKey | undefined },
): Promise<RingKey> {
  const place = `${source}, key ${kid}`;
  const digest = createHash("sha256").update(pem).digest("base64");
  const isKnown = known?.algorithm === algorithm && digests.get(known) === digest;
  const key = isKnown ? known : await createSigningKey(parsePem(pem, place, passphrase), algorithm, place);
  digests.set(key, digest);
  if (key.kid !== kid)
    throw new KeyError(place, `the private key is another one (its kid is ${key.kid}); ${RESTORE}`);
  return {
    key,
    purpose,
    createdAt: times.createdAt,
    activatesAt: times.activatesAt ?? undefined,
    retiresAt: times.retiresAt ?? undefined,
    longestLifetimeSeconds,
  };
}
