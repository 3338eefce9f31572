/** How traces are collected, as the standard variables of OpenTelemetry say. */
export interface TracingSettings {
  readonly sampler: SamplerName;
  /** For the samplers that take a share of the traces: between 0 and 1. */
  readonly ratio: number;
  /** What is `undefined` is as OpenTelemetry has it. */
  readonly batch: {
    readonly scheduledDelayMillis: number | undefined;
    readonly exportTimeoutMillis: number | undefined;
    readonly maxQueueSize: number | undefined;
    readonly maxExportBatchSize: number | undefined;
  };
}

/** What became of the variables. */
export type TracingVariables =
  | { readonly kind: "off"; readonly problems: readonly string[] }
  | { readonly kind: "on"; readonly settings: TracingSettings; readonly problems: readonly string[] };

/** Variables of a process, by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

const SAMPLERS = [
  "always_on",
  "always_off",
  "traceidratio",
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
] as const;

/** The samplers that are known here, by the names of OpenTelemetry. */
export type SamplerName = (typeof SAMPLERS)[number];

const OFF: TracingVariables = { kind: "off", problems: [] };

/** A longer time would be none to `setTimeout`. */
const MAX_NUMBER = 2 ** 31 - 1;

/**
 * Reads whether traces are asked for, and how they are taken. What cannot be used is told, and is as if it were not set: that
 * is what OpenTelemetry asks for. Where spans go (the other variables of `OTEL_EXPORTER_OTLP_…`) and what they are told to be of
 * (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`) is read by its own packages.
 *
 * @see https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
export function tracingVariablesOf(env: Environment): TracingVariables {
  const problems: string[] = [];
  const read = (name: string) => env[name]?.trim() || undefined;
  const endpoint = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"].find(read);
  if (!endpoint || read("OTEL_SDK_DISABLED")?.toLowerCase() === "true") return OFF;

  const exporters = (read("OTEL_TRACES_EXPORTER") ?? "otlp").split(",").map((name) => name.trim());
  if (!exporters.includes("otlp")) {
    if (!exporters.includes("none"))
      problems.push("OTEL_TRACES_EXPORTER knows otlp and none; no traces are sent");
    return { kind: "off", problems };
  }
  // Its value may hold a password.
  if (!/^https?:$/.test(URL.parse(read(endpoint) as string)?.protocol ?? ""))
    return { kind: "off", problems: [`${endpoint} is no URL of http or https; no traces are sent`] };
  const protocol = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"].find(read);
  if (protocol && read(protocol) !== "http/protobuf")
    problems.push(`${protocol} knows http/protobuf, which is spoken whatever it says`);

  const number = (name: string, isRight: (value: number) => boolean, expected: string) => {
    const text = read(name);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (isRight(value)) return value;
    problems.push(`${name} is not used: expected ${expected}`);
    return undefined;
  };
  const count = (name: string, least: number) =>
    number(
      name,
      (value) => Number.isInteger(value) && value >= least && value <= MAX_NUMBER,
      `a whole number from ${least}`,
    );
  const named = read("OTEL_TRACES_SAMPLER");
  const sampler = SAMPLERS.find((name) => name === named);
  if (named !== undefined && sampler === undefined)
    problems.push(`OTEL_TRACES_SAMPLER is not used: expected one of ${SAMPLERS.join(", ")}`);
  return {
    kind: "on",
    problems,
    settings: {
      sampler: sampler ?? "parentbased_always_on",
      ratio:
        (sampler?.endsWith("traceidratio")
          ? number(
              "OTEL_TRACES_SAMPLER_ARG",
              (value) => value >= 0 && value <= 1,
              "a number between 0 and 1, and so every trace is taken",
            )
          : undefined) ?? 1,
      batch: {
        scheduledDelayMillis: count("OTEL_BSP_SCHEDULE_DELAY", 0),
        exportTimeoutMillis: count("OTEL_BSP_EXPORT_TIMEOUT", 1),
        maxQueueSize: count("OTEL_BSP_MAX_QUEUE_SIZE", 1),
        maxExportBatchSize: count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1),
      },
    },
  };
}
