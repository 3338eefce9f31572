import cluster from "node:cluster";
import { fileURLToPath } from "node:url";
import type { ParsedConfig } from "../config/parse.ts";
import { passedSockets } from "../gateway/listen/inherited-socket.ts";
import { closeOnSignal, describeStop, notReadySecondsOf } from "./stop-signals.ts";
import { createSupervisor, type Worker, type WorkerEvents } from "./supervisor.ts";
import type { WorkerMessage, WorkerOrder } from "./worker-messages.ts";

/** What a worker may take to end beyond what it was told. */
const PATIENCE_SECONDS = 5;

/**
 * Runs a sidecar in several processes that share its listeners, until a signal. Each makes of the configuration what this
 * process was given, so that one which is started later is like the others.
 *
 * @param count how many
 */
export async function runWorkers({ config, source }: ParsedConfig, count: number): Promise<void> {
  const addresses = [...config.listen, config.admin].flatMap((options) => options?.address ?? []);
  const usesPassed = addresses.some(({ kind }) => kind === "systemd");
  const order: WorkerOrder = { kind: "start", source, sockets: usesPassed ? passedSockets() : [] };
  // This process makes the files of Unix sockets, and a worker opens them to whom they are for. Until then: to nobody else.
  if (addresses.some(({ kind }) => kind === "unix")) process.umask(process.umask() | 0o022);
  cluster.setupPrimary({ exec: fileURLToPath(new URL("./worker.js", import.meta.url)), args: [] });
  // Connections are handed to workers one by one, so that one which a stopping worker does not take goes to another.
  cluster.schedulingPolicy = cluster.SCHED_RR;
  const supervisor = createSupervisor({
    count,
    fork: (events) => forkWorker(order, events),
    report,
    onNoneLeft() {
      if (!usesPassed) return;
      // node:cluster has closed them with the last worker. Whoever passed them still has them, and keeps who connects waiting.
      report("no worker is left to hold the sockets that were passed; ending, to be started with them again");
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
    (signal) => describeStop(config, signal),
    () => supervisor.kill(),
  );
  const outcome = await supervisor.start();
  if (outcome.kind === "failed") process.exit(outcome.exitCode);
  console.error(`${outcome.description}\nworkers       ${count}`);
  await closed;
}

function forkWorker(start: WorkerOrder, events: WorkerEvents): Worker {
  const worker = cluster.fork();
  const send = (order: WorkerOrder) => {
    if (worker.isConnected()) worker.send(order);
  };
  worker.on("message", (message: WorkerMessage) => {
    if (message.kind === "listening") send(start);
    else if (message.kind === "ready") events.ready(message.description);
    else if (message.kind === "leaving") events.leaving();
    else send({ kind: "end" });
  });
  worker.on("exit", (code: number | null, signal: string | null) => {
    events.ended(signal === null ? `with ${code}` : `by ${signal}`, code ?? 1);
  });
  worker.on("error", (error: Error) => {
    // An order that does not arrive because the worker has just ended needs no word. One that cannot be started has no end.
    if (worker.process.pid === undefined) events.ended(`before it began: ${error.message}`, 1);
  });
  return {
    pid: worker.process.pid ?? 0,
    stop: (order) => send({ kind: "stop", ...order }),
    kill: () => worker.process.kill("SIGKILL"),
  };
}

function report(message: string): void {
  console.error(`${new Date().toISOString()} ${message}`);
}
