import { setTimeout as sleep } from "node:timers/promises";
import type { Metric } from "../observability/metric.ts";
import { ProcessMetrics } from "../observability/process-metrics.ts";
import { ReloadMetrics } from "../observability/reload-metrics.ts";
import { MetricsOfWorkers, workerMetrics } from "../observability/worker-metrics.ts";
import type { ForkedWorker, MetricsEvents } from "./forked-worker.ts";

/** For how long workers are waited for that do not say what they have counted. A scrape waits for longer. */
const PATIENCE_MILLISECONDS = 1000;

/** The metrics of all workers, in the process that has started them. */
export class SharedMetrics {
  readonly reloads = new ReloadMetrics(Date.now);
  readonly #process = new ProcessMetrics();
  readonly #ofWorkers = new MetricsOfWorkers<ForkedWorker>();
  readonly #workers: ReadonlySet<ForkedWorker>;
  readonly #count: number;
  #reading: Promise<string> | undefined;

  /**
   * @param workers those of the moment
   * @param count how many there should be
   */
  constructor(workers: ReadonlySet<ForkedWorker>, count: number) {
    this.#workers = workers;
    this.#count = count;
  }

  /** Hears what a worker says of what is counted. */
  eventsOf(worker: () => ForkedWorker): MetricsEvents {
    return {
      reported: (metrics) => this.#ofWorkers.report(worker(), metrics),
      silent: () => this.#ofWorkers.end(worker()),
      wanted: () => this.#read(),
    };
  }

  /** Who asks while the workers are being asked gets the same answer. */
  #read(): Promise<string> {
    this.#reading ??= this.#askAll().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #askAll(): Promise<string> {
    const heard = new Set<ForkedWorker>();
    const over = new AbortController();
    const asked = [...this.#workers].map(async (worker) => {
      if (await worker.askForMetrics()) heard.add(worker);
    });
    const patience = sleep(PATIENCE_MILLISECONDS, undefined, { signal: over.signal }).catch(() => {});
    await Promise.race([Promise.all(asked), patience]);
    over.abort();
    return this.#ofWorkers.text(this.#own(heard.size), (worker) => heard.has(worker));
  }

  #own(heard: number): readonly Metric[] {
    return [
      ...workerMetrics(heard, Math.max(0, this.#count - heard)),
      ...this.reloads.metrics(),
      ...this.#process.metrics(),
    ];
  }
}
