import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { mergedRings } from "../../../src/issuer/keys/merged-rings.ts";
import {
  EMPTY_RING,
  pendingKeyOf,
  type Ring,
  type RingKey,
  signingKeyOf,
  withFirstKey,
} from "../../../src/issuer/keys/ring.ts";
import type { LocalSigningKey } from "../../../src/issuer/keys/signing-key.ts";
import { HOUR, NOW, needFor, signingKey } from "./key-material.ts";

let keys: LocalSigningKey[];
beforeAll(async () => {
  keys = await Promise.all(Array.from({ length: 5 }, () => signingKey()));
});

function entry(index: number, change: Partial<RingKey> = {}): RingKey {
  const key = keys[index] as LocalSigningKey;
  return {
    ...{ key, purpose: "token", createdAt: NOW, activatesAt: undefined, retiresAt: undefined },
    ...{ longestLifetimeSeconds: 300, ...change },
  };
}
const ringOf = (entries: readonly RingKey[], withdrawn: readonly string[] = []): Ring => ({
  keys: entries,
  withdrawn,
});
const indexesIn = (ring: Ring) => ring.keys.map(({ key }) => keys.indexOf(key));
const kid = (index: number) => String(keys[index]?.kid);

describe("two rings that know nothing of each other become one", () => {
  test("in which a key of only one of them is published", () => {
    const known = ringOf([entry(0, { activatesAt: NOW }), entry(1)]);
    const stored = ringOf([entry(0, { activatesAt: NOW }), entry(2)]);
    expect(indexesIn(mergedRings(known, stored))).toEqual([0, 1, 2]);
  });

  test("in which a key has the time that one of them has given it", () => {
    const known = ringOf([
      entry(0, { activatesAt: NOW, retiresAt: NOW + HOUR }),
      entry(1, { activatesAt: NOW + HOUR }),
    ]);
    const stored = ringOf([entry(0, { activatesAt: NOW }), entry(1)]);
    expect(mergedRings(known, stored)).toEqual(known);
    expect(mergedRings(stored, known)).toEqual(known);
  });

  test("in which of two times the later one counts, and the longer life", () => {
    const known = ringOf([entry(0, { activatesAt: NOW, retiresAt: NOW + 1, longestLifetimeSeconds: 60 })]);
    const stored = ringOf([entry(0, { activatesAt: NOW + 5, retiresAt: NOW, longestLifetimeSeconds: 90 })]);
    expect(mergedRings(known, stored).keys).toEqual([
      entry(0, { activatesAt: NOW + 5, retiresAt: NOW + 1, longestLifetimeSeconds: 90 }),
    ]);
  });

  test("in which a line that was begun anew comes after the one that verifiers know", async () => {
    const known = withFirstKey(EMPTY_RING, needFor(), keys[0] as LocalSigningKey, NOW);
    const anew = withFirstKey(EMPTY_RING, needFor(), keys[1] as LocalSigningKey, NOW + HOUR);
    const merged = mergedRings(known, anew);
    expect(signingKeyOf(merged, needFor(), NOW + 2 * HOUR)?.key).toBe(keys[0]);
    expect(merged.keys[1]).toMatchObject({ key: keys[1], activatesAt: undefined });
  });

  test("in which a new line signs as it did: nobody has another key for it", async () => {
    const es256 = await signingKey("ES256");
    const known = withFirstKey(EMPTY_RING, needFor(), keys[0] as LocalSigningKey, NOW);
    const stored = withFirstKey(known, needFor("ES256"), es256, NOW + HOUR);
    expect(mergedRings(known, stored)).toEqual(stored);
  });

  test("in which of two successors with a time the second ends the first, and the next rotation is not held up", () => {
    const known = ringOf([
      entry(0, { activatesAt: NOW, retiresAt: NOW + HOUR }),
      entry(1, { activatesAt: NOW + HOUR }),
    ]);
    const stored = ringOf([
      entry(0, { activatesAt: NOW, retiresAt: NOW + HOUR + 5 }),
      entry(2, { activatesAt: NOW + HOUR + 5 }),
    ]);
    for (const merged of [mergedRings(known, stored), mergedRings(stored, known)]) {
      expect(signingKeyOf(merged, needFor(), NOW + HOUR)?.key).toBe(keys[1]);
      expect(signingKeyOf(merged, needFor(), NOW + HOUR + 5)?.key).toBe(keys[2]);
      expect(pendingKeyOf(merged, needFor(), NOW + HOUR + 5)).toBeUndefined();
    }
  });

  test("in which a key that one of them does not know any more ends when the next one began", () => {
    const known = ringOf([entry(1, { activatesAt: NOW + HOUR })]);
    const stored = ringOf([entry(0, { activatesAt: NOW }), entry(1)]);
    const merged = mergedRings(known, stored);
    expect(merged.keys.find(({ key }) => key === keys[0])?.retiresAt).toBe(NOW + HOUR);
    expect(pendingKeyOf(merged, needFor(), NOW + 2 * HOUR)).toBeUndefined();
  });

  test("in which a key goes on where its successor was taken out before its time", () => {
    const known = ringOf([
      entry(0, { activatesAt: NOW }),
      entry(1, { activatesAt: NOW + HOUR, retiresAt: NOW + 5 }),
    ]);
    const stored = ringOf([
      entry(0, { activatesAt: NOW, retiresAt: NOW + HOUR }),
      entry(1, { activatesAt: NOW + HOUR }),
    ]);
    for (const merged of [mergedRings(known, stored), mergedRings(stored, known)])
      expect(signingKeyOf(merged, needFor(), NOW + HOUR)?.key).toBe(keys[0]);
  });

  test("in which what one of them has withdrawn is withdrawn", () => {
    const known = ringOf([entry(0, { activatesAt: NOW }), entry(1)], [kid(2)]);
    const stored = ringOf([entry(2, { activatesAt: NOW }), entry(3)], [kid(1)]);
    const merged = mergedRings(known, stored);
    expect(indexesIn(merged)).toEqual([0, 3]);
    expect(merged.withdrawn).toEqual([kid(2), kid(1)]);
  });

  test("and whatever they were, every key is in it that is not withdrawn, and to do it again changes nothing", () => {
    const time = fc.option(fc.integer({ min: NOW, max: NOW + 9 }), { nil: undefined });
    const someEntry = fc
      .record({ index: fc.nat(4), activatesAt: time, retiresAt: time })
      .map(({ index, ...times }) => ({ index, times }));
    const someRing = fc
      .tuple(
        fc.uniqueArray(someEntry, { selector: ({ index }) => index }),
        fc.uniqueArray(fc.nat(4), { maxLength: 2 }),
      )
      .map(([entries, withdrawn]) =>
        ringOf(
          entries
            .filter(({ index }) => !withdrawn.includes(index))
            .map(({ index, times }) => entry(index, times)),
          withdrawn.map(kid),
        ),
      );
    fc.assert(
      fc.property(someRing, someRing, (known, stored) => {
        const merged = mergedRings(known, stored);
        const gone = new Set([...known.withdrawn, ...stored.withdrawn]);
        const expected = new Set(
          [...known.keys, ...stored.keys].map(({ key }) => key.kid).filter((one) => !gone.has(one)),
        );
        expect(new Set(merged.keys.map(({ key }) => key.kid))).toEqual(expected);
        expect(merged.keys).toHaveLength(expected.size);
        expect(mergedRings(merged, merged)).toEqual(merged);
        // Whoever has the merged one, and meets the other again, learns nothing.
        expect(new Set(indexesIn(mergedRings(merged, known)))).toEqual(new Set(indexesIn(merged)));
      }),
    );
  });
});
