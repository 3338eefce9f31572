import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SigningAlgorithm } from "../../../src/issuer/algorithms.ts";
import { newKey } from "../../../src/issuer/keys/managed-keys.ts";
import {
  EMPTY_RING,
  goneAt,
  isRotationDue,
  type KeyNeed,
  type KeyState,
  nextTransitionOf,
  pendingKeyOf,
  pendingSecondsOf,
  type Ring,
  type RingKey,
  type Rotation,
  retiringSecondsOf,
  rotationDueAt,
  signingKeyOf,
  stateOf,
  steadyPeriodOf,
  withEmergencyKey,
  withFirstKey,
  withLifetimes,
  withoutGone,
  withPendingRetired,
  withPublishedKeysTimed,
  withRetired,
  withSuccessor,
  withWithdrawn,
} from "../../../src/issuer/keys/ring.ts";
import type { LocalSigningKey } from "../../../src/issuer/keys/signing-key.ts";

const SECOND = 1000;
const HOUR = 3600 * SECOND;
const DAY = 24 * HOUR;

const need: KeyNeed = { purpose: "token", algorithm: "EdDSA", longestLifetimeSeconds: 600 };
const identity: KeyNeed = { ...need, purpose: "identity" };
const rotation: Rotation = { everySeconds: 30 * 86_400, overlapSeconds: 26 * 3600 };
const PENDING = pendingSecondsOf(rotation) * SECOND;
const RETIRING = retiringSecondsOf(need.longestLifetimeSeconds) * SECOND;

const template = await newKey("EdDSA");

/** What the ring looks at is only the kid and the algorithm. */
function keyNamed(kid: string, algorithm: SigningAlgorithm = "EdDSA"): LocalSigningKey {
  return { ...template, kid, algorithm };
}

/** A ring in which `first` signs from 0 on, and `second` from a time on. */
function twoKeys(publishedAt = DAY): { ring: Ring; first: RingKey; second: RingKey } {
  const begun = withFirstKey(EMPTY_RING, need, keyNamed("first"), 0);
  const followed = withSuccessor(begun, need, keyNamed("second"), publishedAt);
  const ring = withPublishedKeysTimed(followed, rotation, publishedAt);
  return { ring, first: entryOf(ring, "first"), second: entryOf(ring, "second") };
}

function entryOf({ keys }: Ring, kid: string): RingKey {
  const found = keys.find(({ key }) => key.kid === kid);
  if (!found) throw new Error(`no key ${kid}`);
  return found;
}

function statesAt(ring: Ring, now: number): Record<string, KeyState> {
  return Object.fromEntries(ring.keys.map((entry) => [entry.key.kid, stateOf(ring, entry, now)]));
}

function signerAt(ring: Ring, now: number, line: KeyNeed = need): string | undefined {
  return signingKeyOf(ring, line, now)?.key.kid;
}

