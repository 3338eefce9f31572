import { expect, test } from "vitest";
import { adoptionOf } from "../../src/config/restart.ts";
import { parseConfig } from "../../src/index.ts";

const configOf = (yaml: string) =>
  parseConfig(`upstream: http://a\n${yaml}`, { file: "sidecar.yaml", env: {} }).config;

test("of log the format needs a restart, and nothing else of it", () => {
  const running = configOf("log: {format: json}");
  const next = configOf("log: {format: pretty, level: warn, subject: none, sampleSuccess: 0}");
  expect(adoptionOf(next, running)).toMatchObject({
    needsRestart: ["log.format"],
    config: { log: { format: "json", level: "warn", subject: "none", sampleSuccess: 0 } },
  });
});
