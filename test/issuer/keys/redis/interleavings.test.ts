import { expect, test } from "vitest";
import { type ManagedKeysOptions, openManagedKeys } from "../../../../src/issuer/keys/managed-keys.ts";
import { createRedisStore } from "../../../../src/issuer/keys/redis/redis-store.ts";
import { pendingSecondsOf, type Rotation } from "../../../../src/issuer/keys/ring.ts";
import type { KeyStore } from "../../../../src/issuer/keys/store.ts";
import { REDIS_SERVER, requireProgram } from "../../../support/programs.ts";
import { encryptionKey, startRedis } from "../../../support/redis.ts";
import { NOW, needFor } from "../key-material.ts";
import { createRandom, type Random } from "../random.ts";

const ROTATIONS = 1000;
/** Each has a ring of its own: while one waits for Redis, the others go on. */
const PAIRS = 10;
const ROTATION: Rotation = {
  everySeconds: 86_400,
  overlapSeconds: 300,
  fleet: { clockSkewSeconds: 30, jwksMaxAgeSeconds: 300 },
};

/** Lets one of those who wait go on, by a seed, whenever everybody who runs waits. */
function createSchedule(random: Random) {
  const waiting: (() => void)[] = [];
  return {
    turn: () => new Promise<void>((resolve) => waiting.push(resolve)),
    async run(jobs: readonly (() => Promise<void>)[]): Promise<void> {
      let running = jobs.length;
      const all = Promise.all(jobs.map((job) => job().finally(() => running--)));
      while (running > 0) {
        if (waiting.length < running) await new Promise(setImmediate);
        else waiting.splice(random.integer(0, waiting.length - 1), 1)[0]?.();
      }
      await all;
    },
  };
}

/** What came of the rotations of two replicas. */
interface Outcome {
  /** The kids of the keys that were made. */
  readonly made: ReadonlySet<string>;
  /** How often one had to look again. */
  readonly conflicts: number;
}

/** Has two replicas of a ring rotate it at the same instants, in an order of their steps that the seed decides. */
async function rotateTogether(port: number, seed: number, rotations: number): Promise<Outcome> {
  const schedule = createSchedule(createRandom(seed));
  let conflicts = 0;
  let isScheduled = false;
  let now = NOW;

  /** Each step of the store waits for its turn. The clock is the test's alone. */
  function scheduled(store: KeyStore): KeyStore {
    const turn = () => (isScheduled ? schedule.turn() : undefined);
    return {
      ...store,
      async load() {
        await turn();
        const { clock: _, ...stored } = await store.load();
        return stored;
      },
      async save(ring, version) {
        await turn();
        const saved = await store.save(ring, version);
        if (saved === undefined) conflicts++;
        return saved;
      },
      // Nobody does anything out of turn.
      watch: () => ({ close() {} }),
    };
  }

  const encryption = { text: encryptionKey() };
  const options: Omit<ManagedKeysOptions, "store"> = {
    ...{ rotation: ROTATION, needs: [needFor()], now: () => now, onEvent() {} },
  };
  const openReplica = () =>
    openManagedKeys({
      ...options,
      store: scheduled(
        createRedisStore(
          {
            place: { kind: "server", server: { host: "127.0.0.1", port }, database: 0 },
            ...{ prefix: `${seed}:`, credentials: { username: undefined, password: undefined } },
            ...{ tls: undefined, encryption },
          },
          () => now,
        ),
      ),
    });
  const replicas = [await openReplica(), await openReplica()];
  const made = new Set<string>();
  for (let rotation = 0; rotation < rotations; rotation++) {
    now = NOW + (rotation + 1) * 86_400_000 - pendingSecondsOf(ROTATION) * 1000;
    isScheduled = true;
    await schedule.run(replicas.map((replica) => () => replica.refresh()));
    isScheduled = false;
    const [a, b] = replicas.map((replica) => replica.status().filter(({ state }) => state === "pending"));
    if (a?.length !== 1 || b?.length !== 1 || a[0]?.kid !== b[0]?.kid)
      expect.fail(`seed ${seed}, rotation ${rotation}: ${JSON.stringify([a, b])}`);
    made.add(String(a[0]?.kid));
  }
  await Promise.all(replicas.map((replica) => replica.close()));
  return { made, conflicts };
}

test("two replicas that rotate at the same instant make one new key, in 1000 interleavings", async (context) => {
  requireProgram(context, REDIS_SERVER);
  await using redis = await startRedis();
  const seeds = Array.from({ length: PAIRS }, (_, index) => index + 1);
  const outcomes = await Promise.all(
    seeds.map((seed) => rotateTogether(redis.port, seed, ROTATIONS / PAIRS)),
  );
  expect(new Set(outcomes.flatMap(({ made }) => [...made])).size).toBe(ROTATIONS);
  // They got into each other's way, or this would say nothing.
  const conflicts = outcomes.reduce((sum, outcome) => sum + outcome.conflicts, 0);
  expect(conflicts).toBeGreaterThan(ROTATIONS / 10);
}, 180_000);
