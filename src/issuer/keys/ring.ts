/**
 * The key ring: which key is published when, and which signs. Every function here is pure; what a key is at a moment
 * follows from the ring and the clock alone, so that any number of restarts comes to the same.
 *
 *     created ── published ── activatesAt ── retiresAt ── gone
 *        pending (not signing) │    active   │  retiring (not signing)
 *
 * A key is published before it signs for as long as a verifier may hold a JWK Set without it, and after its last
 * signature for as long as the longest token lives.
 */

import type { SigningAlgorithm } from "../algorithms.ts";
import type { LocalSigningKey } from "./signing-key.ts";

/** What a key signs: the tokens of requests, or those that say which deployment this is. Each has keys of its own. */
export type KeyPurpose = "token" | "identity";

/** A key that an issuer needs to sign with. */
export interface KeyNeed {
  readonly purpose: KeyPurpose;
  readonly algorithm: SigningAlgorithm;
  /** The lifetime of the longest token that is to be signed with it, in seconds. */
  readonly longestLifetimeSeconds: number;
}

/** Keys that follow one another: for one purpose, with one algorithm. */
export type Line = Pick<KeyNeed, "purpose" | "algorithm">;

/** A key and its times, which are milliseconds since the epoch. */
export interface RingKey {
  readonly key: LocalSigningKey;
  readonly purpose: KeyPurpose;
  readonly createdAt: number;
  /** It signs from here on; `undefined` until it is known to be published. */
  readonly activatesAt: number | undefined;
  /** It signs no more from here on; `undefined` until its successor's time is known. */
  readonly retiresAt: number | undefined;
  /** The lifetime of the longest token that it may have signed, in seconds. It never becomes shorter. */
  readonly longestLifetimeSeconds: number;
}

/** Every key of an issuer that is not gone. */
export interface Ring {
  readonly keys: readonly RingKey[];
  /** The kids of keys that were taken back at once, because others may know them. */
  readonly withdrawn: readonly string[];
}

/** How keys follow one another. In seconds. */
export interface Rotation {
  /** For how long a key signs; `undefined`: until it is rotated by hand. */
  readonly everySeconds: number | undefined;
  /** For how long a key is published before it signs. */
  readonly overlapSeconds: number;
  /** Where replicas on several machines share the ring. */
  readonly fleet?: Fleet | undefined;
}

/** What replicas that share a ring can rely on. In seconds. */
export interface Fleet {
  /** By how much each replica's clock may differ from that of the store. */
  readonly clockSkewSeconds: number;
  /** For how long a verifier may keep the JWK Set that it got from one of them. */
  readonly jwksMaxAgeSeconds: number;
}

/** What a key is at a moment. */
export type KeyState = "pending" | "active" | "retiring" | "gone";

/** The ring of an issuer that has no key yet. */
export const EMPTY_RING: Ring = Object.freeze({ keys: Object.freeze([]), withdrawn: Object.freeze([]) });

/** The ring is looked at again at least this often: `setTimeout` wraps at 24.8 days, and a clock may be set. */
export const TICK_SECONDS = 30;
/** A sidecar has seen what another process did to the ring within two ticks. */
const PICK_UP_SECONDS = 2 * TICK_SECONDS;
/** By how much the difference of two readings of a clock may be off: one that is an hour fast, then an hour slow. */
export const CLOCK_ALLOWANCE_SECONDS = 2 * 3600;
/** Beyond the last token's `exp`: what a verifier allows for the difference of clocks, and for a tick. */
const RETIREMENT_MARGIN_SECONDS = 5 * 60 + CLOCK_ALLOWANCE_SECONDS;

/**
 * For how long a key is pending: `overlap`, and until every process that serves the ring has read it. Of two replicas one
 * may be as far behind as the clocks are allowed to be, and the other as far ahead.
 */
export function pendingSecondsOf({ overlapSeconds, fleet }: Rotation): number {
  return overlapSeconds + PICK_UP_SECONDS + 2 * (fleet?.clockSkewSeconds ?? 0);
}

/**
 * For how long a replica may go by a ring that it cannot read again; `undefined`: for ever, as nobody else changes it.
 * A key that was made the moment after may sign {@link pendingSecondsOf} later, and by then no verifier may hold a JWK
 * Set of this replica, which lacks it.
 */
export function reliableSecondsOf({ overlapSeconds, fleet }: Rotation): number | undefined {
  return fleet && overlapSeconds - fleet.jwksMaxAgeSeconds + PICK_UP_SECONDS;
}

/** For how long a key is published after its last signature. */
export function retiringSecondsOf(longestLifetimeSeconds: number): number {
  return longestLifetimeSeconds + RETIREMENT_MARGIN_SECONDS;
}

/** When a key that retires is published no more; `undefined` where that is not known yet. */
export function goneAt({ retiresAt, longestLifetimeSeconds }: RingKey): number | undefined {
  return retiresAt === undefined ? undefined : retiresAt + retiringSecondsOf(longestLifetimeSeconds) * 1000;
}

