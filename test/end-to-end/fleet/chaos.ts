import { setTimeout as sleep } from "node:timers/promises";
import { BASE_PATH, FLEET, LINES } from "./configuration.ts";
import type { LinkState } from "./cuttable-link.ts";
import type { Fleet } from "./fleet.ts";
import type { Replica } from "./running-replica.ts";

/** What happens to a fleet. Each resolves when it was seen to have had its effect, and is over. */
const EVENTS = {
  /** A replica is killed, and another one takes its place. */
  async "a replica was killed and started again"(fleet: Fleet) {
    const replica = fleet.random.pick(fleet.replicas);
    const before = replica.pid();
    await replica.kill();
    await sleep(fleet.random.integer(100, 600));
    await replica.start();
    await until("a replica that was started is ready", replica.isReady);
    if (replica.pid() === before) throw new Error("it is the process that was killed");
  },

  async "Redis was restarted"(fleet: Fleet) {
    await fleet.redis.restart("everything", fleet.random.integer(0, 500));
    // Maybe not the newest: what it was told in the last second need not be on its disk. A replica puts that back.
    if ((await storedVersion(fleet)) === 0) throw new Error("Redis has forgotten the ring");
    await allReady(fleet);
  },

  /**
   * The ring is put back by whoever knows it. A replica that starts before that would begin another one, whose keys nobody
   * knows (docs/keys.md): here, none does.
   */
  async "Redis was restarted with nothing"(fleet: Fleet) {
    const before = await signingKids(fleet);
    await fleet.redis.restart("nothing", fleet.random.integer(0, 500));
    await until("the ring is put back", async () => (await storedVersion(fleet)) > 0);
    await allReady(fleet);
    const after = await publishedKids(fleet);
    const lost = before.filter((kid) => !after.includes(kid));
    if (lost.length > 0) throw new Error(`keys are published no more: ${lost}`);
  },

  async "a replica was cut off from Redis, refused"(fleet: Fleet) {
    await cut(fleet, "refused");
  },

  async "a replica was cut off from Redis, its packets lost"(fleet: Fleet) {
    await cut(fleet, "swallowed");
  },

  /** As far as is allowed, but for a second. */
  async "a clock was wrong"(fleet: Fleet) {
    const replica = fleet.random.pick(fleet.replicas);
    const seconds = (FLEET.clockSkewSeconds - 1) * (fleet.random.chance(0.5) ? 1 : -1);
    replica.setSkew(seconds);
    await until("a replica knows of its wrong clock", async () => {
      const ahead = await replica.clockAheadSeconds();
      return Math.sign(ahead) === Math.sign(seconds) && Math.abs(ahead) > FLEET.clockSkewSeconds / 2;
    });
    await sleep(1000);
    replica.setSkew(0);
  },
};

/** The name of something that happens. */
export type ChaosEvent = keyof typeof EVENTS;

export const CHAOS_EVENTS = Object.keys(EVENTS) as readonly ChaosEvent[];

/**
 * Lets one thing happen after another, each at least once and as often as any other, in an order that the seed of the
 * fleet decides.
 *
 * @param isOver asked before each
 * @returns how often each has happened
 * @throws {Error} when one had not its effect
 */
export async function letChaosReign(
  fleet: Fleet,
  isOver: () => boolean,
): Promise<ReadonlyMap<ChaosEvent, number>> {
  const counts = new Map<ChaosEvent, number>();
  let left: ChaosEvent[] = [];
  while (!isOver() || counts.size < CHAOS_EVENTS.length) {
    if (left.length === 0) left = [...CHAOS_EVENTS];
    const [event] = left.splice(fleet.random.integer(0, left.length - 1), 1) as [ChaosEvent];
    await EVENTS[event](fleet);
    counts.set(event, (counts.get(event) ?? 0) + 1);
    await sleep(fleet.random.integer(0, 800));
  }
  return counts;
}

async function cut(fleet: Fleet, state: LinkState): Promise<void> {
  const replica: Replica = fleet.random.pick(fleet.replicas);
  replica.link.set(state);
  await until("a replica that is cut off is not ready", async () => !(await replica.isReady()));
  await sleep(fleet.random.integer(0, 800));
  replica.link.set("open");
  await until("a replica that was cut off is ready again", replica.isReady);
}

async function allReady({ replicas }: Fleet): Promise<void> {
  for (const replica of replicas) await until("every replica is ready again", replica.isReady);
}

/** 0 where there is no ring. */
async function storedVersion({ redis }: Fleet): Promise<number> {
  return Number(await redis.command("HGET", "countersign:ring", "version"));
}

/** Those that sign stand first. */
async function signingKids(fleet: Fleet): Promise<readonly string[]> {
  return (await publishedKids(fleet)).slice(0, LINES.length);
}

/** Of whichever replica can tell: on a busy machine there may be none for a moment. */
async function publishedKids({ front }: Fleet): Promise<readonly string[]> {
  let answer: Awaited<ReturnType<typeof front.ask>>;
  await until("a replica shows its keys", async () => {
    answer = await front.ask({ listener: "url", path: `${BASE_PATH}/.well-known/jwks.json` });
    return answer !== undefined;
  });
  const { keys }: { keys: readonly { kid: string }[] } = JSON.parse(String(answer?.body));
  return keys.map(({ kid }) => kid);
}

const PATIENCE_MILLISECONDS = 30_000;

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + PATIENCE_MILLISECONDS; Date.now() < end; await sleep(80))
    if (await isSo()) return;
  throw new Error(`waited for nothing: ${what}`);
}
