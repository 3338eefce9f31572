import type { Config } from "../config/config.ts";
import { keyNeedsOf } from "../config/key-needs.ts";
import { readExternalKeys } from "../issuer/keys/external-keys.ts";
import { type BorrowedKeys, NOTHING_BORROWED, readRing, rotationOf } from "../issuer/keys/key-source.ts";
import { readTokenKeys } from "../issuer/keys/pkcs11/token-keys.ts";
import type { Ring } from "../issuer/keys/ring.ts";
import { keysAt } from "../issuer/keys/ring-view.ts";
import type { ClockReading } from "../issuer/keys/store.ts";
import { describeExternalKeys, describeRing, type KeyRow } from "./key-table.ts";
import { managedSourceOf } from "./managed-ring.ts";

/** The keys of a configuration at one moment. They sign until they are let go. */
export interface LiveKeys extends BorrowedKeys {
  /** What is known of each. */
  readonly rows: readonly KeyRow[];
  /** `undefined`: somebody else manages them. */
  readonly ring: Ring | undefined;
  /** That of a store that has one. */
  readonly clock?: ClockReading | undefined;
}

/**
 * Reads the keys where the configuration says that they are. Nothing is made.
 *
 * @param now milliseconds since the epoch
 * @throws {KeyError} ERR_KEY when they cannot be read, or are in the memory of a sidecar
 */
export async function readLiveKeys(config: Config, now: number): Promise<LiveKeys> {
  const source = config.issuer.keys;
  const needs = keyNeedsOf(config);
  if (source.kind === "files" || source.kind === "env") {
    const { keys, set } = await readExternalKeys({ source, needs, env: process.env });
    return { set, rows: describeExternalKeys(keys, needs), ring: undefined, ...NOTHING_BORROWED };
  }
  if (source.kind === "pkcs11") {
    const read = await readTokenKeys({ source, listed: source.listed, needs });
    return { ...read, rows: describeExternalKeys(read.keys, needs), ring: undefined };
  }
  const managed = managedSourceOf(source);
  const { ring, clock } = await readRing(managed, () => now);
  const time = now + (clock?.ahead ?? 0);
  const rows = describeRing(ring, needs, rotationOf(managed), time);
  return { set: keysAt(ring, needs, time), rows, ring, clock, ...NOTHING_BORROWED };
}
