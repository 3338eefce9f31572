import type { Checks } from "./checks.ts";
import { LINES } from "./configuration.ts";
import type { Fleet } from "./fleet.ts";
import { scaledNow } from "./scaled-time.ts";

/** Requests for tokens of every line, one after the other, at a steady rate. */
export interface Load {
  /** How many were answered with a token, and how many were not. */
  readonly counts: { answered: number; unanswered: number };
  /** How many tokens each replica has signed. */
  readonly byReplica: ReadonlyMap<number, number>;
  /** Resolves when the last answer is there. */
  stop(): Promise<void>;
}

const INTERVAL_MILLISECONDS = 50;

/** Begins to ask, and has each token verified. */
export function startLoad(fleet: Fleet, checks: Checks): Load {
  const counts = { answered: 0, unanswered: 0 };
  const byReplica = new Map<number, number>();
  const underWay = new Set<Promise<void>>();
  let next = 0;

  async function ask(): Promise<void> {
    const line = LINES[next++ % LINES.length] as (typeof LINES)[number];
    const sentAt = scaledNow(fleet.time);
    const answer = await fleet.token(line);
    if (!answer) {
      counts.unanswered++;
      return;
    }
    counts.answered++;
    byReplica.set(answer.replica, (byReplica.get(answer.replica) ?? 0) + 1);
    checks.check(line.name, answer.body.toString(), sentAt);
  }

  const interval = setInterval(() => {
    const asked = ask().finally(() => underWay.delete(asked));
    underWay.add(asked);
  }, INTERVAL_MILLISECONDS);
  return {
    ...{ counts, byReplica },
    async stop() {
      clearInterval(interval);
      while (underWay.size > 0) await Promise.all(underWay);
    },
  };
}
