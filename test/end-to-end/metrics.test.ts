import { writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { type RunningCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { type Scrape, scrape } from "../support/metrics.ts";
import { printed, workersOf } from "../support/workers.ts";

/** Many processes start, one after another, and each may take a second where others keep the machine busy. */
vi.setConfig({ testTimeout: 90_000 });

const REQUESTS = "countersign_requests_total";

function folderFor(upstream: string, workers: number) {
  const folder = temporaryFolder();
  onTestFinished(() => folder[Symbol.dispose]());
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    `upstream: ${upstream}\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0\nworkers: ${workers}\ntimeouts: {drain: 2s, notReady: 1s}\n`,
  );
  return folder.path;
}

const adminUrlOf = (sidecar: RunningCommand) => /operators +(\S+)/.exec(sidecar.output().stderr)?.[1] ?? "";

/** Sends requests on several connections, and counts the answers by method and status. */
async function load(url: string, count: number): Promise<Map<string, number>> {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const answers = new Map<string, number>();
  const methods = ["GET", "POST", "DELETE"];
  const send = (index: number) =>
    new Promise<void>((resolve, reject) => {
      const method = String(methods[index % methods.length]);
      const path = index % 5 === 0 ? "/missing" : "/";
      const sent = request(`${url}${path}`, { agent, method }, async (response) => {
        await text(response);
        const kind = `${method} ${response.statusCode}`;
        answers.set(kind, (answers.get(kind) ?? 0) + 1);
        resolve();
      });
      sent.on("error", reject).end();
    });
  await Promise.all(Array.from({ length: count }, (_, index) => send(index)));
  agent.destroy();
  return answers;
}

async function startLoadedBackend() {
  return startBackend((incoming, response) => {
    response.statusCode = incoming.url === "/missing" ? 404 : 200;
    response.end("answer");
  });
}

function countsOf({ samples }: Scrape): Map<string, number> {
  return new Map(
    samples
      .filter(({ name }) => name === REQUESTS)
      .map(({ labels, value }) => [`${labels.method} ${labels.code}`, value]),
  );
}

async function scrapeUntil(sidecar: RunningCommand, check: (metrics: Scrape) => void): Promise<Scrape> {
  return vi.waitFor(
    async () => {
      const metrics = await scrape(adminUrlOf(sidecar));
      check(metrics);
      return metrics;
    },
    { timeout: 30_000, interval: 200 },
  );
}

test.each([1, 2])("with %d processes the counters are what was sent", async (workers) => {
  await using backend = await startLoadedBackend();
  await using sidecar = await startCommand(["serve"], { cwd: folderFor(backend.url, workers) });
  const answers = await load(sidecar.url, 1000);
  const metrics = await scrapeUntil(sidecar, (now) => expect(now.total(REQUESTS)).toBe(1000));
  expect(countsOf(metrics)).toEqual(answers);
  expect(metrics.total("countersign_request_duration_seconds_count")).toBe(1000);
  expect(metrics.total("countersign_response_body_bytes_total")).toBe(6000);
  const tokens = (outcome: string) => metrics.total("countersign_tokens_total", { outcome });
  expect(tokens("signed") + tokens("reused")).toBe(1000);
  expect(metrics.total("countersign_workers")).toBe(workers);
  expect(metrics.total("countersign_workers_missing")).toBe(0);
  expect(metrics.total("countersign_keys", { state: "active" })).toBe(1);
});

test("what a worker had told is not lost when it is killed, nor what it had not when it is stopped", async () => {
  await using backend = await startLoadedBackend();
  await using sidecar = await startCommand(["serve"], { cwd: folderFor(backend.url, 2) });
  await load(sidecar.url, 300);
  await scrapeUntil(sidecar, (now) => expect(now.total(REQUESTS)).toBe(300));
  const [killed] = workersOf(sidecar);
  process.kill(Number(killed), "SIGKILL");
  await printed(sidecar, new RegExp(`worker ${killed} ended by SIGKILL`));
  const without = await scrape(adminUrlOf(sidecar));
  expect(without.total(REQUESTS)).toBe(300);
  await scrapeUntil(sidecar, (now) => expect(now.total("countersign_workers_missing")).toBe(0));

  await load(sidecar.url, 100);
  const [stopped] = workersOf(sidecar);
  process.kill(Number(stopped), "SIGTERM");
  await printed(sidecar, new RegExp(`worker ${stopped} has been replaced`));
  const after = await scrapeUntil(sidecar, (now) => expect(now.total("countersign_workers_missing")).toBe(0));
  expect(after.total(REQUESTS)).toBe(400);
});

test("a worker that hangs is missing, and its counters stay", async () => {
  await using backend = await startLoadedBackend();
  await using sidecar = await startCommand(["serve"], { cwd: folderFor(backend.url, 2) });
  await load(sidecar.url, 100);
  await scrapeUntil(sidecar, (now) => expect(now.total(REQUESTS)).toBe(100));
  const [first] = workersOf(sidecar);
  process.kill(Number(first), "SIGSTOP");
  try {
    // The one that hangs may be given the connection too; then another one is given the next.
    const metrics = await vi.waitFor(
      async () => {
        const response = await fetch(`${adminUrlOf(sidecar)}/metrics`, {
          headers: { connection: "close" },
          signal: AbortSignal.timeout(4000),
        });
        return response.text();
      },
      { timeout: 40_000 },
    );
    expect(metrics).toMatch(/^countersign_workers 1$/m);
    expect(metrics).toMatch(/^countersign_workers_missing 1$/m);
    const sum = [...metrics.matchAll(/^countersign_requests_total\{.*\} (\d+)$/gm)].reduce(
      (total, [, value]) => total + Number(value),
      0,
    );
    expect(sum).toBe(100);
  } finally {
    process.kill(Number(first), "SIGCONT");
  }
  await scrapeUntil(sidecar, (now) => expect(now.total("countersign_workers_missing")).toBe(0));
});

test("a configuration that several workers take up is counted once, and one that none can use too", async () => {
  await using backend = await startLoadedBackend();
  const folder = folderFor(backend.url, 2);
  await using sidecar = await startCommand(["serve"], { cwd: folder });
  const reloads = (outcome: string, count: number) =>
    scrapeUntil(sidecar, ({ total }) =>
      expect(total("countersign_config_reloads_total", { outcome })).toBe(count),
    );
  process.kill(sidecar.pid, "SIGHUP");
  await reloads("success", 1);
  writeFileSync(join(folder, "sidecar.yaml"), "upstream: nonsense\n");
  const failed = await reloads("failure", 1);
  expect(failed.total("countersign_config_last_reload_successful")).toBe(0);
});
