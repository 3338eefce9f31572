/** What an operator does to a ring, beside a sidecar that may be running over it. */

import { KeyError } from "./key-error.ts";
import { changeRing, newKey, prepared } from "./managed-keys.ts";
import { mergedRings } from "./merged-rings.ts";
import {
  isSameLine,
  type KeyNeed,
  lineOf,
  pendingKeyOf,
  type Ring,
  type RingKey,
  signingKeyOf,
  stateOf,
  withEmergencyKey,
  withFirstKey,
  withPendingRetired,
  withRetired,
  withSuccessor,
  withWithdrawn,
} from "./ring.ts";
import type { LocalSigningKey } from "./signing-key.ts";
import type { KeyStore } from "./store.ts";

/** A ring before and after what was done to it. */
export interface RingChange {
  readonly before: Ring;
  readonly after: Ring;
}

async function change(store: KeyStore, apply: (ring: Ring) => Ring | Promise<Ring>): Promise<RingChange> {
  let before: Ring | undefined;
  const { ring } = await changeRing(store, (stored) => {
    before = stored;
    return apply(stored);
  });
  return { before: before ?? ring, after: ring };
}

/**
 * Makes the keys that are lacking. They sign at once.
 *
 * @throws {KeyError} ERR_KEY when the ring cannot be read or written
 */
export function generateKeys(store: KeyStore, needs: readonly KeyNeed[], now: number): Promise<RingChange> {
  return change(store, (ring) => prepared(ring, needs, now));
}

/**
 * Gives each need's key a successor, which signs after it has been published for long enough; where there is no key,
 * one that signs at once.
 *
 * @throws {KeyError} ERR_KEY when a successor is waiting already, or the ring cannot be read or written
 */
export function rotateKeys(store: KeyStore, needs: readonly KeyNeed[], now: number): Promise<RingChange> {
  return change(store, async (ring) => {
    let next = ring;
    for (const need of needs) next = withNext(store, next, need, await newKey(need.algorithm), now);
    return next;
  });
}

/**
 * Puts a key that was made elsewhere into the ring: as the successor of the one that signs, or where there is none to
 * sign at once.
 *
 * @throws {KeyError} ERR_KEY when the key is in the ring or was withdrawn, a successor is waiting already, or the ring
 * cannot be read or written
 */
export function importKey(
  store: KeyStore,
  need: KeyNeed,
  key: LocalSigningKey,
  now: number,
): Promise<RingChange> {
  return change(store, (ring) => {
    if (ring.keys.some((entry) => entry.key.kid === key.kid))
      throw new KeyError(store.name, `key ${key.kid} is in this ring already`);
    if (ring.withdrawn.includes(key.kid))
      throw new KeyError(
        store.name,
        `key ${key.kid} was withdrawn from this ring: others may know it. Use a new one`,
      );
    return withNext(store, ring, need, key, now);
  });
}

/**
 * Puts every key of another ring into this one, with its times; again, where that one has been changed since.
 *
 * @throws {KeyError} ERR_KEY when this ring has keys and none of those, or cannot be read or written
 */
export function importRing(store: KeyStore, imported: Ring): Promise<RingChange> {
  return change(store, (ring) => {
    const isKnown = ({ key }: RingKey) => imported.keys.some((entry) => entry.key.kid === key.kid);
    if (ring.keys.length > 0 && !ring.keys.some(isKnown))
      throw new KeyError(
        store.name,
        "this ring has keys of its own, and none of those; import into an empty one, before the first sidecar starts",
      );
    return mergedRings(imported, ring);
  });
}

function withNext(store: KeyStore, ring: Ring, need: KeyNeed, key: LocalSigningKey, now: number): Ring {
  if (!signingKeyOf(ring, need, now)) return withFirstKey(ring, need, key, now);
  const pending = pendingKeyOf(ring, need, now);
  if (!pending) return withSuccessor(ring, need, key, now);
  throw new KeyError(
    store.name,
    `a rotation of ${need.algorithm} is under way: key ${pending.key.kid} is going to sign. Wait for it, or take it out: countersign keys retire ${pending.key.kid}`,
  );
}

/**
 * Replaces every key of each need by a new one, at once, and withdraws the old ones.
 *
 * @throws {KeyError} ERR_KEY when the ring cannot be read or written
 */
export function replaceKeys(store: KeyStore, needs: readonly KeyNeed[], now: number): Promise<RingChange> {
  return change(store, async (ring) => {
    let next = ring;
    for (const need of needs) next = withEmergencyKey(next, need, await newKey(need.algorithm), now);
    return next;
  });
}

/** What {@link retireKey} needs beside the ring. */
export interface RetireOptions {
  /** The kid, or as much of its beginning as no other has. */
  readonly kid: string;
  /** The keys that the configuration signs with: they are replaced, not retired. */
  readonly needs: readonly KeyNeed[];
  readonly now: number;
  /** Whether a key that is published for the tokens it has signed goes at once. */
  readonly atOnce: boolean;
}

/**
 * Takes one key out of use: a pending one does not sign, one that signs for nothing that is configured retires, and one
 * that retires goes at once where that is wanted.
 *
 * @throws {KeyError} ERR_KEY when there is no such key, it is needed, or the ring cannot be read or written
 */
export function retireKey(store: KeyStore, options: RetireOptions): Promise<RingChange> {
  return change(store, (ring) => retired(store.name, ring, entryOf(store.name, ring, options.kid), options));
}

function retired(name: string, ring: Ring, entry: RingKey, { needs, now, atOnce }: RetireOptions): Ring {
  const { kid } = entry.key;
  const state = stateOf(ring, entry, now);
  if (state === "pending") {
    const without = withPendingRetired(ring, entry, now);
    const retiring = without.keys.find((other) => other.key.kid === kid);
    return atOnce && retiring ? withWithdrawn(without, [retiring]) : without;
  }
  if (state === "active") {
    if (needs.some((need) => isSameLine(need, lineOf(entry))))
      throw new KeyError(
        name,
        `key ${kid} signs; replace it: countersign keys rotate (or, where others know it: keys rotate --emergency)`,
      );
    return atOnce ? withWithdrawn(ring, [entry]) : withRetired(ring, entry, now);
  }
  if (atOnce) return withWithdrawn(ring, [entry]);
  throw new KeyError(
    name,
    `key ${kid} retires already, and is published until its longest token has ended; --now takes it out at once, and such tokens are refused`,
  );
}

function entryOf(name: string, ring: Ring, kid: string): RingKey {
  const found = ring.keys.filter((entry) => entry.key.kid.startsWith(kid));
  if (found.length === 1 && found[0]) return found[0];
  throw new KeyError(
    name,
    found.length === 0
      ? `there is no key ${kid}; countersign keys list shows which there are`
      : `${found.length} keys begin with ${kid}; give more of the kid`,
  );
}
