import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { type RunningCommand, runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { connectTo, type Load, startLoad } from "../support/load.ts";
import { withoutRequests } from "../support/log.ts";
import { isAlive, printed, replaceWorker, workersOf } from "../support/workers.ts";

/** Many processes start, one after another, and each may take a second where others keep the machine busy. */
vi.setConfig({ testTimeout: 60_000 });

/** A folder with a `sidecar.yaml` of two workers. What it drains it drains soon, so that nothing outlives a test. */
function folderFor(upstream: string, yaml = "", drain = "2s") {
  const folder = temporaryFolder();
  onTestFinished(() => folder[Symbol.dispose]());
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    `upstream: ${upstream}\nlisten: 127.0.0.1:0\nworkers: 2\ntimeouts: {drain: ${drain}, notReady: 1s}\n${yaml}`,
  );
  return folder.path;
}

/** Twenty clients that ask a thousand times a second, and come back when their connections end. */
function startLoadOn(sidecar: RunningCommand): Load {
  const port = Number(new URL(sidecar.url).port);
  return startLoad({ clients: 20, connect: () => connectTo(port), reconnects: true, pause: () => 15 });
}

/** A backend whose answers wait until they are released. */
async function startHeldBackend() {
  const release = Promise.withResolvers<void>();
  let arrived = 0;
  const backend = await startBackend(async (_request, response) => {
    arrived++;
    await release.promise;
    response.end("finished");
  });
  const arrival = (count: number) => vi.waitFor(() => expect(arrived).toBe(count), { timeout: 5000 });
  return Object.assign(backend, { arrival, release: release.resolve });
}

/** The same resource on connections of their own: one worker answers after another. */
async function fromEachWorker(url: string): Promise<string[]> {
  const answers: string[] = [];
  for (let asked = 0; asked < 4; asked++) {
    const response = await fetch(url, { headers: { connection: "close" } });
    answers.push(await response.text());
  }
  return answers;
}

const adminUrlOf = (sidecar: RunningCommand) => /operators +(\S+)/.exec(sidecar.output().stderr)?.[1] ?? "";

test("what runs where is said once, and workers share ports, keys and the operators' listener", async () => {
  await using backend = await startBackend();
  const folder = folderFor(backend.url, "admin: 127.0.0.1:0\n");
  await using sidecar = await startCommand(["serve"], { cwd: folder });
  const jwks = await fromEachWorker(`${sidecar.url}/__issuer/.well-known/jwks.json`);
  expect(new Set(jwks).size).toBe(1);
  const { keys } = JSON.parse(jwks[0] ?? "") as { keys: { kid: string }[] };
  expect(keys).toHaveLength(1);
  expect(new Set(await fromEachWorker(sidecar.url))).toEqual(new Set(["ok"]));
  const readiness = await fromEachWorker(`${adminUrlOf(sidecar)}/readyz`);
  expect(readiness.map((text) => (JSON.parse(text) as { status: string }).status)).toEqual(
    Array(4).fill("ready"),
  );
  expect(workersOf(sidecar)).toHaveLength(2);

  const { code, stdout, stderr } = await sidecar.stop("SIGTERM");
  expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
  expect(withoutRequests(stderr)).toBe(`\
listening on  ${sidecar.url}
forwarding to ${backend.url}
issuer        ${sidecar.url}/__issuer
signing with  EdDSA, key ${keys[0]?.kid} in ${join(folder, "keys")}
operators     ${adminUrlOf(sidecar)}
workers       2

SIGTERM: not ready for 1 s, then finishing the requests under way; a second signal ends at once
`);
});

test("SIGTERM lets the requests under way in every worker end, while every probe is told that it stops", async () => {
  await using backend = await startHeldBackend();
  const folder = folderFor(backend.url, "admin: 127.0.0.1:0\n");
  await using sidecar = await startCommand(["serve"], { cwd: folder });
  const answers = [1, 2, 3, 4].map(() => fetch(sidecar.url, { headers: { connection: "close" } }));
  await backend.arrival(4);
  const ended = sidecar.stop("SIGTERM");
  await printed(sidecar, /SIGTERM/);
  await vi.waitFor(async () => {
    const states = await fromEachWorker(`${adminUrlOf(sidecar)}/readyz`);
    expect(states.filter((text) => text.includes("the sidecar is stopping"))).toHaveLength(4);
  });
  backend.release();
  for (const answer of answers) expect(await (await answer).text()).toBe("finished");
  expect((await ended).code).toBe(0);
});