/** Whether the keys of both follow one another. */
export function isSameLine(a: Line, b: Line): boolean {
  return a.purpose === b.purpose && a.algorithm === b.algorithm;
}

/** The line of succession that a key stands in. */
export function lineOf({ purpose, key }: RingKey): Line {
  return { purpose, algorithm: key.algorithm };
}

function keysOf(ring: Ring, need: Line): RingKey[] {
  return ring.keys.filter((entry) => isSameLine(lineOf(entry), need));
}

/** The key that signs at `now` for this purpose with this algorithm. */
export function signingKeyOf(ring: Ring, need: Line, now: number): RingKey | undefined {
  const candidates = keysOf(ring, need)
    .filter(
      ({ activatesAt, retiresAt = Number.POSITIVE_INFINITY }) => activatesAt !== undefined && now < retiresAt,
    )
    .toSorted((a, b) => Number(a.activatesAt) - Number(b.activatesAt));
  // A clock that was set back to before the first key's time must not leave the issuer without one.
  return candidates.findLast(({ activatesAt }) => Number(activatesAt) <= now) ?? candidates[0];
}

/** What `entry` is at `now`. */
export function stateOf(ring: Ring, entry: RingKey, now: number): KeyState {
  if (signingKeyOf(ring, lineOf(entry), now) === entry) return "active";
  const { retiresAt } = entry;
  if (retiresAt === undefined || now < retiresAt) return "pending";
  return now < Number(goneAt(entry)) ? "retiring" : "gone";
}

/** The moment of the next transition of `entry` after `now`; `undefined` where none is known. */
export function nextTransitionOf(entry: RingKey, now: number): number | undefined {
  return timesOf(entry).find((time) => time > now);
}

/** The times at which an entry becomes something else, as far as they are known, in order. */
function timesOf(entry: RingKey): number[] {
  const { activatesAt, retiresAt } = entry;
  // One that was taken out before its time never signs.
  const signs = activatesAt !== undefined && activatesAt < (retiresAt ?? Number.POSITIVE_INFINITY);
  return [signs ? activatesAt : undefined, retiresAt, goneAt(entry)].filter((time) => time !== undefined);
}

/** From when and until when everything is as it is at `now`: the transitions before and after it. */
export function steadyPeriodOf(ring: Ring, now: number): { readonly from: number; readonly until: number } {
  const times = ring.keys.flatMap(timesOf);
  return {
    from: Math.max(Number.NEGATIVE_INFINITY, ...times.filter((time) => time <= now)),
    until: Math.min(Number.POSITIVE_INFINITY, ...times.filter((time) => time > now)),
  };
}

/** The successor in waiting of the key that a need is for; `undefined` where there is none. */
export function pendingKeyOf(ring: Ring, need: Line, now: number): RingKey | undefined {
  return keysOf(ring, need).find((entry) => stateOf(ring, entry, now) === "pending");
}

/** When the successor of a key that signs is to be made; `undefined`: only by hand. */
export function rotationDueAt({ activatesAt }: RingKey, rotation: Rotation): number | undefined {
  if (rotation.everySeconds === undefined || activatesAt === undefined) return undefined;
  return activatesAt + (rotation.everySeconds - pendingSecondsOf(rotation)) * 1000;
}

/** Whether the time has come to make the successor of the key that a need is for. */
export function isRotationDue(ring: Ring, need: KeyNeed, rotation: Rotation, now: number): boolean {
  const active = signingKeyOf(ring, need, now);
  const dueAt = active && rotationDueAt(active, rotation);
  return dueAt !== undefined && now >= dueAt && !pendingKeyOf(ring, need, now);
}

/** The ring with a key that signs at once, because nothing else can: the first of its line. */
export function withFirstKey(ring: Ring, need: KeyNeed, key: LocalSigningKey, now: number): Ring {
  return withKey(ring, { ...entryOf(need, key, now), activatesAt: now });
}

/**
 * The keys of `after` that sign although verifiers may hold a JWK Set without them: it was served from `before`, which
 * had other keys and not these.
 */
export function unannouncedKeysOf(before: Ring, after: Ring): readonly RingKey[] {
  if (before.keys.length === 0) return [];
  const known = new Set(before.keys.map(({ key }) => key.kid));
  return after.keys.filter(({ key, activatesAt }) => activatesAt !== undefined && !known.has(key.kid));
}

/** The ring with a key that will sign after it has been published for long enough. */
export function withSuccessor(ring: Ring, need: KeyNeed, key: LocalSigningKey, now: number): Ring {
  return withKey(ring, entryOf(need, key, now));
}

function entryOf(need: KeyNeed, key: LocalSigningKey, now: number): RingKey {
  const { purpose, longestLifetimeSeconds } = need;
  return {
    key,
    purpose,
    createdAt: now,
    activatesAt: undefined,
    retiresAt: undefined,
    longestLifetimeSeconds,
  };
}

function withKey(ring: Ring, entry: RingKey): Ring {
  return { ...ring, keys: [...ring.keys, entry] };
}

