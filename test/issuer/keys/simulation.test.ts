import { afterEach, describe, expect, test, vi } from "vitest";
import type { RingKey } from "../../../src/issuer/keys/ring.ts";
import { type Outcome, type SimulationOptions, simulate } from "./simulation.ts";

type Rules = typeof import("../../../src/issuer/keys/ring.ts");

const RULES = "../../../src/issuer/keys/ring.ts";
const HOUR_SECONDS = 3600;

describe("400 days of rotation, restarts, reloads, clock jumps and failing disks", () => {
  test.each([1, 2, 4])("no token is refused (seed %i)", async (seed) => {
    expectHealthy(await simulate({ seed }), 1);
  });

  test("no token is refused where there are several lines of keys", async () => {
    const lines = [
      ["token", "EdDSA"],
      ["token", "ES256"],
      ["identity", "ES256"],
    ] as const;
    expectHealthy(await simulate({ seed: 5, lines }), lines.length);
  });
});

function expectHealthy(outcome: Outcome, lines: number): void {
  const { refused, problems, checks, verified, signers, expectedSigners } = outcome;
  expect({ refused, problems }).toEqual({ refused: [], problems: [] });
  expect(checks).toBeGreaterThan(100_000);
  expect(verified).toBeGreaterThan(20);
  // Outages delay a rotation, operators rotate by hand.
  expect(signers).toBeGreaterThan(expectedSigners * 0.7);
  expect(signers).toBeLessThan(expectedSigners * 1.5);
  // One that signs, one that waits, and those whose tokens of up to three days have not ended: a key signs for a day
  // and two hours at least.
  expect(outcome.mostPublished).toBeGreaterThan(2 * lines);
  expect(outcome.mostPublished).toBeLessThanOrEqual(6 * lines);
  expect(Object.keys(outcome.events).length).toBe(11);
}

describe("the simulation notices", () => {
  afterEach(() => {
    vi.doUnmock(RULES);
    vi.resetModules();
  });

  /** Simulates with other rules, until a token is refused. */
  async function refusedWith(
    change: (rules: Rules) => Partial<Rules>,
    seeds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  ): Promise<readonly string[]> {
    vi.resetModules();
    vi.doMock(RULES, async (importOriginal) => {
      const rules = await importOriginal<Rules>();
      return { ...rules, ...change(rules) };
    });
    const simulation: { simulate(options: SimulationOptions): Promise<Outcome> } = await import(
      "./simulation.ts"
    );
    for (const seed of seeds) {
      const { refused } = await simulation.simulate({ seed, stopAtFirst: true });
      if (refused.length > 0) return refused;
    }
    return [];
  }

  /** A key is pending for another time than it should be. */
  function pendingFor(overlapSeconds: (asConfigured: number) => number) {
    return (rules: Rules): Partial<Rules> => ({
      withPublishedKeysTimed: (ring, rotation, now) =>
        rules.withPublishedKeysTimed(
          ring,
          { ...rotation, overlapSeconds: overlapSeconds(rotation.overlapSeconds) },
          now,
        ),
    });
  }

  /** A key retires as if its longest token lived for another time than it does. */
  function retiringFor(lifetimeSeconds: (longest: number) => number) {
    return (rules: Rules): Partial<Rules> => {
      const changed = (entry: RingKey): RingKey => ({
        ...entry,
        longestLifetimeSeconds: lifetimeSeconds(entry.longestLifetimeSeconds),
      });
      const goneAt: Rules["goneAt"] = (entry) => rules.goneAt(changed(entry));
      const stateOf: Rules["stateOf"] = (ring, entry, now) => {
        const keys = ring.keys.map(changed);
        return rules.stateOf({ ...ring, keys }, keys[ring.keys.indexOf(entry)] ?? entry, now);
      };
      return {
        goneAt,
        stateOf,
        steadyPeriodOf: (ring, now) => rules.steadyPeriodOf({ ...ring, keys: ring.keys.map(changed) }, now),
        withoutGone(ring, now) {
          const keys = ring.keys.filter((entry) => stateOf(ring, entry, now) !== "gone");
          return keys.length === ring.keys.length ? ring : { ...ring, keys };
        },
      };
    };
  }

  test("a new key that signs after a quarter of its time", async () => {
    expect(await refusedWith(pendingFor((overlap) => overlap / 4))).not.toEqual([]);
  });

  test("a new key that signs as if no clock were ever wrong", async () => {
    expect(await refusedWith(pendingFor((overlap) => overlap - 4 * HOUR_SECONDS))).not.toEqual([]);
  });

  test("an old key that goes in the middle of its last token's life", async () => {
    expect(await refusedWith(retiringFor((longest) => longest / 2))).not.toEqual([]);
  });

  test("an old key that goes as if no clock were ever wrong", async () => {
    expect(await refusedWith(retiringFor((longest) => longest - 2 * HOUR_SECONDS))).not.toEqual([]);
  });

  test("an old key that goes as if no verifier allowed for a difference of clocks", async () => {
    expect(await refusedWith(retiringFor((longest) => longest - 5 * 60))).not.toEqual([]);
  });

  test("a new key that has its time before it is known to be published", async () => {
    const rotation = { everySeconds: undefined, overlapSeconds: 26 * HOUR_SECONDS };
    const refused = await refusedWith((rules) => ({
      withSuccessor: (ring, need, key, now) =>
        rules.withPublishedKeysTimed(rules.withSuccessor(ring, need, key, now), rotation, now),
    }));
    expect(refused).not.toEqual([]);
  });

  test("a shorter lifetime that shortens how long a key is kept for the tokens it has signed", async () => {
    const refused = await refusedWith((rules) => ({
      withLifetimes(ring, needs, now) {
        const lowered = rules.withLifetimes(ring, needs, now).keys.map((entry) => {
          const need = needs.find((one) => rules.isSameLine(rules.lineOf(entry), one));
          return need && need.longestLifetimeSeconds < entry.longestLifetimeSeconds
            ? { ...entry, longestLifetimeSeconds: need.longestLifetimeSeconds }
            : entry;
        });
        return { ...ring, keys: lowered };
      },
    }));
    expect(refused).not.toEqual([]);
  });

  test("nothing where the rules only leave more time", async () => {
    const refused = await refusedWith(
      (rules) => ({
        ...pendingFor((overlap) => overlap + HOUR_SECONDS)(rules),
        ...retiringFor((longest) => longest + HOUR_SECONDS)(rules),
      }),
      [1],
    );
    expect(refused).toEqual([]);
  });
});
