import { ExportResultCode } from "@opentelemetry/core";
import type { SpanExporter } from "@opentelemetry/sdk-trace";
import { reasonOf } from "../errors.ts";
import type { TracingEvent } from "./traces.ts";

/** An exporter of whose failures the operator is told: of the first, and when spans are taken again; not of each batch. */
export function tellingExporter(
  exporter: SpanExporter,
  onEvent: (event: TracingEvent) => void,
): SpanExporter {
  let isFailing = false;
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        const hasFailed = result.code !== ExportResultCode.SUCCESS;
        if (hasFailed !== isFailing) onEvent(hasFailed ? failure(result.error) : RECOVERED);
        isFailing = hasFailed;
        done(result);
      });
    },
    forceFlush: async () => exporter.forceFlush?.(),
    shutdown: () => exporter.shutdown(),
  };
}

const RECOVERED: TracingEvent = { kind: "recovered", message: "the collector takes spans again" };

function failure(error: unknown): TracingEvent {
  return {
    kind: "problem",
    message: `the collector does not take spans, which are lost until it does: ${reasonOf(error)}`,
  };
}
