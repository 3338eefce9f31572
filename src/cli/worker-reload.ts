import type { ParsedConfig } from "../config/parse.ts";
import { messageOf } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import type { ForkedWorker } from "./forked-worker.ts";

/**
 * Has all workers use another configuration. One of them tries it first: what it cannot open, the others need not try.
 *
 * @param workers those of the moment; more may come meanwhile
 * @param adopt has the workers that are started from here on use it
 * @returns the keys that have no effect before a restart
 * @throws {Error} why the configuration before goes on, in every worker
 */
export async function reloadWorkers(
  workers: ReadonlySet<ForkedWorker>,
  read: () => Promise<ParsedConfig>,
  adopt: (parsed: ParsedConfig) => void,
  log: Log,
): Promise<readonly string[]> {
  const asked = new Set<ForkedWorker>();
  const rest = () => [...workers].filter((worker) => !asked.has(worker));

  const giveUp = async (reason: unknown): Promise<never> => {
    const problem = messageOf(reason);
    await Promise.all(rest().map((worker) => worker.reload({ problem })));
    throw reason;
  };

  const parsed = await read().catch(giveUp);
  const order = { source: parsed.source };
  let needsRestart: readonly string[] = [];
  for (const worker of workers) {
    asked.add(worker);
    const outcome = await worker.reload(order);
    // It has ended; another one may say more.
    if (!outcome) continue;
    if ("problem" in outcome) return giveUp(new Error(outcome.problem));
    ({ needsRestart } = outcome);
    break;
  }
  adopt(parsed);
  while (rest().length > 0)
    await Promise.all(
      rest().map(async (worker) => {
        asked.add(worker);
        const outcome = await worker.reload(order);
        if (outcome && "problem" in outcome)
          log.error(`worker ${worker.pid} goes on with the configuration before`, {
            worker: worker.pid,
            problem: outcome.problem,
          });
      }),
    );
  return needsRestart;
}
