import { describe, expect, test } from "vitest";
import { type Environment, tracingVariablesOf } from "../../src/observability/tracing-variables.ts";

const ENDPOINT = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4318" };

const settingsOf = (more: Environment) => {
  const variables = tracingVariablesOf({ ...ENDPOINT, ...more });
  return variables.kind === "on" ? variables.settings : undefined;
};

test.each<[string, Environment]>([
  ["nothing is set", {}],
  ["the endpoint is empty", { OTEL_EXPORTER_OTLP_ENDPOINT: " " }],
  ["only the endpoint of metrics is set", { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: "http://127.0.0.1:4318" }],
  ["OpenTelemetry is turned off", { ...ENDPOINT, OTEL_SDK_DISABLED: "True" }],
  ["the exporter of traces is none", { ...ENDPOINT, OTEL_TRACES_EXPORTER: "none" }],
])("there are no traces, and nothing is wrong, where %s", (_when, env) => {
  expect(tracingVariablesOf(env)).toEqual({ kind: "off", problems: [] });
});

test.each<[string, Environment]>([
  ["for everything", ENDPOINT],
  ["for traces", { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "https://collector.example/v1/traces" }],
  [
    "with what is the default said aloud",
    {
      ...ENDPOINT,
      OTEL_SDK_DISABLED: "false",
      OTEL_TRACES_EXPORTER: "otlp",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
      OTEL_TRACES_SAMPLER: "parentbased_always_on",
    },
  ],
])("there are traces where an endpoint is set: %s", (_what, env) => {
  expect(tracingVariablesOf(env)).toEqual({
    kind: "on",
    problems: [],
    settings: { sampler: "parentbased_always_on", ratio: 1, batch: {} },
  });
});

test("samplers and batches are as the variables say", () => {
  expect(
    settingsOf({
      OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
      OTEL_TRACES_SAMPLER_ARG: "0.25",
      OTEL_BSP_SCHEDULE_DELAY: "0",
      OTEL_BSP_EXPORT_TIMEOUT: "1000",
      OTEL_BSP_MAX_QUEUE_SIZE: "8192",
      OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "1024",
    }),
  ).toEqual({
    sampler: "parentbased_traceidratio",
    ratio: 0.25,
    batch: {
      scheduledDelayMillis: 0,
      exportTimeoutMillis: 1000,
      maxQueueSize: 8192,
      maxExportBatchSize: 1024,
    },
  });
  expect(settingsOf({ OTEL_TRACES_SAMPLER: "always_off" })).toMatchObject({ sampler: "always_off" });
});

describe("what cannot be used is told by its name, and never by its value", () => {
  test.each<[Environment, "on" | "off", string]>([
    [
      { OTEL_EXPORTER_OTLP_ENDPOINT: "user:secret@collector:4318" },
      "off",
      "OTEL_EXPORTER_OTLP_ENDPOINT is no URL of http or https; no traces are sent",
    ],
    [
      { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "secret" },
      "off",
      "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is no URL of http or https; no traces are sent",
    ],
    [
      { OTEL_TRACES_EXPORTER: "secret" },
      "off",
      "OTEL_TRACES_EXPORTER knows otlp and none; no traces are sent",
    ],
    [
      { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
      "on",
      "OTEL_EXPORTER_OTLP_PROTOCOL knows http/protobuf, which is spoken whatever it says",
    ],
    [
      { OTEL_TRACES_SAMPLER: "secret" },
      "on",
      "OTEL_TRACES_SAMPLER is not used: expected one of always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio",
    ],
    [
      { OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "1.5" },
      "on",
      "OTEL_TRACES_SAMPLER_ARG is not used: expected a number between 0 and 1, and so every trace is taken",
    ],
    [
      { OTEL_BSP_MAX_QUEUE_SIZE: "0" },
      "on",
      "OTEL_BSP_MAX_QUEUE_SIZE is not used: expected a whole number from 1",
    ],
    [
      { OTEL_BSP_SCHEDULE_DELAY: "99999999999" },
      "on",
      "OTEL_BSP_SCHEDULE_DELAY is not used: expected a whole number from 0",
    ],
    [
      { OTEL_BSP_EXPORT_TIMEOUT: "5s" },
      "on",
      "OTEL_BSP_EXPORT_TIMEOUT is not used: expected a whole number from 1",
    ],
  ])("%o", (env, kind, problem) => {
    expect(tracingVariablesOf({ ...ENDPOINT, ...env })).toMatchObject({ kind, problems: [problem] });
  });
});