describe("a key's states", () => {
  const change = DAY + PENDING;

  test.each<[string, number, KeyState, KeyState]>([
    ["before any of its times", -DAY, "active", "pending"],
    ["as the first begins", 0, "active", "pending"],
    ["a moment before the second signs", change - 1, "active", "pending"],
    ["as the second signs", change, "retiring", "active"],
    ["a moment before the first is gone", change + RETIRING - 1, "retiring", "active"],
    ["as the first is gone", change + RETIRING, "gone", "active"],
    ["ten years later", change + 3650 * DAY, "gone", "active"],
  ])("%s", (_, now, first, second) => {
    expect(statesAt(twoKeys().ring, now)).toEqual({ first, second });
  });

  test("a key without a time to sign is pending for ever", () => {
    const ring = withSuccessor(
      withFirstKey(EMPTY_RING, need, keyNamed("first"), 0),
      need,
      keyNamed("second"),
      DAY,
    );
    expect(statesAt(ring, 1000 * DAY)).toEqual({ first: "active", second: "pending" });
    expect(nextTransitionOf(entryOf(ring, "second"), 0)).toBeUndefined();
  });

  test("a key is pending for the overlap and a minute, and retires for its longest token, the clock and five minutes", () => {
    const { first, second } = twoKeys();
    expect(second.activatesAt).toBe(DAY + 26 * HOUR + 60 * SECOND);
    expect(first.retiresAt).toBe(second.activatesAt);
    expect(goneAt(first)).toBe(Number(first.retiresAt) + (600 + 300) * SECOND + 2 * HOUR);
    expect(goneAt(second)).toBeUndefined();
  });

  test("a key's transitions come one after another", () => {
    const { first, second } = twoKeys();
    expect(nextTransitionOf(first, -1)).toBe(0);
    expect(nextTransitionOf(first, 0)).toBe(change);
    expect(nextTransitionOf(first, change)).toBe(change + RETIRING);
    expect(nextTransitionOf(first, change + RETIRING)).toBeUndefined();
    expect(nextTransitionOf(second, 0)).toBe(change);
  });

  test("a ring is steady between the transitions of all its keys", () => {
    const { ring } = twoKeys();
    expect(steadyPeriodOf(ring, -1)).toEqual({ from: Number.NEGATIVE_INFINITY, until: 0 });
    expect(steadyPeriodOf(ring, 0)).toEqual({ from: 0, until: change });
    expect(steadyPeriodOf(ring, change - 1)).toEqual({ from: 0, until: change });
    expect(steadyPeriodOf(ring, change)).toEqual({ from: change, until: change + RETIRING });
    expect(steadyPeriodOf(ring, change + RETIRING).until).toBe(Number.POSITIVE_INFINITY);
    expect(steadyPeriodOf(EMPTY_RING, 0)).toEqual({
      from: Number.NEGATIVE_INFINITY,
      until: Number.POSITIVE_INFINITY,
    });
  });

  test("a clock that was set back leaves the key before in its place, and the first key in any case", () => {
    const { ring } = twoKeys();
    expect(signerAt(ring, change)).toBe("second");
    expect(signerAt(ring, change - HOUR)).toBe("first");
    expect(signerAt(ring, -365 * DAY)).toBe("first");
  });

  test("each purpose and each algorithm has keys of its own", () => {
    let ring = withFirstKey(EMPTY_RING, need, keyNamed("token"), 0);
    ring = withFirstKey(ring, identity, keyNamed("identity"), 0);
    ring = withFirstKey(ring, { ...need, algorithm: "ES256" }, keyNamed("ES256", "ES256"), 0);
    ring = withPublishedKeysTimed(withSuccessor(ring, need, keyNamed("next"), 0), rotation, 0);
    expect(statesAt(ring, PENDING)).toEqual({
      token: "retiring",
      identity: "active",
      ES256: "active",
      next: "active",
    });
    expect(pendingKeyOf(ring, identity, 0)).toBeUndefined();
    expect(pendingKeyOf(ring, need, 0)?.key.kid).toBe("next");
    expect(signingKeyOf(ring, { ...need, algorithm: "RS256" }, 0)).toBeUndefined();
  });
});

describe("times of published keys", () => {
  test("a second call changes nothing, whenever it comes", () => {
    const { ring } = twoKeys();
    for (const now of [0, DAY, DAY + PENDING, 400 * DAY])
      expect(withPublishedKeysTimed(ring, rotation, now)).toBe(ring);
  });

  test("another overlap does not change a time that has been set", () => {
    const { ring } = twoKeys();
    expect(withPublishedKeysTimed(ring, { ...rotation, overlapSeconds: 60 }, DAY + HOUR)).toBe(ring);
  });

  test("keys of several lines get theirs in one call", () => {
    let ring = withFirstKey(EMPTY_RING, need, keyNamed("token"), 0);
    ring = withFirstKey(ring, identity, keyNamed("identity"), 0);
    ring = withSuccessor(ring, need, keyNamed("next token"), 0);
    ring = withSuccessor(ring, identity, keyNamed("next identity"), 0);
    const timed = withPublishedKeysTimed(ring, rotation, HOUR);
    expect(timed.keys.map(({ activatesAt }) => activatesAt)).toEqual([0, 0, HOUR + PENDING, HOUR + PENDING]);
    expect(timed.keys.map(({ retiresAt }) => retiresAt)).toEqual([
      HOUR + PENDING,
      HOUR + PENDING,
      undefined,
      undefined,
    ]);
  });
});

