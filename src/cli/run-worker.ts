import cluster from "node:cluster";
import type { Config } from "../config/config.ts";
import { type ConfigurationSource, parseConfig } from "../config/parse.ts";
import { adoptionOf } from "../config/restart.ts";
import { CountersignError, messageOf } from "../errors.ts";
import { adoptPassedSockets } from "../gateway/listen/inherited-socket.ts";
import { createLog, type Log } from "../observability/log.ts";
import { reportFailure } from "./failure.ts";
import { logProcessWarnings } from "./log-events.ts";
import { Questions } from "./questions.ts";
import { describeRunning, type StartedSidecar, startSidecar } from "./running.ts";
import type { ReloadOrder, WorkerMessage, WorkerOrder, WorkerReloadOutcome } from "./worker-messages.ts";

/** How often what was counted is reported unasked: so much is lost at most when this process is killed. */
const REPORT_MILLISECONDS = 5000;

/** Runs the sidecar of one worker, as the process that started it orders. */
export function runWorker(): void {
  let starting: Promise<StartedSidecar> | undefined;
  let isReady = false;
  const begun = Promise.withResolvers<StartedSidecar>();
  const ended = Promise.withResolvers<void>();
  const questions = new Questions(() => tell({ kind: "metrics-wanted" }));

  process.on("message", async (order: WorkerOrder) => {
    if (order.kind === "start") {
      starting = start(order, () => questions.ask());
      begun.resolve(starting);
      const started = await starting;
      isReady = true;
      setInterval(() => report(started), REPORT_MILLISECONDS).unref();
    } else if (order.kind === "reload") {
      // It may come before the order to start.
      tell({ kind: "reloaded", ...(await reload(await begun.promise, order)) });
    } else if (order.kind === "metrics") {
      const started = await starting;
      if (started) report(started);
    } else if (order.kind === "metrics-text") {
      questions.answer(order.text);
    } else if (order.kind === "stop") {
      // One that waits for its keys has nothing under way.
      if (!isReady) process.exit();
      const started = await starting;
      await started?.sidecar.close(order);
      if (started) report(started);
      tell({ kind: "closed" });
      // A connection may be on its way here. It goes back, to another worker; but not if this process is gone.
      await ended.promise;
      process.exit();
    } else ended.resolve();
  });

  // Who started this process is gone, and so are the listeners. Without this, node:cluster ends a worker at once.
  process.prependOnceListener("disconnect", async () => {
    if (cluster.worker) cluster.worker.exitedAfterDisconnect = true;
    await (await starting)?.sidecar.close();
    process.exit();
  });

  // A terminal sends it to every process, and it is for the first to say what becomes of the others.
  process.on("SIGINT", () => {});
  process.on("SIGHUP", () => {});
  process.once("SIGTERM", () => {
    tell({ kind: "leaving" });
    process.once("SIGTERM", () => process.exit(1));
  });

  tell({ kind: "listening" });
}

async function start(
  { source, latest, sockets, subjectKey }: Extract<WorkerOrder, { kind: "start" }>,
  metricsText: () => Promise<string>,
): Promise<StartedSidecar> {
  let log: Log | undefined;
  try {
    adoptPassedSockets(sockets);
    const { config } = adoptionOf(configOf(latest), configOf(source));
    log = createLog(config.log, { subjectKey });
    logProcessWarnings(log);
    const started = await startSidecar(config, log, metricsText);
    tell({ kind: "ready", description: describeRunning(config, started.running) });
    return started;
  } catch (error) {
    process.exit(reportFailure(error, log));
  }
}

async function reload(started: StartedSidecar, order: ReloadOrder): Promise<WorkerReloadOutcome> {
  try {
    const needsRestart = await started.reload(() => {
      if ("problem" in order) throw new Error(order.problem);
      return configOf(order.source);
    });
    return { needsRestart };
  } catch (error) {
    const isStopping = error instanceof CountersignError && error.code === "ERR_NOT_RUNNING";
    return isStopping ? { isStopping } : { problem: messageOf(error) };
  }
}

/** Says what was counted; nothing where nobody can ask for it. */
function report({ sidecar }: StartedSidecar): void {
  const metrics = sidecar.metrics();
  if (metrics.length > 0) tell({ kind: "metrics", metrics });
}

function configOf({ text, options }: ConfigurationSource): Config {
  return parseConfig(text, options).config;
}

function tell(message: WorkerMessage): void {
  // Where nobody hears it any more, this process is about to end.
  if (process.connected) process.send?.(message, () => {});
}
