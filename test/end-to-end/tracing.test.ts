import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { startOtlpReceiver } from "../support/otlp-receiver.ts";
import { workersOf } from "../support/workers.ts";

/** Processes start, and each may take a second where others keep the machine busy. */
vi.setConfig({ testTimeout: 60_000 });

/** A folder with a `sidecar.yaml`, and what makes a process write down which files it loads. */
function folderFor(upstream: string, { workers = 1 } = {}) {
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
    /** The text of all that was loaded; the bundler names in it what each part is from. */
    loaded() {
      const urls = new Set(readFileSync(loaded, "utf8").trim().split("\n"));
      const files = [...urls].filter((url) => url.startsWith("file:"));
      return files.map((url) => readFileSync(fileURLToPath(url), "utf8")).join("\n");
    },
  };
}

test("a start that nobody asks for traces loads nothing of OpenTelemetry", async () => {
  await using backend = await startBackend();
  const { cwd, env, loaded } = folderFor(backend.url);
  await using sidecar = await startCommand(["serve"], { cwd, env });
  expect(await (await fetch(sidecar.url)).text()).toBe("ok");
  await sidecar.stop();
  expect(loaded()).toContain("\n// node_modules/zod/");
  expect(loaded()).not.toContain("\n// node_modules/@opentelemetry/");
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
  expect(loaded()).toContain("\n// node_modules/@opentelemetry/");
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

test("without a collector requests go on, and the operator is told once", async () => {
  await using backend = await startBackend();
  const { cwd, env } = folderFor(backend.url);
  await using sidecar = await startCommand(["serve"], {
    cwd,
    env: {
      ...env,
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9",
      OTEL_EXPORTER_OTLP_TIMEOUT: "100",
      OTEL_BSP_SCHEDULE_DELAY: "1",
    },
  });
  for (let asked = 0; asked < 3; asked++) expect(await (await fetch(sidecar.url)).text()).toBe("ok");
  const { code, stderr } = await sidecar.stop("SIGTERM");
  expect(code).toBe(0);
  expect(stderr.split("\n").filter((line) => line.includes("traces"))).toEqual([
    expect.stringMatching(/ warning: traces: the collector does not take spans, .*ECONNREFUSED/),
  ]);
});
