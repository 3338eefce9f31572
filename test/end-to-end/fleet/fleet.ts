import { createRandom, type Random } from "../../issuer/keys/random.ts";
import { startBackend } from "../../support/backend.ts";
import { encryptionKey } from "../../support/redis.ts";
import { configurationOf, type TokenSource } from "./configuration.ts";
import { openLink } from "./cuttable-link.ts";
import { type FastRedis, startFastRedis } from "./fast-redis.ts";
import { type Answer, type Front, openFront } from "./front.ts";
import { createReplica, type Replica } from "./running-replica.ts";
import { type ScaledTime, startScaledTime } from "./scaled-time.ts";

/** Replicas that share a ring in Redis, and what stands in front of and behind them. */
export interface Fleet extends AsyncDisposable {
  readonly time: ScaledTime;
  /** For what happens to it alone, so that the seed decides the order. */
  readonly random: Random;
  readonly redis: FastRedis;
  readonly replicas: readonly Replica[];
  readonly front: Front;
  /** Has one of them sign a token; `undefined` where none can. */
  token(source: TokenSource): Promise<Answer | undefined>;
}

/** What {@link startFleet} takes. */
export interface FleetOptions {
  readonly replicas: number;
  /** How much faster than a clock time passes. */
  readonly factor: number;
  readonly seed: number;
  /** Breaks the rule that a key is published before it signs. */
  readonly signsEarly?: boolean;
}

/** Starts every process. */
export async function startFleet({
  replicas: count,
  factor,
  seed,
  signsEarly = false,
}: FleetOptions): Promise<Fleet> {
  await using stack = new AsyncDisposableStack();
  const time = startScaledTime(factor);
  const redis = stack.use(await startFastRedis(time));
  const key = encryptionKey();
  const replicas: Replica[] = [];
  const front = stack.use(await openFront(replicas, createRandom(seed)));
  // The backend gives back the token that it got.
  const backend = stack.use(
    await startBackend(({ headers }, response) =>
      response.end(headers.authorization?.replace("Bearer ", "")),
    ),
  );
  for (let index = 0; index < count; index++) {
    const link = stack.use(await openLink(redis.port));
    const configuration = configurationOf({
      issuer: front.issuer,
      backend: backend.url,
      redisPort: link.port,
      encryptionKey: key,
    });
    const replica = createReplica(index, link, { configuration, time, signsEarly });
    stack.defer(replica.kill);
    replicas.push(replica);
  }
  await Promise.all(replicas.map((replica) => replica.start()));
  const owned = stack.move();
  return {
    ...{ time, random: createRandom(seed), redis, replicas, front, token: front.ask },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
