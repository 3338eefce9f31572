import { setTimeout as sleep } from "node:timers/promises";
import { beforeEach, describe, expect, test } from "vitest";
import { createRandom } from "../issuer/keys/random.ts";
import { C_COMPILER, REDIS_SERVER, requireProgram } from "../support/programs.ts";
import { CHAOS_EVENTS, letChaosReign } from "./fleet/chaos.ts";
import { type Checks, createChecks } from "./fleet/checks.ts";
import { FLEET, LINES } from "./fleet/configuration.ts";
import { type FleetOptions, startFleet } from "./fleet/fleet.ts";
import { startLoad } from "./fleet/load.ts";
import { realMilliseconds } from "./fleet/scaled-time.ts";
import { createVerifiers } from "./fleet/verifiers.ts";

/** Two minutes pass in a second. */
const FACTOR = 120;
/** `COUNTERSIGN_FLEET_SEED=123` has the same things happen in the same order again. */
const SEED = Number(process.env.COUNTERSIGN_FLEET_SEED ?? Math.floor(Math.random() * 2 ** 32));

beforeEach((context) => {
  requireProgram(context, REDIS_SERVER);
  requireProgram(context, C_COMPILER);
});

/** Replicas under load, and 50 verifiers of their tokens. */
async function startCheckedFleet(options: Omit<FleetOptions, "factor">) {
  await using stack = new AsyncDisposableStack();
  const fleet = stack.use(await startFleet({ ...options, factor: FACTOR }));
  const { time, front } = fleet;
  const random = createRandom(options.seed);
  const maxAge = realMilliseconds(FLEET.jwksMaxAgeSeconds, time);
  const verifiers = createVerifiers({ issuer: front.issuer, maxAge }, random);
  expect(verifiers).toHaveLength(50);
  const checks = createChecks(verifiers, time, random);
  const load = startLoad(fleet, checks);
  const finish = async () => {
    await load.stop();
    await checks.finish();
  };
  stack.defer(finish);
  const owned = stack.move();
  return { fleet, checks, load, finish, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** The first key of a line replaces none. */
function rotationsOf({ kids }: Checks): number {
  return [...kids.values()].reduce((sum, { size }) => sum + size - 1, 0);
}

describe("in 200 rotations of the keys that three replicas share", () => {
  // In two fleets: a key is published for two hours after it has signed, and so many are a burden for every verifier.
  test.each([SEED, SEED + 1])(
    "no verifier refuses a token, whatever happens to replicas, Redis, clocks and the network (half of them, seed %i)",
    async (seed) => {
      await using run = await startCheckedFleet({ replicas: 3, seed });
      const { fleet, checks, load, finish } = run;
      const happened = await letChaosReign(fleet, () => rotationsOf(checks) >= 100);
      await finish();
      const { answered, unanswered } = load.counts;
      console.log(
        `${rotationsOf(checks)} rotations, ${answered} tokens (${unanswered} requests without), ${checks.count()} verifications; ${[...happened].map(([event, count]) => `${count} × ${event}`).join(", ")}`,
      );

      expect(checks.refusals).toEqual([]);
      expect(rotationsOf(checks)).toBeGreaterThanOrEqual(100);
      // Nothing of it was idle: every line, every kind of trouble, every replica.
      expect([...checks.kids.keys()].toSorted()).toEqual(LINES.map(({ name }) => name).toSorted());
      for (const kids of checks.kids.values()) expect(kids.size).toBeGreaterThan(10);
      expect([...happened.keys()].toSorted()).toEqual(CHAOS_EVENTS.toSorted());
      expect([...load.byReplica.keys()].toSorted()).toEqual([0, 1, 2]);
      for (const tokens of load.byReplica.values()) expect(tokens).toBeGreaterThan(50);
      // Nearly all, unless this machine is so busy that no replica gets to read the ring within half a second, which is a minute.
      expect(answered).toBeGreaterThan(unanswered);
      // A token, a replica that was killed, one that could not rely on its keys: nothing else.
      expect([...fleet.front.statuses.keys()].filter((status) => ![0, 200, 503].includes(status))).toEqual(
        [],
      );
    },
    150_000,
  );
});

test("where a key signs as soon as it is published, verifiers refuse tokens: the rule is what keeps them from it", async () => {
  await using run = await startCheckedFleet({ replicas: 2, seed: SEED, signsEarly: true });
  const { checks, finish } = run;
  const isRefused = () => checks.refusals.some(({ library }) => library === "jose");
  // Which verifier has an old JWK Set when a key signs for the first time is a matter of chance: one rotation is not enough.
  while (!isRefused() && rotationsOf(checks) < 100) await sleep(50);
  await finish();
  expect(isRefused()).toBe(true);
});
