import type { ParsedConfig } from "../config/parse.ts";
import { messageOf } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import type { ForkedWorker } from "./forked-worker.ts";
import type { ReloadOrder } from "./worker-messages.ts";

/** A worker that hangs, in the code of a policy or on its disk, does not keep the others from what they are told. */
const PATIENCE_MILLISECONDS = 30_000;

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

  /** @returns what became of it; `undefined` where the worker is not one to say */
  const tell = async (worker: ForkedWorker, order: ReloadOrder) => {
    asked.add(worker);
    const late = Promise.withResolvers<"late">();
    const patience = setTimeout(() => late.resolve("late"), PATIENCE_MILLISECONDS);
    const outcome = await Promise.race([worker.reload(order), late.promise]);
    clearTimeout(patience);
    if (outcome === "late") {
      log.error(`worker ${worker.pid} does not say whether it uses the new configuration`, {
        worker: worker.pid,
      });
      return undefined;
    }
    // It has ended, or does so: another one may say more.
    return outcome && "isStopping" in outcome ? undefined : outcome;
  };

  const giveUp = async (reason: unknown): Promise<never> => {
    const problem = messageOf(reason);
    await Promise.all(rest().map((worker) => tell(worker, { problem })));
    throw reason;
  };

  const parsed = await read().catch(giveUp);
  const order = { source: parsed.source };
  let needsRestart: readonly string[] | undefined;
  for (const worker of workers) {
    const outcome = await tell(worker, order);
    if (!outcome) continue;
    if ("problem" in outcome) return giveUp(new Error(outcome.problem));
    ({ needsRestart } = outcome);
    break;
  }
  // It would be tried by those that are started next, and there would be no way back.
  if (!needsRestart)
    return giveUp(new Error("no process runs at this moment that could try it; SIGHUP has it tried again"));
  adopt(parsed);
  while (rest().length > 0)
    await Promise.all(
      rest().map(async (worker) => {
        const outcome = await tell(worker, order);
        if (outcome && "problem" in outcome)
          log.error(`worker ${worker.pid} goes on with the configuration before`, {
            worker: worker.pid,
            problem: outcome.problem,
          });
      }),
    );
  return needsRestart;
}
