import { isSameLine, lineOf, type Ring, type RingKey } from "./ring.ts";

/**
 * One ring of two that were made from the same one and know nothing of each other: what this process goes by, and what is
 * stored, where the store has lost versions between them. Every key of both is published, but those that one of them has
 * withdrawn. A line that was begun anew, because nothing was stored any more, comes after the one that verifiers know.
 */
export function mergedRings(known: Ring, stored: Ring): Ring {
  const withdrawn = [...new Set([...known.withdrawn, ...stored.withdrawn])];
  const merged = known.keys.map((entry) => {
    const other = keyIn(stored, entry);
    return other ? mergedKeys(entry, other) : entry;
  });
  const further = stored.keys
    .filter((entry) => !keyIn(known, entry))
    .map((entry) => (isBegunAnew(entry, known, stored) ? { ...entry, activatesAt: undefined } : entry));
  const keys = [...merged, ...further].filter(({ key }) => !withdrawn.includes(key.kid));
  return { keys: keys.map((entry) => withEnd(entry, keys)), withdrawn };
}

/**
 * A key with the end that its line gives it: of two successors that were made apart, the second ends the first; and where
 * one was taken out before its time, the key before it goes on.
 */
function withEnd(entry: RingKey, keys: readonly RingKey[]): RingKey {
  const line = keys.filter((other) => isSameLine(lineOf(other), lineOf(entry)));
  const signing = line
    .filter(signsAtSomeTime)
    .toSorted((a, b) => Number(a.activatesAt) - Number(b.activatesAt));
  if (!signing.includes(entry)) return entry;
  const { retiresAt } = entry;
  // It was retired, and nothing was to come after it.
  if (retiresAt !== undefined && line.every((other) => other.activatesAt !== retiresAt)) return entry;
  return { ...entry, retiresAt: signing[signing.indexOf(entry) + 1]?.activatesAt };
}

function signsAtSomeTime({ activatesAt, retiresAt = Number.POSITIVE_INFINITY }: RingKey): boolean {
  return activatesAt !== undefined && activatesAt < retiresAt;
}

function keyIn({ keys }: Ring, { key, purpose }: RingKey): RingKey | undefined {
  return keys.find((other) => other.key.kid === key.kid && other.purpose === purpose);
}

/** A time that one of them knows was given; of two the later one lets nobody be early. */
function mergedKeys(a: RingKey, b: RingKey): RingKey {
  return {
    ...a,
    activatesAt: later(a.activatesAt, b.activatesAt),
    retiresAt: later(a.retiresAt, b.retiresAt),
    longestLifetimeSeconds: Math.max(a.longestLifetimeSeconds, b.longestLifetimeSeconds),
  };
}

function later(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.max(a, b);
}

/** Whether a key was made by somebody who knew none of its line, although there are some. */
function isBegunAnew(entry: RingKey, known: Ring, stored: Ring): boolean {
  const before = known.keys.filter((other) => isSameLine(lineOf(other), lineOf(entry)));
  return before.length > 0 && before.every((other) => !keyIn(stored, other));
}
