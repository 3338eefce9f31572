import cluster, { type Worker as ClusterWorker } from "node:cluster";
import type { Metric } from "../observability/metric.ts";
import { keepConnectionsUnderWay } from "./connections-under-way.ts";
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
  /**
   * Has it report what it has counted.
   *
   * @returns when that is known, whether it has: not one that has ended, or answers no requests yet
   */
  askForMetrics(): Promise<boolean>;
}

/** What a worker says of what is counted. */
export interface MetricsEvents {
  /** This it has counted by now. */
  reported(metrics: readonly Metric[]): void;
  /** It reports nothing any more. */
  silent(): void;
  /**
   * Somebody wants to know what all workers have counted.
   *
   * @returns that, in the text format of Prometheus
   */
  wanted(): Promise<string>;
}

/** Those that take connections. */
const taking = new Set<ClusterWorker>();

/** Starts a process that answers requests. */
export function forkWorker(
  start: WorkerOrder,
  events: WorkerEvents,
  metricsEvents: MetricsEvents,
): ForkedWorker {
  const worker = cluster.fork();
  worker.on("disconnect", () => taking.delete(worker));
  keepConnectionsUnderWay(worker, () => taking.size > 0);
  /** Who waits to hear of a configuration, in the order in which they were sent. */
  const reloads: ((outcome: WorkerReloadOutcome | undefined) => void)[] = [];
  /** Who waits for a report. */
  const reports: ((hasReported: boolean) => void)[] = [];
  const endWaiting = (hasReported: boolean) => {
    for (const resolve of reports.splice(0)) resolve(hasReported);
  };
  let isReady = false;
  const send = (order: WorkerOrder) => {
    if (worker.isConnected()) worker.send(order);
  };
  worker.on("message", (message: WorkerMessage) => {
    if (message.kind === "listening") send(start);
    else if (message.kind === "ready") {
      isReady = true;
      taking.add(worker);
      events.ready(message.description);
    } else if (message.kind === "metrics") {
      metricsEvents.reported(message.metrics);
      endWaiting(true);
    } else if (message.kind === "metrics-wanted")
      // Where it fails there is no answer, and the worker says so.
      void metricsEvents.wanted().then(
        (text) => send({ kind: "metrics-text", text }),
        () => {},
      );
    else if (message.kind === "leaving") events.leaving();
    else if (message.kind === "reloaded") reloads.shift()?.(message);
    else send({ kind: "end" });
  });
  // Behind everything that it has said.
  worker.on("disconnect", () => {
    metricsEvents.silent();
    endWaiting(false);
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
    stop(order) {
      taking.delete(worker);
      send({ kind: "stop", ...order });
    },
    kill: () => worker.process.kill("SIGKILL"),
    askForMetrics() {
      if (!isReady || !worker.isConnected()) return Promise.resolve(false);
      const { promise, resolve } = Promise.withResolvers<boolean>();
      reports.push(resolve);
      send({ kind: "metrics" });
      return promise;
    },
    reload(order) {
      if (!worker.isConnected()) return Promise.resolve(undefined);
      const { promise, resolve } = Promise.withResolvers<WorkerReloadOutcome | undefined>();
      reloads.push(resolve);
      send({ kind: "reload", ...order });
      return promise;
    },
  };
}
