/** Names and values of labels. Values are taken from sets that do not grow with what clients send. */
export type Labels = Readonly<Record<string, string>>;

/** One line of a metric. */
export interface MetricValue {
  readonly labels: Labels;
  readonly value: number;
  /** Where it is not that of the metric: the lines of a histogram have suffixes. */
  readonly metricName?: string;
}

/** How the values of several processes become one. `first`: what the process that has started the others says counts. */
export type Aggregator = "sum" | "min" | "max" | "first";

/** A metric at one moment; in the form that prom-client aggregates, and that passes between processes. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly aggregator: Aggregator;
  readonly values: readonly MetricValue[];
}

/** The one value of a metric without labels. */
export function only(value: number): readonly MetricValue[] {
  return [{ labels: {}, value }];
}

/** A number that never becomes smaller while the process lives. */
export function counter(
  name: string,
  help: string,
  values: readonly MetricValue[],
  aggregator: Aggregator = "sum",
): Metric {
  return { name, help, type: "counter", aggregator, values };
}

/** A number as it is now. */
export function gauge(
  name: string,
  help: string,
  values: readonly MetricValue[],
  aggregator: Aggregator,
): Metric {
  return { name, help, type: "gauge", aggregator, values };
}