test.each(["SIGTERM", "SIGINT"] as const)(
  "%s to every process at once, as from systemd or a terminal, is one signal",
  async (signal) => {
    await using backend = await startHeldBackend();
    await using sidecar = await startCommand(["serve"], { cwd: folderFor(backend.url) });
    const answer = fetch(sidecar.url);
    await backend.arrival(1);
    for (const pid of workersOf(sidecar)) process.kill(pid, signal);
    const ended = sidecar.stop(signal);
    await printed(sidecar, new RegExp(`${signal}: finishing`));
    backend.release();
    expect(await (await answer).text()).toBe("finished");
    expect((await ended).code).toBe(0);
  },
);

test("a second signal ends every process at once", async () => {
  await using backend = await startHeldBackend();
  await using sidecar = await startCommand(["serve"], { cwd: folderFor(backend.url, "", "60s") });
  const answer = fetch(sidecar.url).catch((error: unknown) => error);
  await backend.arrival(1);
  const workers = workersOf(sidecar);
  const first = sidecar.stop("SIGTERM");
  await printed(sidecar, /SIGTERM/);
  await sidecar.stop("SIGTERM");
  expect((await first).code).toBe(1);
  expect(await answer).toBeInstanceOf(Error);
  await vi.waitFor(() => expect(workers.filter(isAlive)).toEqual([]), { timeout: 5000 });
});

test("a worker that is killed with its second signal ends at once, and the others go on", async () => {
  await using backend = await startHeldBackend();
  await using sidecar = await startCommand(["serve"], { cwd: folderFor(backend.url, "", "60s") });
  const answers = [1, 2].map(() => fetch(sidecar.url, { headers: { connection: "close" } }));
  const settled = Promise.allSettled(answers);
  await backend.arrival(2);
  const [first = 0, second = 0] = workersOf(sidecar);
  process.kill(first, "SIGTERM");
  await printed(sidecar, new RegExp(`worker ${first} is to stop`));
  process.kill(first, "SIGTERM");
  await vi.waitFor(() => expect(isAlive(first)).toBe(false), { timeout: 5000 });
  await vi.waitFor(() => expect(workersOf(sidecar)).toHaveLength(2), { timeout: 5000 });
  expect(workersOf(sidecar)).toContain(second);
  backend.release();
  const outcomes = await settled;
  expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
});

test("workers that are replaced one after another lose no request", async () => {
  await using backend = await startBackend();
  await using sidecar = await startCommand(["serve"], { cwd: folderFor(backend.url) });
  const load = startLoadOn(sidecar);
  await load.more(200);
  for (let round = 0; round < 2; round++)
    for (const pid of workersOf(sidecar)) {
      await replaceWorker(sidecar, pid);
      expect(workersOf(sidecar)).toHaveLength(2);
      expect(workersOf(sidecar)).not.toContain(pid);
      await load.more(100);
    }
  await load.stop();
  expect(load.failures).toEqual([]);
  expect(load.neverTaken()).toBe(0);
  expect((await sidecar.stop("SIGTERM")).code).toBe(0);
});

test("SIGTERM under load loses no request that was accepted, and nothing is left", async () => {
  await using backend = await startBackend();
  await using sidecar = await startCommand(["serve"], { cwd: folderFor(backend.url) });
  const workers = workersOf(sidecar);
  const load = startLoadOn(sidecar);
  await load.more(200);
  expect((await sidecar.stop("SIGTERM")).code).toBe(0);
  await load.stop();
  // Those who come later are refused, or reset before anybody has read what they sent.
  expect(load.failures).toEqual([]);
  expect(workers.filter(isAlive)).toEqual([]);
});

test("workers end with the process that started them, even where it is killed, and finish their requests", async () => {
  await using backend = await startHeldBackend();
  await using sidecar = await startCommand(["serve"], { cwd: folderFor(backend.url) });
  const workers = workersOf(sidecar);
  const answer = fetch(sidecar.url);
  await backend.arrival(1);
  process.kill(sidecar.pid, "SIGKILL");
  await vi.waitFor(() => expect(workers.filter(isAlive)).toHaveLength(1), { timeout: 5000 });
  await expect(fetch(sidecar.url)).rejects.toThrow("fetch failed");
  backend.release();
  expect(await (await answer).text()).toBe("finished");
  await vi.waitFor(() => expect(workers.filter(isAlive)).toEqual([]), { timeout: 5000 });
});

