import { writeFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { freePort } from "../support/free-port.ts";
import { connectTo, startLoad } from "../support/load.ts";
import { printed, workersOf } from "../support/workers.ts";

/** Several processes start, and each may take a second where others keep the machine busy. */
vi.setConfig({ testTimeout: 60_000 });

const CONNECTIONS = 20;

/** A folder with a `sidecar.yaml` of two workers. */
function folderFor(upstream: string) {
  const folder = temporaryFolder();
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    `upstream: ${upstream}\nlisten: 127.0.0.1:0\nworkers: 2\ntimeouts: {drain: 2s}\n`,
  );
  return folder;
}

test("a worker that is killed under load cuts its own connections alone, and is back soon", async () => {
  await using backend = await startBackend();
  using folder = folderFor(backend.url);
  await using sidecar = await startCommand(["serve"], { cwd: folder.path });
  const [killed = 0, other = 0] = workersOf(sidecar);
  const port = Number(new URL(sidecar.url).port);
  const connect = () => connectTo(port);
  const load = startLoad({ clients: CONNECTIONS, connect, reconnects: true, pause: () => 15 });
  await load.more(200);
  process.kill(killed, "SIGKILL");
  await printed(sidecar, new RegExp(`worker ${killed} ended by SIGKILL; another one starts in 0.1 s\n`));
  // The other one answers all.
  await load.more(200);
  await vi.waitFor(() => expect(workersOf(sidecar)).toHaveLength(2), { timeout: 10_000 });
  expect(workersOf(sidecar)).toContain(other);
  expect(workersOf(sidecar)).not.toContain(killed);
  await load.stop();

  // One for each connection at most: cut, and never a wrong answer.
  expect(load.failures.length + load.neverTaken()).toBeLessThanOrEqual(CONNECTIONS);
  expect(load.failures.filter((failure) => !failure.startsWith("closed with"))).toEqual([]);
  expect((await sidecar.stop()).code).toBe(0);
});

test("where every worker is killed, all come back at the same port", async () => {
  await using backend = await startBackend();
  using folder = folderFor(backend.url);
  const port = await freePort();
  await using sidecar = await startCommand(["serve", "--listen", `127.0.0.1:${port}`], { cwd: folder.path });
  const before = workersOf(sidecar);
  for (const pid of before) process.kill(pid, "SIGKILL");
  await vi.waitFor(
    async () => {
      expect(workersOf(sidecar).filter((pid) => !before.includes(pid))).toHaveLength(2);
      expect(await (await fetch(sidecar.url)).text()).toBe("ok");
    },
    { timeout: 10_000, interval: 100 },
  );
});

test("a connection that a killed worker has not taken yet is answered by another one", async () => {
  await using backend = await startBackend();
  using folder = folderFor(backend.url);
  await using sidecar = await startCommand(["serve"], { cwd: folder.path });
  const [hanging = 0] = workersOf(sidecar);
  process.kill(hanging, "SIGSTOP");
  // They are handed out in turn, so that it gets one of them.
  const answers = Array.from({ length: 4 }, () => answerOf(sidecar.url));
  await vi.waitFor(() => expect(backend.requests).toHaveLength(3), { timeout: 10_000 });

  process.kill(hanging, "SIGKILL");
  expect(await Promise.all(answers)).toEqual(["ok", "ok", "ok", "ok"]);
});

test("a connection that nobody can answer is closed", async () => {
  await using backend = await startBackend();
  using folder = folderFor(backend.url);
  await using sidecar = await startCommand(["serve"], { cwd: folder.path });
  const workers = workersOf(sidecar);
  for (const pid of workers) process.kill(pid, "SIGSTOP");
  const answers = Array.from({ length: 4 }, () => answerOf(sidecar.url));
  // Nothing tells when a connection waits for a worker that hangs.
  await sleep(300);

  for (const pid of workers) process.kill(pid, "SIGKILL");
  expect(await Promise.all(answers)).toEqual(["closed", "closed", "closed", "closed"]);
});

/** What a request is answered with on a connection of its own, or that this was closed instead. */
async function answerOf(url: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  get(url, { agent: false }, async (response) => resolve(await text(response)))
    .on("error", () => resolve("closed"))
    .setTimeout(15_000, () => resolve("no answer"));
  return promise;
}
