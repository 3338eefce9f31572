import cluster from "node:cluster";
import { join } from "node:path";
import type { ParsedConfig } from "../config/parse.ts";
import { passedSockets } from "../gateway/listen/inherited-socket.ts";
import type { Log } from "../observability/log.ts";
import { PACKAGE_FOLDER } from "../package-folder.ts";
import { type ForkedWorker, forkWorker } from "./forked-worker.ts";
import { type ReloadOptions, reloadOnChange } from "./reloading.ts";
import { SharedMetrics } from "./shared-metrics.ts";
import { closeOnSignal, describeStop, notReadySecondsOf } from "./stop-signals.ts";
import { createSupervisor } from "./supervisor.ts";
import type { WorkerOrder } from "./worker-messages.ts";
import { reloadWorkers } from "./worker-reload.ts";

/** What a worker may take to end beyond what it was told. */
const PATIENCE_SECONDS = 5;

/**
 * Runs a sidecar in several processes that share its listeners, until a signal. Each makes of the configuration what this
 * process was given, so that one which is started later is like the others.
 *
 * @param count how many
 * @param origin `file`, `text` and `read`: where the configuration comes from when that changes
 */
export async function runWorkers(
  parsed: ParsedConfig,
  count: number,
  origin: Pick<ReloadOptions, "file" | "text" | "read">,
  log: Log,
): Promise<void> {
  const { source } = parsed;
  const { subjectKey } = log;
  let { config } = parsed;
  const addresses = [...config.listen, config.admin].flatMap((options) => options?.address ?? []);
  const usesPassed = addresses.some(({ kind }) => kind === "systemd");
  const sockets = usesPassed ? passedSockets() : [];
  let start: WorkerOrder = { kind: "start", source, latest: source, sockets, subjectKey };
  const forked = new Set<ForkedWorker>();
  const metrics = new SharedMetrics(forked, count);
  // This process makes the files of Unix sockets, and a worker opens them to whom they are for. Until then: to nobody else.
  if (addresses.some(({ kind }) => kind === "unix")) process.umask(process.umask() | 0o022);
  cluster.setupPrimary({ exec: join(PACKAGE_FOLDER, "dist", "cli", "worker.js"), args: [] });
  // Connections are handed to workers one by one, so that one which a stopping worker does not take goes to another.
  cluster.schedulingPolicy = cluster.SCHED_RR;
  const supervisor = createSupervisor({
    count,
    fork(events) {
      const worker = forkWorker(
        start,
        {
          ...events,
          ended(reason, exitCode) {
            forked.delete(worker);
            events.ended(reason, exitCode);
          },
        },
        metrics.eventsOf(() => worker),
      );
      forked.add(worker);
      return worker;
    },
    report: (message, level) => log[level](message),
    onNoneLeft() {
      if (!usesPassed) return;
      // node:cluster has closed them with the last worker. Whoever passed them still has them, and keeps who connects waiting.
      log.error(
        "no worker is left to hold the sockets that were passed; ending, to be started with them again",
      );
      supervisor.kill();
      process.exit(1);
    },
  });

  const closed = closeOnSignal(
    async (signal) => {
      const notReadySeconds = notReadySecondsOf(config, signal);
      const seconds = notReadySeconds + config.timeouts.drainSeconds + PATIENCE_SECONDS;
      const hasEndedWell = await supervisor.stop({ notReadySeconds, isReplaced: false }, seconds * 1000);
      if (!hasEndedWell) process.exitCode = 1;
    },
    log,
    (signal) => describeStop(config, signal),
    () => supervisor.kill(),
  );
  const outcome = await supervisor.start();
  if (outcome.kind === "failed") process.exit(outcome.exitCode);
  await reloadOnChange({
    ...origin,
    log,
    async apply(read) {
      try {
        const needsRestart = await reloadWorkers(
          forked,
          read,
          (next) => {
            start = { kind: "start", source, latest: next.source, sockets, subjectKey };
            config = next.config;
            log.adapt(config.log);
          },
          log,
        );
        metrics.reloads.succeeded();
        return needsRestart;
      } catch (error) {
        metrics.reloads.failed();
        throw error;
      }
    },
  });
  const { text, message, fields } = outcome.description;
  log.announce(`${text}\nworkers       ${count}`, message, { ...fields, workers: count });
  await closed;
}
