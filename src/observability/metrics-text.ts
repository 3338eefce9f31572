import type { Registry } from "prom-client";
import type { Metric } from "./metric.ts";

/** The metrics of one or more processes in the text format of Prometheus, as those of one. */
export async function textOf(processes: readonly (readonly Metric[])[]): Promise<string> {
  return (await registryOf(processes)).metrics();
}

/** The metrics of several processes as those of one. */
export async function joined(processes: readonly (readonly Metric[])[]): Promise<readonly Metric[]> {
  const metrics = await (await registryOf(processes)).getMetricsAsJSON();
  // For prom-client the type of a metric is an enum, which its JSON has not.
  return metrics as unknown as readonly Metric[];
}

async function registryOf(processes: readonly (readonly Metric[])[]): Promise<Registry> {
  // It takes long to load, and many a sidecar is never asked.
  const { AggregatorRegistry } = await import("prom-client");
  return AggregatorRegistry.aggregate(processes.map((metrics) => [...metrics]));
}
