import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { startOtlpReceiver } from "../support/otlp-receiver.ts";
import { workersOf } from "../support/workers.ts";

/** Processes start, and each may take a second where others keep the machine busy. */
vi.setConfig({ testTimeout: 60_000 });

/** A folder with a `sidecar.yaml`, and what makes a process write down which modules it loads. */
function folderFor(upstream: string, { workers = 1, missing = "" } = {}) {
  const folder = temporaryFolder();
  onTestFinished(() => folder[Symbol.dispose]());
  const loaded = join(folder.path, "loaded");
  const hooks = join(folder.path, "hooks.mjs");
  writeFileSync(loaded, "");
  writeFileSync(
    hooks,
    `import { registerHooks } from "node:module";
import { appendFileSync } from "node:fs";
registerHooks({
  resolve(specifier, context, next) {
    if (${JSON.stringify(missing)} && specifier.startsWith(${JSON.stringify(missing)}))
      throw Object.assign(new Error("Cannot find package"), { code: "ERR_MODULE_NOT_FOUND" });
    const resolved = next(specifier, context);
    appendFileSync(${JSON.stringify(loaded)}, resolved.url + "\\n");
    return resolved;
  },
});
`,
  );
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    `upstream: ${upstream}\nlisten: 127.0.0.1:0\nadmin: false\nworkers: ${workers}\ntimeouts: {drain: 2s}\n`,
  );
  return {
    cwd: folder.path,
    env: { NODE_OPTIONS: `--import=${hooks}` },
    loaded: () => readFileSync(loaded, "utf8"),
  };
}

test("a start that nobody asks for traces loads nothing of OpenTelemetry", async () => {
  await using backend = await startBackend();
  const { cwd, env, loaded } = folderFor(backend.url);
  await using sidecar = await startCommand(["serve"], { cwd, env });
  expect(await (await fetch(sidecar.url)).text()).toBe("ok");
  await sidecar.stop();
  expect(loaded()).toContain("node_modules/undici/");
  expect(loaded()).not.toContain("opentelemetry");
});

test("serve sends its spans to where the variables say, and the last of them when it stops", async () => {
  await using backend = await startBackend();
  await using receiver = await startOtlpReceiver();
  const { cwd, env, loaded } = folderFor(backend.url);
  await using sidecar = await startCommand(["serve"], {
    cwd,
    env: {
      ...env,
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${receiver.url}/custom`,
      OTEL_BSP_SCHEDULE_DELAY: "600000",
    },
  });
  await (await fetch(sidecar.url)).text();
  const { code, stderr } = await sidecar.stop("SIGTERM");
  expect({ code, problems: stderr.includes("traces") }).toEqual({ code: 0, problems: false });
  expect(loaded()).toContain("node_modules/@opentelemetry/");
  const [upstream] = receiver.named("upstream");
  expect(receiver.named("GET default")).toMatchObject([{ spanId: upstream?.parentSpanId }]);
  expect(backend.requests[0]?.headers.traceparent).toBe(`00-${upstream?.traceId}-${upstream?.spanId}-01`);
  expect(receiver.requests.map(({ path }) => path)).toEqual(["/custom"]);
});

test("each worker sends its own, and each span says whose it is", async () => {
  await using backend = await startBackend();
  await using receiver = await startOtlpReceiver();
  const { cwd, env } = folderFor(backend.url, { workers: 2 });
  await using sidecar = await startCommand(["serve"], {
    cwd,
    env: { ...env, OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url },
  });
  const workers = workersOf(sidecar);
  for (let asked = 0; asked < 4; asked++)
    await (await fetch(sidecar.url, { headers: { connection: "close" } })).text();
  expect((await sidecar.stop("SIGTERM")).code).toBe(0);
  const spans = receiver.named("GET default");
  expect(spans).toHaveLength(4);
  expect(new Set(spans.map(({ resource }) => resource["process.pid"]))).toEqual(new Set(workers));
});

test("without the packages of OpenTelemetry, or a collector, requests go on and the operator is told once", async () => {
  await using backend = await startBackend();
  const without = folderFor(backend.url, { missing: "@opentelemetry/" });
  const OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:9";
  const answersAndStops = async ({ cwd, env }: Pick<typeof without, "cwd" | "env">) => {
    await using sidecar = await startCommand(["serve"], {
      cwd,
      env: {
        ...env,
        OTEL_EXPORTER_OTLP_ENDPOINT,
        OTEL_EXPORTER_OTLP_TIMEOUT: "100",
        OTEL_BSP_SCHEDULE_DELAY: "1",
      },
    });
    for (let asked = 0; asked < 3; asked++) expect(await (await fetch(sidecar.url)).text()).toBe("ok");
    const { code, stderr } = await sidecar.stop("SIGTERM");
    expect(code).toBe(0);
    return stderr.split("\n").filter((line) => line.includes("traces"));
  };
  expect(await answersAndStops(without)).toEqual([
    expect.stringMatching(
      / warning: traces: no traces are sent: the packages of OpenTelemetry are not installed here$/,
    ),
  ]);
  expect(await answersAndStops(folderFor(backend.url))).toEqual([
    expect.stringMatching(/ warning: traces: the collector does not take spans, .*ECONNREFUSED/),
  ]);
});
