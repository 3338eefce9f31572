import { describe, expect, test } from "vitest";
import type { KeyStore } from "../../../src/issuer/keys/store.ts";
import { simulateFleet, TIGHTEST } from "./fleet.ts";

const SEEDS = [1, 2, 3, 4, 5, 6];
const HOURS = 6;

describe("replicas that share a ring, cut off and restarted at random, with the shortest overlap there may be", () => {
  test.each(SEEDS)("no token is refused (seed %i)", async (seed) => {
    const { refused, signed, verified, withheld } = await simulateFleet({ seed, hours: HOURS });
    expect(refused).toEqual([]);
    expect(signed.size).toBeGreaterThan(25);
    expect(verified).toBeGreaterThan(100_000);
    // Some were cut off for longer than is safe, and said so.
    expect(withheld).toBeGreaterThan(0);
  });

  test("tokens are refused where a key signs at once", async () => {
    const atOnce = (store: KeyStore): KeyStore => ({
      ...store,
      save: (ring, version) =>
        store.save(
          {
            ...ring,
            keys: ring.keys.map((entry) => ({ ...entry, activatesAt: entry.activatesAt && entry.createdAt })),
          },
          version,
        ),
    });
    expect((await simulateFleet({ seed: 1, hours: HOURS, around: atOnce })).refused.length).toBeGreaterThan(
      0,
    );
  });

  test("tokens are refused where one that is cut off goes on for ever", async () => {
    const { fleet: _, ...alone } = TIGHTEST;
    const outcomes = await Promise.all(
      SEEDS.map((seed) => simulateFleet({ seed, hours: HOURS, rotation: alone })),
    );
    expect(outcomes.flatMap(({ refused }) => refused).length).toBeGreaterThan(0);
  });
});