/** The ring with `change` applied to one of its keys. */
function withChanged(ring: Ring, entry: RingKey, change: Partial<RingKey>): Ring {
  return { ...ring, keys: ring.keys.map((other) => (other === entry ? { ...other, ...change } : other)) };
}

/**
 * The ring in which each key that had no time to sign yet has one, and the key before it ends then. To be called when
 * every key of `ring` is published.
 */
export function withPublishedKeysTimed(ring: Ring, rotation: Rotation, now: number): Ring {
  const untimed = ring.keys.find(({ activatesAt }) => activatesAt === undefined);
  if (!untimed) return ring;
  // Not the one that signs at `now`: where the clock has been set back, that one has a successor already.
  const before = keysOf(ring, lineOf(untimed)).find(
    ({ activatesAt, retiresAt }) => activatesAt !== undefined && retiresAt === undefined,
  );
  const activatesAt = Math.max(now + pendingSecondsOf(rotation) * 1000, before?.activatesAt ?? now);
  const ended = before ? withChanged(ring, before, { retiresAt: activatesAt }) : ring;
  return withPublishedKeysTimed(withChanged(ended, untimed, { activatesAt }), rotation, now);
}

/** The ring in which the keys that may sign for a need are kept for as long as its longest token lives. */
export function withLifetimes(ring: Ring, needs: readonly KeyNeed[], now: number): Ring {
  const keys = ring.keys.map((entry) => {
    const longest = needs
      .filter((need) => isSameLine(lineOf(entry), need))
      .map(({ longestLifetimeSeconds }) => longestLifetimeSeconds);
    const longestLifetimeSeconds = Math.max(entry.longestLifetimeSeconds, ...longest);
    // A clock that is set back lets it sign again.
    const signsNoMore =
      entry.retiresAt !== undefined && entry.retiresAt + CLOCK_ALLOWANCE_SECONDS * 1000 <= now;
    return signsNoMore || longestLifetimeSeconds === entry.longestLifetimeSeconds
      ? entry
      : { ...entry, longestLifetimeSeconds };
  });
  return keys.every((entry, index) => entry === ring.keys[index]) ? ring : { ...ring, keys };
}

/**
 * The stored ring in which no key ends before its last signature in a process that goes by `here`: it may learn of an
 * end late, because its disk failed.
 */
export function withLateEnds(stored: Ring, here: Ring, now: number): Ring {
  const keys = stored.keys.map((entry) => {
    const known = here.keys.find(({ key }) => key.kid === entry.key.kid);
    if (!known || entry.retiresAt === undefined || known.activatesAt === undefined) return entry;
    const signedUntil = Math.min(known.retiresAt ?? now, now);
    return entry.retiresAt < signedUntil && known.activatesAt < signedUntil
      ? { ...entry, retiresAt: signedUntil }
      : entry;
  });
  return keys.every((entry, index) => entry === stored.keys[index]) ? stored : { ...stored, keys };
}

/** The ring without the keys that are gone. */
export function withoutGone(ring: Ring, now: number): Ring {
  const keys = ring.keys.filter((entry) => stateOf(ring, entry, now) !== "gone");
  return keys.length === ring.keys.length ? ring : { ...ring, keys };
}

/** The ring in which `entry` signs no more from now on, and nothing comes after it. */
export function withRetired(ring: Ring, entry: RingKey, now: number): Ring {
  return withChanged(ring, entry, { retiresAt: now });
}

/**
 * The ring in which a pending key will not sign: the one before it goes on. Where it had its time already it is published
 * for as long as one that has signed, because it may have: a process may learn of this too late, and a clock be set back.
 */
export function withPendingRetired(ring: Ring, entry: RingKey, now: number): Ring {
  const continued = withoutEndAt(ring, lineOf(entry), entry.activatesAt);
  return entry.activatesAt === undefined
    ? { ...continued, keys: continued.keys.filter((other) => other !== entry) }
    : withRetired(continued, entry, now);
}

/** The ring in which no key of a line ends at `time`, because what was to sign from then on will not. */
function withoutEndAt(ring: Ring, line: Line, time: number | undefined): Ring {
  const keys = ring.keys.map((entry) =>
    time !== undefined && isSameLine(lineOf(entry), line) && entry.retiresAt === time
      ? { ...entry, retiresAt: undefined }
      : entry,
  );
  return { ...ring, keys };
}

/** The ring without these keys, at once: whatever they signed is refused from the next fetch of the JWK Set on. */
export function withWithdrawn(ring: Ring, entries: readonly RingKey[]): Ring {
  return {
    keys: ring.keys.filter((entry) => !entries.includes(entry)),
    withdrawn: [...ring.withdrawn, ...entries.map(({ key }) => key.kid)],
  };
}

/** The ring in which `key` takes the place of every other of its line, at once. */
export function withEmergencyKey(ring: Ring, need: KeyNeed, key: LocalSigningKey, now: number): Ring {
  return withFirstKey(withWithdrawn(ring, keysOf(ring, need)), need, key, now);
}
