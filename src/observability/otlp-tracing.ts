// The only file that loads OpenTelemetry: import it dynamically.
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import {
  defaultResource,
  detectResources,
  resourceAttributesEnvDetector,
  resourceFromAttributes,
  serviceNameEnvDetector,
} from "@opentelemetry/resources";
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { createRequestSpanMaker } from "./request-spans.ts";
import { tellingExporter } from "./telling-exporter.ts";
import type { Tracing, TracingEvent } from "./traces.ts";
import type { TracingSettings } from "./tracing-variables.ts";

/** Whoever stops a sidecar does not wait for a collector that takes nothing. */
const FLUSH_MILLISECONDS = 3000;

/** A path may have 16 KiB, and thousands of spans wait at once. */
const MAX_VALUE_LENGTH = 1024;

/**
 * Collects spans, and sends them over OTLP to where the variables of the process say. Nothing of it is global: a program that
 * uses Countersign as a library may have an OpenTelemetry of its own.
 *
 * @throws {Error} when a variable cannot be used
 */
export function openOtlpTracing(settings: TracingSettings, onEvent: (event: TracingEvent) => void): Tracing {
  const exporter = tellingExporter(new OTLPTraceExporter(), onEvent);
  const provider = new TracerProvider({
    resource: defaultResource()
      .merge(resourceFromAttributes({ "service.name": "countersign", "process.pid": process.pid }))
      .merge(detectResources({ detectors: [resourceAttributesEnvDetector, serviceNameEnvDetector] })),
    sampler: samplerOf(settings),
    spanLimits: { attributeValueLengthLimit: MAX_VALUE_LENGTH },
    spanProcessors: [new BatchSpanProcessor({ exporter, ...definedOf(settings.batch) })],
  });
  const { tracer, idle } = createRequestSpanMaker(provider.getTracer("countersign"));
  return {
    tracer,
    async close() {
      // A request that was cut ends a moment after its connection. That spans cannot be sent has been told.
      const flushed = idle()
        .then(() => provider.shutdown())
        .catch(() => {});
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, FLUSH_MILLISECONDS);
      });
      await Promise.race([flushed, late]);
      clearTimeout(timer);
    },
  };
}

function samplerOf({ sampler, ratio }: TracingSettings): Sampler {
  const root = rootSamplerOf(sampler.replace("parentbased_", ""), ratio);
  return sampler.startsWith("parentbased_") ? new ParentBasedSampler({ root }) : root;
}

function rootSamplerOf(name: string, ratio: number): Sampler {
  if (name === "always_on") return new AlwaysOnSampler();
  return name === "always_off" ? new AlwaysOffSampler() : new TraceIdRatioBasedSampler(ratio);
}

/** Without what is `undefined`. */
function definedOf<T extends object>(object: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
}
