import { isDeepStrictEqual } from "node:util";
import { createDirectoryStore } from "./directory-store.ts";
import {
  type Environment,
  type ExternalKeySource,
  openExternalKeys,
  readExternalKeys,
} from "./external-keys.ts";
import type { AdaptableKeys, KeyDemands, KeyEvent, KeySet, ListedLabels } from "./key-set.ts";
import { openManagedKeys } from "./managed-keys.ts";
import { openTokenKeys, readTokenKeys, type TokenSource } from "./pkcs11/token-keys.ts";
import type { RedisOptions } from "./redis/redis-options.ts";
import type { KeyNeed, Rotation } from "./ring.ts";
import { keysAt } from "./ring-view.ts";
import { createMemoryStore, type KeyStore, type StoredRing } from "./store.ts";

/** Where an issuer's keys come from. */
export type KeySource =
  | {
      /** A directory that Countersign manages: it makes the keys and rotates them. */
      readonly kind: "directory";
      readonly directory: string;
      readonly rotation: Rotation;
      /** Encrypts the keys in the directory. */
      readonly passphrase: string | undefined;
    }
  | {
      /** Redis, for replicas on many machines, which share the ring. */
      readonly kind: "redis";
      readonly redis: RedisOptions;
      readonly rotation: Rotation;
    }
  | ExternalKeySource
  | (TokenSource & {
      /** On a PKCS#11 token: they never leave it, and somebody else says which are used. */
      readonly kind: "pkcs11";
      readonly listed: ListedLabels;
    })
  | {
      /** In memory: made at every start, never rotated. */
      readonly kind: "ephemeral";
    };

/** What opening keys needs beside their source. */
export interface OpenKeysOptions {
  /** The keys that must be there, in the order in which they are published. */
  readonly needs: readonly KeyNeed[];
  /** Where variables are looked up. */
  readonly env: Environment;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly onEvent: (event: KeyEvent) => void;
  /** Ends the wait for a store that cannot be reached. */
  readonly signal?: AbortSignal | undefined;
  /** Whether such a store is waited for, and not refused. Default: true */
  readonly waits?: boolean | undefined;
}

/** Nothing rotates what lives as long as the process. */
const NEVER: Rotation = { everySeconds: undefined, overlapSeconds: 0 };

/**
 * Opens the keys of `source`; where Countersign manages them it makes those that are lacking. Waits for a store that
 * cannot be reached.
 *
 * @throws {KeyError} ERR_KEY when a key is missing, unsafe, or fits no algorithm
 * @throws {DOMException} AbortError when the wait is ended
 */
export async function openKeys(source: KeySource, options: OpenKeysOptions): Promise<AdaptableKeys> {
  if (source.kind === "files" || source.kind === "env") return openExternalKeys({ source, ...options });
  if (source.kind === "pkcs11") return openTokenKeys({ source, listed: source.listed, ...options });
  const store = await storeOf(source, options.now);
  try {
    return await openManagedKeys({ store, rotation: rotationOf(source), ...options });
  } catch (error) {
    await store.close?.();
    throw error;
  }
}

/** What a source asks of keys that are open. */
export function demandsOf(source: KeySource, needs: readonly KeyNeed[]): KeyDemands {
  return {
    needs,
    rotation: rotationOf(source),
    ...(source.kind === "pkcs11" && { listed: source.listed }),
  };
}

/** How the keys of a source are rotated. */
export function rotationOf(source: KeySource): Rotation {
  return source.kind === "directory" || source.kind === "redis" ? source.rotation : NEVER;
}

/** Whether keys come from the same place, however they are rotated there. */
export function isSameSource(a: KeySource, b: KeySource): boolean {
  return isDeepStrictEqual(withoutRotation(a), withoutRotation(b));
}

function withoutRotation(source: KeySource): object {
  if (source.kind === "directory" || source.kind === "redis") return { ...source, rotation: NEVER };
  // Which keys of a token are used, and in which order, is how they are rotated.
  return source.kind === "pkcs11" ? { ...source, listed: undefined } : source;
}

/** A source whose ring Countersign manages. */
export type ManagedKeySource = Extract<KeySource, { kind: "directory" | "redis" | "ephemeral" }>;

/**
 * The store of a ring that Countersign manages.
 *
 * @param now milliseconds since the epoch
 */
export async function storeOf(source: ManagedKeySource, now: () => number): Promise<KeyStore> {
  if (source.kind === "directory") return createDirectoryStore(source.directory, source.passphrase);
  if (source.kind === "ephemeral") return createMemoryStore();
  // Its client takes longer to load than most programs run.
  const { createRedisStore } = await import("./redis/redis-store.ts");
  return createRedisStore(source.redis, now);
}

/**
 * Reads the ring of `source` as it is now.
 *
 * @param now milliseconds since the epoch
 * @throws {KeyError} ERR_KEY when it cannot be read or used
 */
export async function readRing(source: ManagedKeySource, now: () => number): Promise<StoredRing> {
  const store = await storeOf(source, now);
  try {
    return await store.load();
  } finally {
    await store.close?.();
  }
}

/** Keys as they are at one moment. They sign until they are let go. */
export interface BorrowedKeys extends AsyncDisposable {
  readonly set: KeySet;
}

/** Keys in memory are let go by forgetting them. */
export const NOTHING_BORROWED: AsyncDisposable = { async [Symbol.asyncDispose]() {} };

/**
 * Reads the keys of `source` that exist now, and makes none.
 *
 * @throws {KeyError} ERR_KEY as {@link openKeys} would
 */
export async function readKeys(
  source: KeySource,
  { needs, env, now }: Pick<OpenKeysOptions, "needs" | "env" | "now">,
): Promise<BorrowedKeys> {
  if (source.kind === "pkcs11") return readTokenKeys({ source, listed: source.listed, needs });
  if (source.kind === "files" || source.kind === "env")
    return { set: (await readExternalKeys({ source, needs, env })).set, ...NOTHING_BORROWED };
  const { ring, clock } = await readRing(source, now);
  return { set: keysAt(ring, needs, now() + (clock?.ahead ?? 0)), ...NOTHING_BORROWED };
}
