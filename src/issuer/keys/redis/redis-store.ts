import { randomBytes } from "node:crypto";
import { z } from "zod";
import { KeyError } from "../key-error.ts";
import { MOUNTED_FILE, readKeyFile } from "../key-file.ts";
import { mergedRings } from "../merged-rings.ts";
import { EMPTY_RING, type Ring } from "../ring.ts";
import { formatRing, parseRing } from "../ring-file.ts";
import type { ClockReading, KeyStore, StoredRing } from "../store.ts";
import { ENCRYPTION_KEYS_EXPECTED, type EncryptionKeys, parseEncryptionKeys } from "./encryption-keys.ts";
import { createRedisConnection } from "./redis-connection.ts";
import type { RedisOptions } from "./redis-options.ts";
import { decryptText, encryptText, isEncryptedWithFirst } from "./ring-encryption.ts";

/**
 * What is stored, and what time it was there then. Nothing has the name '': it is deleted so that a server says whether it
 * could be written to. One that follows another, or has lost those that follow it, may not know what is stored elsewhere.
 * One whose disk is full knows it.
 */
const LOAD_SCRIPT = `
local written = redis.pcall('HDEL', KEYS[1], '')
if type(written) == 'table' and written.err and not string.find(written.err, 'MISCONF') then return written end
return {redis.call('TIME'), redis.call('HMGET', KEYS[1], 'save', 'version', 'ring')}`;

/** Compare and set: the ring is replaced where it is still the one of the save ARGV[1], and whoever listens is told. */
const SAVE_SCRIPT = `
if (redis.call('HGET', KEYS[1], 'save') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'save', ARGV[2], 'version', ARGV[3], 'ring', ARGV[4])
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 1`;

const answerSchema = z.tuple([
  z.tuple([z.coerce.number(), z.coerce.number()]),
  z.union([
    z.tuple([z.null(), z.null(), z.null()]),
    z.tuple([z.string(), z.coerce.number().int().positive(), z.string()]),
  ]),
]);

/** A ring that is or was stored, and the save that put it there. */
interface SavedRing {
  /** Its own name; "" where nothing is stored. */
  readonly save: string;
  readonly version: number;
  readonly ring: Ring;
  /** The saves that led to it, the last one first. */
  readonly saves: readonly string[];
  /** As it is stored; "" where nothing is. */
  readonly encrypted: string;
  readonly isOutdated: boolean;
}

const NOTHING: SavedRing = {
  ...{ save: "", version: 0, ring: EMPTY_RING },
  ...{ saves: [], encrypted: "", isOutdated: false },
};

/** So many saves in a row are recognised as descendants of the one before: months of rotations. Twice as many are stored, for two that are put together. */
const MAX_SAVES_REMEMBERED = 64;
/** Each means that another replica has succeeded. */
const MAX_CONFLICTS = 20;

/**
 * Keeps a ring in Redis, encrypted, for replicas on many machines. Each version is put in the place of the one that it was
 * made from, or not at all. Where Redis has lost versions, by a restart or a failover, what this process knows is put
 * back.
 *
 * @param now milliseconds since the epoch
 */
