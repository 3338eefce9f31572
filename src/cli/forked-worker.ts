import cluster from "node:cluster";
import type { Worker, WorkerEvents } from "./supervisor.ts";
import type { ReloadOrder, WorkerMessage, WorkerOrder, WorkerReloadOutcome } from "./worker-messages.ts";

/** A worker that is a process of node:cluster. */
export interface ForkedWorker extends Worker {
  /**
   * Tells it to use another configuration.
   *
   * @returns what became of that; `undefined` where the worker ended before it said so
   */
  reload(order: ReloadOrder): Promise<WorkerReloadOutcome | undefined>;
}

/** Starts a process that answers requests. */
export function forkWorker(start: WorkerOrder, events: WorkerEvents): ForkedWorker {
  const worker = cluster.fork();
  /** Who waits to hear of a configuration, in the order in which they were sent. */
  const reloads: ((outcome: WorkerReloadOutcome | undefined) => void)[] = [];
  const send = (order: WorkerOrder) => {
    if (worker.isConnected()) worker.send(order);
  };
  worker.on("message", (message: WorkerMessage) => {
    if (message.kind === "listening") send(start);
    else if (message.kind === "ready") events.ready(message.description);
    else if (message.kind === "leaving") events.leaving();
    else if (message.kind === "reloaded") reloads.shift()?.(message);
    else send({ kind: "end" });
  });
  worker.on("exit", (code: number | null, signal: string | null) => {
    for (const resolve of reloads.splice(0)) resolve(undefined);
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
    reload(order) {
      if (!worker.isConnected()) return Promise.resolve(undefined);
      const { promise, resolve } = Promise.withResolvers<WorkerReloadOutcome | undefined>();
      reloads.push(resolve);
      send({ kind: "reload", ...order });
      return promise;
    },
  };
}
