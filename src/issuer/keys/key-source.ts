import { isDeepStrictEqual } from "node:util";
import { createDirectoryStore } from "./directory-store.ts";
import {
  type Environment,
  type ExternalKeySource,
  openExternalKeys,
  readExternalKeys,
} from "./external-keys.ts";
import type { AdaptableKeys, KeyEvent, KeySet } from "./key-set.ts";
import { keysAt, openManagedKeys } from "./managed-keys.ts";
import type { KeyNeed, Rotation } from "./ring.ts";
import { createMemoryStore, type KeyStore } from "./store.ts";

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
  | ExternalKeySource
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
}

/** Nothing rotates what lives as long as the process. */
const NEVER: Rotation = { everySeconds: undefined, overlapSeconds: 0 };

/**
 * Opens the keys of `source`; a directory and memory make the keys that they lack.
 *
 * @throws {KeyError} ERR_KEY when a key is missing, unsafe, or fits no algorithm
 */
export async function openKeys(source: KeySource, options: OpenKeysOptions): Promise<AdaptableKeys> {
  if (source.kind === "files" || source.kind === "env") return openExternalKeys({ source, ...options });
  return openManagedKeys({ store: storeOf(source), rotation: rotationOf(source), ...options });
}

/** How the keys of a source are rotated. */
export function rotationOf(source: KeySource): Rotation {
  return source.kind === "directory" ? source.rotation : NEVER;
}

/** Whether keys come from the same place, however they are rotated. */
export function isSameSource(a: KeySource, b: KeySource): boolean {
  return isDeepStrictEqual(withoutRotation(a), withoutRotation(b));
}

function withoutRotation(source: KeySource): KeySource {
  return source.kind === "directory" ? { ...source, rotation: NEVER } : source;
}

/** The store of a ring that Countersign manages. */
export function storeOf(source: Extract<KeySource, { kind: "directory" | "ephemeral" }>): KeyStore {
  return source.kind === "directory"
    ? createDirectoryStore(source.directory, source.passphrase)
    : createMemoryStore();
}

/**
 * Reads the keys of `source` that exist now, and makes none.
 *
 * @throws {KeyError} ERR_KEY as {@link openKeys} would
 */
export async function readKeys(
  source: KeySource,
  { needs, env, now }: Omit<OpenKeysOptions, "onEvent">,
): Promise<KeySet> {
  if (source.kind === "files" || source.kind === "env")
    return (await readExternalKeys({ source, needs, env })).set;
  return keysAt((await storeOf(source).load()).ring, needs, now());
}
