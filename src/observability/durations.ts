import type { Labels, Metric, MetricValue } from "./metric.ts";

/** Upper bounds for what a network is part of, in seconds. */
export const NETWORK_SECONDS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];
/** Upper bounds for what one processor computes, in seconds. */
export const COMPUTING_SECONDS: readonly number[] = [
  0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05,
];

/** How often something took how long. To count is a search and two additions; whatever costs more waits until somebody asks. */
export class Durations {
  readonly #bounds: readonly number[];
  /** By the bound that it was within; the last is above all of them. */
  readonly #counts: Float64Array;
  #sumSeconds = 0;

  /** @param bounds in seconds, rising */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  /** Counts one. */
  add(milliseconds: number): void {
    const seconds = milliseconds / 1000;
    let index = 0;
    while (index < this.#bounds.length && seconds > (this.#bounds[index] as number)) index++;
    (this.#counts[index] as number)++;
    this.#sumSeconds += seconds;
  }

  /** The lines of a histogram called `name`. */
  values(name: string, labels: Labels): MetricValue[] {
    let count = 0;
    const buckets = [...this.#counts].map((inBucket, index) => {
      count += inBucket;
      const le = String(this.#bounds[index] ?? "+Inf");
      return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
    });
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels, value: this.#sumSeconds },
      { metricName: `${name}_count`, labels, value: count },
    ];
  }
}

/** A histogram of what is told apart by labels. */
export function histogram(
  name: string,
  help: string,
  entries: readonly (readonly [Labels, Durations])[],
): Metric {
  const values = entries.flatMap(([labels, durations]) => durations.values(name, labels));
  return { name, help, type: "histogram", aggregator: "sum", values };
}
