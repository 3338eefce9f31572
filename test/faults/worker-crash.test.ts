import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
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
  const load = startLoad({ clients: CONNECTIONS, connect: () => connectTo(port), reconnects: true });
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

/** A port that nobody listens on, for the moment. */
async function freePort(): Promise<number> {
  await using server = await startBackend();
  return server.port;
}
