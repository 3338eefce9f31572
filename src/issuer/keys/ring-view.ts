/** A ring as others see it at a moment: the JWK Set, what signs, and what each key is. */

import { type ActiveKey, type KeyEvent, type KeySet, type KeyStatus, keySetOf } from "./key-set.ts";
import {
  isSameLine,
  type KeyNeed,
  type KeyPurpose,
  type KeyState,
  lineOf,
  nextTransitionOf,
  type Ring,
  type RingKey,
  type Rotation,
  rotationDueAt,
  stateOf,
  steadyPeriodOf,
} from "./ring.ts";

/** What a ring shows, for as long as nothing changes. */
export interface View {
  readonly keys: KeySet;
  /** Until when and from when on the clock makes no difference. */
  readonly from: number;
  readonly until: number;
}

/** What a ring shows at `now`. */
export function viewOf(ring: Ring, needs: readonly KeyNeed[], now: number): View {
  return { keys: keysAt(ring, needs, now), ...steadyPeriodOf(ring, now) };
}

/** What a ring publishes at `now`, and what signs. */
export function keysAt(ring: Ring, needs: readonly KeyNeed[], now: number): KeySet {
  const inState = (...wanted: readonly KeyState[]) =>
    ring.keys.filter((entry) => wanted.includes(stateOf(ring, entry, now)));
  const rank = (entry: RingKey) => {
    const index = needs.findIndex((need) => isSameLine(need, lineOf(entry)));
    return index === -1 ? needs.length : index;
  };
  const active: (ActiveKey & { purpose: KeyPurpose })[] = inState("active").toSorted(
    (a, b) => rank(a) - rank(b),
  );
  return keySetOf(
    active,
    inState("pending", "retiring").map(({ key }) => key),
  );
}

/** What each key of a ring is, by its kid. */
export type States = ReadonlyMap<string, { readonly entry: RingKey; readonly state: KeyState }>;

/** What each key of a ring is at `now`. */
export function statesOf(ring: Ring, now: number): States {
  return new Map(ring.keys.map((entry) => [entry.key.kid, { entry, state: stateOf(ring, entry, now) }]));
}

/** What statuses follow from. */
export interface RingMoment {
  readonly ring: Ring;
  readonly needs: readonly KeyNeed[];
  readonly rotation: Rotation;
  readonly now: number;
}

/** What is known of a key. */
export function statusOf(entry: RingKey, { ring, needs, rotation, now }: RingMoment): KeyStatus {
  const { key, purpose, createdAt } = entry;
  const state = stateOf(ring, entry, now);
  // A key that nothing needs any more gets no successor.
  const isRotated = state === "active" && needs.some((need) => isSameLine(lineOf(entry), need));
  const nextTransitionAt =
    nextTransitionOf(entry, now) ?? (isRotated ? rotationDueAt(entry, rotation) : undefined);
  return { kid: key.kid, algorithm: key.algorithm, purpose, state, createdAt, nextTransitionAt };
}

/** What is told when a key has become something else. */
export function eventOf(entry: RingKey, state: KeyState, now: number): KeyEvent {
  const { key, purpose } = entry;
  return {
    kind: "key",
    kid: key.kid,
    algorithm: key.algorithm,
    purpose,
    state,
    until: state === "gone" ? undefined : nextTransitionOf(entry, now),
  };
}