export function createRedisStore(options: RedisOptions, now: () => number): KeyStore {
  const connection = createRedisConnection(options);
  const { name } = connection;
  const key = `${options.prefix}ring`;
  /** The newest ring that this process has read or saved. */
  let last = NOTHING;
  /** The encryption key that this process has seen the ring encrypted with, as its own configuration wants it. */
  let settledOn: string | undefined;

  /** Once for each key: others that have the keys in another order meanwhile would undo it, and this one again. */
  function isToBeEncryptedAnew(encrypted: string, keys: EncryptionKeys): boolean {
    if (isEncryptedWithFirst(encrypted, keys)) settledOn = keys[0].id;
    return settledOn !== keys[0].id;
  }

  async function read(): Promise<SavedRing & { readonly clock: ClockReading }> {
    // First, so that what is wrong with a file is told wherever that is found out, with Redis or without.
    const keys = await encryptionKeysOf(options);
    const askedAt = now();
    const answer = answerSchema.safeParse(await connection.evaluate(LOAD_SCRIPT, [key], []));
    const answeredAt = now();
    if (!answer.success) throw new KeyError(name, `${key} is not a key ring; use another prefix`);
    const [time, stored] = answer.data;
    const clock = clockReadingOf(time, askedAt, answeredAt);
    return { ...(stored[0] === null ? NOTHING : await open(stored, keys)), clock };
  }

  async function open(
    [save, version, encrypted]: readonly [string, number, string],
    keys: EncryptionKeys,
  ): Promise<SavedRing> {
    // Opening it costs more than comparing, and nearly always it is the same.
    if (save === last.save && encrypted === last.encrypted)
      return { ...last, isOutdated: isToBeEncryptedAnew(encrypted, keys) };
    const source = `${name}, ${key}`;
    const opened = await decryptText(encrypted, keys, source);
    const { ring, saves } = await parseRing(opened.text, source, { known: last.ring });
    // What stands beside the ring is not protected by its encryption: neither an old one nor that of another issuer must pass for it.
    if (opened.name !== key || saves[0] !== save || opened.version !== version)
      throw new KeyError(
        source,
        "the key ring is not the one that its name and version are of; restore it from a backup",
      );
    const isOutdated = isToBeEncryptedAnew(encrypted, keys);
    return { save, version, ring, saves, encrypted, isOutdated };
  }

  /** @param ancestors the saves that `ring` was made from, the last ones first */
  async function put(
    ring: Ring,
    before: SavedRing,
    version: number,
    ancestors: readonly string[],
  ): Promise<number | undefined> {
    const save = randomBytes(9).toString("base64url");
    const saves = [save, ...ancestors].slice(0, 2 * MAX_SAVES_REMEMBERED);
    const text = formatRing(ring, saves);
    const keys = await encryptionKeysOf(options);
    const encrypted = await encryptText({ text, name: key, version }, keys);
    const values = [before.save, save, String(version), encrypted];
    const isPut = (await connection.evaluate(SAVE_SCRIPT, [key], values)) === 1;
    if (!isPut) return undefined;
    last = { save, version, ring, saves, encrypted, isOutdated: false };
    settledOn = keys[0].id;
    return version;
  }

  /** What is stored, with what this process knows put back where Redis has lost it. */
  async function load(): Promise<StoredRing> {
    for (let conflicts = 0; conflicts < MAX_CONFLICTS; conflicts++) {
      const { clock, ...stored } = await read();
      if (!hasLost(stored, last)) {
        last = stored;
        return storedRingOf(stored, clock);
      }
      const version = Math.max(stored.version, last.version) + 1;
      const { ring, saves } = restored(stored, last);
      if ((await put(ring, stored, version, saves)) !== undefined) return storedRingOf(last, clock);
    }
    throw new KeyError(name, "other processes change the key ring all the time; find out which");
  }

  return {
    name,
    load,
    async save(ring, version) {
      if (version !== last.version) return undefined;
      return put(ring, last, version + 1, last.saves);
    },
    watch: (changed) => connection.subscribe(key, changed),
    close: () => connection.close(),
  };
}

function storedRingOf({ ring, version, isOutdated }: SavedRing, clock: ClockReading): StoredRing {
  return { ring, version, clock, ...(isOutdated && { isOutdated }) };
}

/** What is to be stored in the place of `stored`, and the saves that it was made from. */
function restored(stored: SavedRing, known: SavedRing): Pick<SavedRing, "ring" | "saves"> {
  // Of an older version everything is known, and what is not in the newer one was taken out of it.
  if (known.saves.includes(stored.save)) return known;
  // It was made from both, so that whoever knows either of them sees that nothing is lost.
  const saves = Array.from({ length: MAX_SAVES_REMEMBERED }, (_, index) => [
    known.saves[index],
    stored.saves[index],
  ]).flat();
  return {
    ring: mergedRings(known.ring, stored.ring),
    saves: [...new Set(saves.filter((save) => save !== undefined))],
  };
}

/** Whether `stored` was not made from `known`, although so few saves lie between that it would say so. */
function hasLost(stored: SavedRing, known: SavedRing): boolean {
  if (known.save === "" || stored.saves.includes(known.save)) return false;
  return stored.version - known.version < MAX_SAVES_REMEMBERED;
}

/**
 * How far the store's clock is ahead. What is known of the moment when it said so is that it lay between question and
 * answer.
 *
 * @param time seconds and microseconds (TIME)
 */
function clockReadingOf(
  [seconds, microseconds]: readonly [number, number],
  askedAt: number,
  answeredAt: number,
): ClockReading {
  const time = seconds * 1000 + microseconds / 1000;
  return { ahead: time - (askedAt + answeredAt) / 2, uncertainty: Math.abs(answeredAt - askedAt) / 2 };
}

/** Read anew each time: whoever replaces the file need not tell anybody. */
async function encryptionKeysOf({ encryption }: RedisOptions): Promise<EncryptionKeys> {
  const isFile = "file" in encryption;
  const keys = parseEncryptionKeys(
    isFile ? await readKeyFile(encryption.file, MOUNTED_FILE) : encryption.text,
  );
  if (keys) return keys;
  throw new KeyError(isFile ? encryption.file : "encryptionKey", ENCRYPTION_KEYS_EXPECTED);
}