describe("when a rotation is due", () => {
  const ring = withFirstKey(EMPTY_RING, need, keyNamed("first"), 0);
  const due = 30 * DAY - PENDING;

  test("early enough for the successor to sign when the period has passed", () => {
    expect(rotationDueAt(entryOf(ring, "first"), rotation)).toBe(due);
    expect(isRotationDue(ring, need, rotation, due - 1)).toBe(false);
    expect(isRotationDue(ring, need, rotation, due)).toBe(true);
    const followed = withPublishedKeysTimed(withSuccessor(ring, need, keyNamed("next"), due), rotation, due);
    expect(entryOf(followed, "next").activatesAt).toBe(30 * DAY);
  });

  test("at once where the period is as long as a key is pending", () => {
    const tight = { ...rotation, everySeconds: pendingSecondsOf(rotation) };
    expect(isRotationDue(ring, need, tight, -1)).toBe(false);
    expect(isRotationDue(ring, need, tight, 0)).toBe(true);
  });

  test("not while a successor waits, with a time or without one", () => {
    const followed = withSuccessor(ring, need, keyNamed("next"), due);
    expect(isRotationDue(followed, need, rotation, due)).toBe(false);
    expect(isRotationDue(followed, need, rotation, 100 * DAY)).toBe(false);
    const timed = withPublishedKeysTimed(followed, rotation, due);
    expect(isRotationDue(timed, need, rotation, due)).toBe(false);
  });

  test("never where it is only done by hand, nor without a key", () => {
    const never = { ...rotation, everySeconds: undefined };
    expect(rotationDueAt(entryOf(ring, "first"), never)).toBeUndefined();
    expect(isRotationDue(ring, need, never, 1000 * DAY)).toBe(false);
    expect(isRotationDue(EMPTY_RING, need, rotation, 1000 * DAY)).toBe(false);
  });
});

describe("lifetimes", () => {
  const longer = { ...need, longestLifetimeSeconds: 7200 };

  test("a longer token keeps the keys that may still sign it, and no other", () => {
    const { ring } = twoKeys();
    const lifetimes = (now: number) =>
      withLifetimes(ring, [longer], now).keys.map(({ longestLifetimeSeconds }) => longestLifetimeSeconds);
    expect(lifetimes(DAY)).toEqual([7200, 7200]);
    // An hour fast and an hour slow: it may sign again.
    expect(lifetimes(DAY + PENDING + 2 * HOUR - 1)).toEqual([7200, 7200]);
    expect(lifetimes(DAY + PENDING + 2 * HOUR)).toEqual([600, 7200]);
  });

  test("a shorter one changes nothing", () => {
    const { ring } = twoKeys();
    expect(withLifetimes(ring, [{ ...need, longestLifetimeSeconds: 1 }], DAY)).toBe(ring);
    expect(withLifetimes(ring, [], DAY)).toBe(ring);
    expect(withLifetimes(ring, [need], DAY)).toBe(ring);
  });

  test("one of another purpose changes nothing", () => {
    const { ring } = twoKeys();
    expect(withLifetimes(ring, [{ ...longer, purpose: "identity" }], DAY)).toBe(ring);
  });
});

