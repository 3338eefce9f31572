import { reasonOf } from "../errors.ts";
import type { Tracing, TracingEvent } from "./traces.ts";
import { tracingVariablesOf } from "./tracing-variables.ts";

/**
 * Begins to collect traces where the variables of the process ask for it. Only then is anything of OpenTelemetry loaded, as
 * that takes time and memory. Requests matter more than traces: what cannot be had is told, and no more.
 *
 * @param onEvent told of variables that cannot be used, and of a collector that takes nothing, once
 * @returns `undefined` where there are no traces
 */
export async function openTracing(onEvent: (event: TracingEvent) => void): Promise<Tracing | undefined> {
  const variables = tracingVariablesOf(process.env);
  for (const message of variables.problems) onEvent({ kind: "problem", message });
  if (variables.kind === "off") return undefined;
  try {
    const { openOtlpTracing } = await import("./otlp-tracing.ts");
    return openOtlpTracing(variables.settings, onEvent);
  } catch (error) {
    onEvent({ kind: "problem", message: `no traces are sent: ${reasonOf(error)}` });
    return undefined;
  }
}