test("a worker that is started later is like the others, whatever the file says by then", async () => {
  await using backend = await startBackend();
  const folder = folderFor(backend.url);
  await using sidecar = await startCommand(["serve"], { cwd: folder });
  const before = workersOf(sidecar);
  writeFileSync(join(folder, "sidecar.yaml"), "upstream: [this is no configuration\n");
  for (const pid of before) await replaceWorker(sidecar, pid);
  expect(await fromEachWorker(sidecar.url)).toEqual(Array(4).fill("ok"));
});

test("a worker goes on where no other can be started in its place", async () => {
  await using backend = await startBackend();
  const folder = folderFor(backend.url, "policies: [{name: own, module: ./own.mjs}]\n");
  const module = join(folder, "own.mjs");
  const code = "export default async () => ({});\n";
  writeFileSync(module, code);
  await using sidecar = await startCommand(["serve"], { cwd: folder });
  const [worker = 0] = workersOf(sidecar);
  rmSync(module);
  process.kill(worker, "SIGTERM");
  await printed(sidecar, /own\.mjs[\s\S]*another one starts in 0\.2 s/);
  expect(workersOf(sidecar)).toContain(worker);
  expect(await fromEachWorker(sidecar.url)).toEqual(Array(4).fill("ok"));
  writeFileSync(module, code);
  await printed(sidecar, new RegExp(`worker ${worker} has been replaced`));
});

test("--workers takes the place of what the file says", async () => {
  await using sidecar = await startCommand(["serve", "--workers", "1"], {
    cwd: folderFor("http://127.0.0.1:9"),
  });
  expect(workersOf(sidecar)).toEqual([]);
  expect(sidecar.output().stderr).not.toContain("workers");
});

test("a Unix socket is shared, the file of dead processes is replaced, and none is left behind", async () => {
  await using backend = await startBackend();
  const yaml = 'issuer: {url: "https://issuer.example/__issuer"}\n';
  const cwd = folderFor(backend.url, yaml);
  const socketPath = join(cwd, "c.sock");
  const start = () => startCommand(["serve", "--listen", `unix:${socketPath}`], { cwd });
  const ask = async () => {
    const [response] = await once(
      request({ socketPath, host: "a", headers: { connection: "close" } }).end(),
      "response",
    );
    return text(response);
  };
  await (await start()).stop("SIGKILL");
  // What is left of a process that could not clean up.
  if (!existsSync(socketPath)) {
    const dead = spawnSync(process.execPath, [
      "-e",
      `require("net").createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, "SIGKILL"))`,
    ]);
    expect(dead.signal).toBe("SIGKILL");
  }
  expect(existsSync(socketPath)).toBe(true);

  await using sidecar = await start();
  expect(statSync(socketPath).mode & 0o777).toBe(0o660);
  for (const pid of workersOf(sidecar)) await replaceWorker(sidecar, pid);
  expect([await ask(), await ask()]).toEqual(["ok", "ok"]);
  expect((await sidecar.stop("SIGTERM")).code).toBe(0);
  expect(existsSync(socketPath)).toBe(false);
});

describe("what cannot be started is said once, and ends everything", () => {
  test("a port in use", async () => {
    await using other = await startBackend();
    const cwd = folderFor("http://127.0.0.1:9");
    const listen = `127.0.0.1:${other.port}`;
    expect(await runCommand(["serve", "--listen", listen], { cwd })).toEqual({
      code: 1,
      stdout: "",
      stderr: `countersign: cannot listen on ${listen}: another program uses this port; stop it, or choose another port\n`,
    });
  });

  test("a key that cannot be read", async () => {
    const cwd = folderFor("http://127.0.0.1:9", "issuer: {keys: {env: NO_SUCH_KEY}}\n");
    const { code, stderr } = await runCommand(["serve"], { cwd });
    expect({ code, lines: stderr.trim().split("\n").length }).toEqual({ code: 1, lines: 1 });
    expect(stderr).toContain("NO_SUCH_KEY");
  });
});