describe("what an operator does", () => {
  test("a retired key signs no more, and is published until its tokens have ended", () => {
    const begun = withFirstKey(EMPTY_RING, need, keyNamed("first"), 0);
    const ring = withRetired(begun, entryOf(begun, "first"), DAY);
    expect(signerAt(ring, DAY - 1)).toBe("first");
    expect(signerAt(ring, DAY)).toBeUndefined();
    expect(statesAt(ring, DAY + RETIRING - 1)).toEqual({ first: "retiring" });
    expect(statesAt(ring, DAY + RETIRING)).toEqual({ first: "gone" });
  });

  test("without its successor a key goes on as if there had been none", () => {
    const begun = withFirstKey(EMPTY_RING, need, keyNamed("first"), 0);
    const followed = withSuccessor(begun, need, keyNamed("second"), DAY);
    expect(withPendingRetired(followed, entryOf(followed, "second"), DAY)).toEqual(begun);
  });

  test("a successor that had its time already is published as one that has signed, and never signs", () => {
    const { ring, second } = twoKeys();
    const alone = withPendingRetired(ring, second, DAY + HOUR);
    expect(statesAt(alone, DAY + HOUR)).toEqual({ first: "active", second: "retiring" });
    expect(statesAt(alone, DAY + HOUR + RETIRING)).toEqual({ first: "active", second: "gone" });
    expect(signerAt(alone, 1000 * DAY)).toBe("first");
  });

  test("a successor that was taken out has its end before it, and not the time at which it would have signed", () => {
    const { ring, second } = twoKeys();
    const alone = withPendingRetired(ring, second, DAY);
    const end = DAY + RETIRING;
    expect(nextTransitionOf(entryOf(alone, "second"), DAY)).toBe(end);
    expect(nextTransitionOf(entryOf(alone, "second"), end)).toBeUndefined();
    expect(steadyPeriodOf(alone, DAY)).toEqual({ from: DAY, until: end });
    expect(steadyPeriodOf(alone, end)).toEqual({ from: end, until: Number.POSITIVE_INFINITY });
  });

  test("taking out a successor leaves other lines as they are", () => {
    const { ring, second } = twoKeys();
    let both = withFirstKey(ring, identity, keyNamed("identity"), 0);
    both = withPublishedKeysTimed(
      withSuccessor(both, identity, keyNamed("next identity"), DAY),
      rotation,
      DAY,
    );
    expect(entryOf(withPendingRetired(both, second, DAY), "identity").retiresAt).toBe(DAY + PENDING);
  });

  test("a withdrawn key is in the ring no more, and its kid is remembered", () => {
    const { ring, first } = twoKeys();
    const left = withWithdrawn({ ...ring, withdrawn: ["earlier"] }, [first]);
    expect(left.keys.map(({ key }) => key.kid)).toEqual(["second"]);
    expect(left.withdrawn).toEqual(["earlier", "first"]);
    expect(signerAt(left, 0)).toBe("second");
  });

  test("an emergency key signs at once, alone in its line", () => {
    const { ring } = twoKeys();
    const both = withFirstKey(ring, identity, keyNamed("identity"), 0);
    const replaced = withEmergencyKey(both, need, keyNamed("emergency"), DAY + HOUR);
    expect(statesAt(replaced, DAY + HOUR)).toEqual({ identity: "active", emergency: "active" });
    expect(replaced.withdrawn).toEqual(["first", "second"]);
  });
});

