import { gauge, type Metric, type MetricValue, only } from "./metric.ts";
import { joined, textOf } from "./metrics-text.ts";

/** How many processes answer requests, and how many of them the metrics lack. */
export function workerMetrics(reporting: number, missing: number): readonly Metric[] {
  return [
    gauge("countersign_workers", "Processes whose metrics these are.", only(reporting), "first"),
    gauge(
      "countersign_workers_missing",
      "Processes that did not say in time what they have counted, or that have ended and are not back.",
      only(missing),
      "first",
    ),
  ];
}

/**
 * The metrics of several processes as those of one. What a process has counted stays counted when it ends: no counter
 * goes backwards.
 */
export class MetricsOfWorkers<W> {
  readonly #latest = new Map<W, readonly Metric[]>();
  #ended: Promise<readonly Metric[]> = Promise.resolve([]);

  /** Keeps what a worker has counted by now. */
  report(worker: W, metrics: readonly Metric[]): void {
    this.#latest.set(worker, metrics);
  }

  /** Keeps the counters of a worker that has ended, and of nothing else. */
  end(worker: W): void {
    const last = this.#latest.get(worker);
    if (!last) return;
    this.#latest.delete(worker);
    // Where that fails, for want of a file descriptor say, its counts are lost; what the others have counted is not.
    this.#ended = this.#ended.then((ended) =>
      joined([withoutOldKeys(ended, [last]), countersOf(last)]).catch(() => ended),
    );
  }

  /**
   * The text for Prometheus.
   *
   * @param own those of the process that has started the workers
   * @param isCurrent whether a worker has just reported; of others only the counters are told
   */
  async text(own: readonly Metric[], isCurrent: (worker: W) => boolean): Promise<string> {
    // Both at once: what moves from the one to the other is in exactly one of them.
    const live = [...this.#latest].map(([worker, metrics]) =>
      isCurrent(worker) ? metrics : countersOf(metrics),
    );
    const ended = await this.#ended;
    return textOf([own, ...live, withoutOldKeys(ended, live)]);
  }
}

function countersOf(metrics: readonly Metric[]): readonly Metric[] {
  return metrics.filter(({ type }) => type !== "gauge");
}

/** A key that no process publishes any more is told of no more. */
function withoutOldKeys(
  metrics: readonly Metric[],
  living: readonly (readonly Metric[])[],
): readonly Metric[] {
  const kidsIn = ({ values }: Metric) => values.map(({ labels }) => labels.kid);
  const known = new Set(living.flat().flatMap(kidsIn));
  const isKnown = ({ labels: { kid } }: MetricValue) => kid === undefined || known.has(kid);
  return metrics.map((metric) => ({ ...metric, values: metric.values.filter(isKnown) }));
}