describe("whatever the history of a ring", () => {
  interface Step {
    readonly waitSeconds: number;
    readonly rotates: boolean;
    readonly overlapSeconds: number;
    readonly lifetimeSeconds: number;
  }

  const steps: fc.Arbitrary<Step[]> = fc.array(
    fc.record({
      waitSeconds: fc.integer({ min: 0, max: 40 * 86_400 }),
      rotates: fc.boolean(),
      overlapSeconds: fc.integer({ min: 1, max: 10 * 86_400 }),
      lifetimeSeconds: fc.integer({ min: 1, max: 10 * 86_400 }),
    }),
    { maxLength: 20 },
  );

  /** The rings that a sidecar would have had, each with the moment that it came from. */
  function historyOf(
    all: readonly Step[],
    forget = withoutGone,
  ): { readonly ring: Ring; readonly at: number }[] {
    let at = 0;
    let ring = withFirstKey(EMPTY_RING, need, keyNamed("0"), at);
    return all.map((step, index) => {
      at += step.waitSeconds * SECOND;
      const line = { ...need, longestLifetimeSeconds: step.lifetimeSeconds };
      ring = forget(withLifetimes(ring, [line], at), at);
      if (step.rotates && !pendingKeyOf(ring, need, at))
        ring = withSuccessor(ring, line, keyNamed(String(index + 1)), at);
      ring = withPublishedKeysTimed(
        ring,
        { everySeconds: undefined, overlapSeconds: step.overlapSeconds },
        at,
      );
      return { ring, at };
    });
  }

  const moment = fc.integer({ min: -DAY, max: 1000 * DAY });

  test("one key signs at every moment", () => {
    fc.assert(
      fc.property(steps, moment, (all, now) => {
        for (const { ring } of historyOf(all))
          expect(Object.values(statesAt(ring, now)).filter((state) => state === "active")).toEqual([
            "active",
          ]);
      }),
    );
  });

  test("each key ends at the moment that its successor begins, and the last has no end", () => {
    fc.assert(
      fc.property(steps, (all) => {
        // None forgotten: a key with short tokens may be gone before the one that came before it.
        for (const { ring } of historyOf(all, (whole) => whole)) {
          const [, ...begins] = ring.keys.map(({ activatesAt }) => activatesAt);
          expect(ring.keys.map(({ retiresAt }) => retiresAt)).toEqual([...begins, undefined]);
          expect(begins).toEqual(begins.toSorted((a, b) => Number(a) - Number(b)));
        }
      }),
    );
  });

  test("a key goes through its states in their order", () => {
    const ORDER: KeyState[] = ["pending", "active", "retiring", "gone"];
    fc.assert(
      fc.property(steps, fc.array(moment, { minLength: 2 }), (all, moments) => {
        for (const { ring } of historyOf(all))
          for (const entry of ring.keys) {
            const ranks = moments
              .toSorted((a, b) => a - b)
              .map((now) => ORDER.indexOf(stateOf(ring, entry, now)));
            expect(ranks).toEqual(ranks.toSorted((a, b) => a - b));
          }
      }),
    );
  });

  test("nothing changes within a steady period, and something does at its end", () => {
    fc.assert(
      fc.property(steps, moment, (all, now) => {
        for (const { ring } of historyOf(all)) {
          const { from, until } = steadyPeriodOf(ring, now);
          expect(from <= now && now < until).toBe(true);
          if (until === Number.POSITIVE_INFINITY) continue;
          expect(statesAt(ring, until - 1)).toEqual(statesAt(ring, now));
          if (from !== Number.NEGATIVE_INFINITY) expect(statesAt(ring, from)).toEqual(statesAt(ring, now));
        }
      }),
    );
  });

  test("a step shortens no time that an earlier one has set", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const history = historyOf(all);
        history.forEach(({ ring }, index) => {
          const next = history[index + 1];
          if (!next) return;
          for (const entry of next.ring.keys) {
            const before = ring.keys.find(({ key }) => key.kid === entry.key.kid);
            if (!before) continue;
            expect(entry.activatesAt).toBe(before.activatesAt);
            if (before.retiresAt !== undefined) expect(entry.retiresAt).toBe(before.retiresAt);
            expect(entry.longestLifetimeSeconds).toBeGreaterThanOrEqual(before.longestLifetimeSeconds);
          }
        });
      }),
    );
  });

  test("a key is forgotten only when it is gone, and then at once", () => {
    fc.assert(
      fc.property(steps, moment, (all, now) => {
        for (const { ring } of historyOf(all)) {
          const left = withoutGone(ring, now);
          const expected = Object.entries(statesAt(ring, now)).filter(([, state]) => state !== "gone");
          expect(left.keys.map(({ key }) => key.kid)).toEqual(expected.map(([kid]) => kid));
          expect(withoutGone(left, now)).toBe(left);
          expect(signerAt(left, now)).toBe(signerAt(ring, now));
        }
      }),
    );
  });
});

describe("a clock that is set back before a new key has its time", () => {
  const begins = DAY + PENDING;

  /** The third key is made just after the second began to sign, and gets its time by a clock that is an hour slower. */
  function threeKeys(): Ring {
    const { ring } = twoKeys();
    const followed = withSuccessor(ring, need, keyNamed("third"), begins + SECOND);
    return withPublishedKeysTimed(followed, rotation, begins + SECOND - HOUR);
  }

  test("every key but the last ends, and so goes", () => {
    const ring = threeKeys();
    expect(ring.keys.filter(({ retiresAt }) => retiresAt === undefined).map(({ key }) => key.kid)).toEqual([
      "third",
    ]);
    expect(statesAt(ring, 400 * DAY)).toEqual({ first: "gone", second: "gone", third: "active" });
  });

  test("the end of the key before the last stays as it was", () => {
    expect(entryOf(threeKeys(), "first").retiresAt).toBe(begins);
  });

  test("the next rotation comes", () => {
    expect(isRotationDue(threeKeys(), need, rotation, 400 * DAY)).toBe(true);
  });
});
