import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { connectTo, startLoad } from "../support/load.ts";
import {
  replaceFile,
  startTwoConfigurations,
  timesRefused,
  timesUsed,
} from "../support/two-configurations.ts";
import { isAlive, printed, replaceWorker, workersOf } from "../support/workers.ts";

/** Processes start, and each may take a second where others keep the machine busy. */
vi.setConfig({ testTimeout: 60_000 });

/** A backend that answers with its name. */
async function startNamed(name: string) {
  const backend = await startBackend((_request, response) => void response.end(name));
  onTestFinished(() => backend[Symbol.asyncDispose]());
  return backend;
}

function newFolder(): string {
  const folder = temporaryFolder();
  onTestFinished(() => folder[Symbol.dispose]());
  return folder.path;
}

const yamlFor = (upstream: string, more = "") =>
  `listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: ${upstream}\ntimeouts: {drain: 2s, notReady: 1s}\n${more}`;

const ask = async (url: string) => (await fetch(url, { headers: { connection: "close" } })).text();

/** A sidecar with a file `sidecar.yaml` that forwards to the backend `one`; and the backend `two`. */
async function startBetween(more = "") {
  const folder = newFolder();
  const file = join(folder, "sidecar.yaml");
  const one = await startNamed("one");
  const two = await startNamed("two");
  writeFileSync(file, yamlFor(one.url, more));
  const sidecar = await startCommand(["serve"], { cwd: folder });
  onTestFinished(() => sidecar[Symbol.asyncDispose]());
  return { folder, file, one, two, sidecar };
}

describe("a change of sidecar.yaml takes effect at once", () => {
  test("where it is written in place", async () => {
    const { file, two, sidecar } = await startBetween();
    writeFileSync(file, yamlFor(two.url));
    await printed(sidecar, /sidecar\.yaml was read again, and is used from now on\n/);
    expect(await ask(sidecar.url)).toBe("two");
  });

  test("where another file takes its name", async () => {
    const { file, two, sidecar } = await startBetween();
    replaceFile(file, yamlFor(two.url));
    await printed(sidecar, /is used from now on\n/);
    expect(await ask(sidecar.url)).toBe("two");
  });

  test("where the folder that it is linked to is swapped, as for a ConfigMap", async () => {
    const one = await startNamed("one");
    const two = await startNamed("two");
    const folder = newFolder();
    for (const [version, { url }] of Object.entries({ "..1": one, "..2": two })) {
      mkdirSync(join(folder, version));
      writeFileSync(join(folder, version, "sidecar.yaml"), yamlFor(url));
    }
    symlinkSync("..1", join(folder, "..data"));
    symlinkSync("..data/sidecar.yaml", join(folder, "sidecar.yaml"));
    await using sidecar = await startCommand(["serve"], { cwd: folder });
    expect(await ask(sidecar.url)).toBe("one");

    symlinkSync("..2", join(folder, "..data_tmp"));
    renameSync(join(folder, "..data_tmp"), join(folder, "..data"));
    await printed(sidecar, /is used from now on\n/);
    expect(await ask(sidecar.url)).toBe("two");
  });

  test("whole, where it is written in halves of which the first would do as well", async () => {
    const { file, one, two, sidecar } = await startBetween();
    const [first, second] = [`${yamlFor(one.url)}token:\n  audience: half\n`, "  expiresIn: 1m\n"];
    truncateSync(file);
    for (const piece of [first, ...Array.from({ length: 10 }, () => "# not yet\n"), second]) {
      appendFileSync(file, piece);
      await sleep(30);
    }
    await printed(sidecar, /is used from now on\n/);
    expect(timesUsed(sidecar)).toBe(1);
    writeFileSync(file, yamlFor(two.url));
    await vi.waitFor(() => expect(timesUsed(sidecar)).toBe(2), { timeout: 10_000 });
    expect(await ask(sidecar.url)).toBe("two");
  });

  test("and what has no effect before a restart is said by its key", async () => {
    const { file, two, sidecar } = await startBetween();
    writeFileSync(file, yamlFor(two.url).replace("listen: 127.0.0.1:0", "listen: 127.0.0.1:1\nworkers: 3"));
    await printed(sidecar, /is used from now on; not before a restart: listen, workers\n/);
    expect(await ask(sidecar.url)).toBe("two");
  });
});

test("a sidecar.yaml with a problem leaves the one before in use, and its place is said", async () => {
  const { file, one, sidecar } = await startBetween();
  writeFileSync(file, yamlFor(one.url, "tokken: {}\n"));
  await printed(
    sidecar,
    /ERR_CONFIG sidecar\.yaml cannot be used, and what it said before goes on:\n {2}sidecar\.yaml:5:1 tokken: unknown key `tokken`; did you mean `token`\?\n/,
  );
  expect(await ask(sidecar.url)).toBe("one");
  const adminUrl = /operators +(\S+)/.exec(sidecar.output().stderr)?.[1];
  const ready = await fetch(`${adminUrl}/readyz`);
  expect(ready.status).toBe(200);
  expect(await ready.json()).toMatchObject({
    checks: {
      configuration: {
        ready: true,
        reason: expect.stringMatching(/^sidecar\.yaml:5:1 tokken: .*`token`\?$/),
      },
    },
  });
});

test("SIGHUP has the file read again, changed or not", async () => {
  const { sidecar } = await startBetween();
  process.kill(sidecar.pid, "SIGHUP");
  await printed(sidecar, /is used from now on\n/);
  expect(await ask(sidecar.url)).toBe("one");
});

test.each([1, 2])("SIGHUP does no harm while it starts (workers: %i)", async (workers) => {
  const one = await startNamed("one");
  const folder = newFolder();
  const begun = join(folder, "begun");
  writeFileSync(
    join(folder, "slow.mjs"),
    `import cluster from "node:cluster";
    import { writeFileSync } from "node:fs";
    writeFileSync(${JSON.stringify(begun)}, String(cluster.isWorker ? process.ppid : process.pid));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    export default async () => ({});`,
  );
  const policies = "policies: [{name: all, module: ./slow.mjs}]\n";
  writeFileSync(join(folder, "sidecar.yaml"), yamlFor(one.url, `workers: ${workers}\n${policies}`));
  const starting = startCommand(["serve"], { cwd: folder });
  const pidOf = () => (existsSync(begun) ? Number(readFileSync(begun, "utf8")) : 0);
  await vi.waitFor(() => expect(pidOf()).toBeGreaterThan(0), { timeout: 10_000, interval: 5 });
  const pid = pidOf();
  process.kill(pid, "SIGHUP");
  await using sidecar = await starting;
  expect(sidecar.pid).toBe(pid);
  expect(await ask(sidecar.url)).toBe("one");
});

test("SIGHUP does no harm where there is no file", async () => {
  const one = await startNamed("one");
  await using sidecar = await startCommand(
    ["serve", "--upstream", one.url, "--listen", "127.0.0.1:0", "--admin", "false"],
    { cwd: newFolder() },
  );
  process.kill(sidecar.pid, "SIGHUP");
  await printed(sidecar, /the command line was read again/);
  expect(await ask(sidecar.url)).toBe("one");
});

describe("of several workers", () => {
  test("each uses the new configuration, also one that is started later", async () => {
    const { file, two, sidecar } = await startBetween("workers: 2\n");
    writeFileSync(file, yamlFor(two.url, "workers: 2\n"));
    await printed(sidecar, /is used from now on\n/);
    for (let asked = 0; asked < 4; asked++) expect(await ask(sidecar.url)).toBe("two");

    for (const pid of workersOf(sidecar)) await replaceWorker(sidecar, pid);
    for (let asked = 0; asked < 4; asked++) expect(await ask(sidecar.url)).toBe("two");
  });

  test("none uses one that cannot be opened, and each says why", async () => {
    const { file, two, sidecar } = await startBetween("workers: 2\n");
    const tls = 'tls: {ca: "/no/such/ca.crt"}';
    writeFileSync(file, yamlFor(`{url: "${two.url.replace("http", "https")}", ${tls}}`, "workers: 2\n"));
    await printed(sidecar, /cannot be used, and what it said before goes on:\n {2}\/no\/such\/ca\.crt/);
    const adminUrl = /operators +(\S+)/.exec(sidecar.output().stderr)?.[1];
    for (let asked = 0; asked < 4; asked++) {
      expect(await ask(sidecar.url)).toBe("one");
      expect(await ask(`${adminUrl}/readyz`)).toContain("/no/such/ca.crt");
    }
    for (const pid of workersOf(sidecar)) expect(isAlive(pid)).toBe(true);
  });

  test("one that has not begun yet keeps nobody waiting", async () => {
    const { file, two, sidecar } = await startBetween("workers: 2\n");
    const before = workersOf(sidecar);
    process.kill(before[0] as number, "SIGKILL");
    await vi.waitFor(
      () => expect(workersOf(sidecar).filter((pid) => !before.includes(pid))).toHaveLength(1),
      { timeout: 10_000, interval: 1 },
    );
    process.kill(sidecar.pid, "SIGHUP");
    await printed(sidecar, /is used from now on\n/);
    writeFileSync(file, yamlFor(two.url, "workers: 2\n"));
    await vi.waitFor(() => expect(timesUsed(sidecar)).toBeGreaterThan(1), { timeout: 10_000 });
    for (let asked = 0; asked < 4; asked++) expect(await ask(sidecar.url)).toBe("two");
  });

  test("one that ends behind its last request does not keep the others from it", async () => {
    const one = await startNamed("one");
    const { promise: isReleased, resolve: release } = Promise.withResolvers<void>();
    let arrived = 0;
    const slow = await startBackend(async (_request, response) => {
      arrived++;
      await isReleased;
      response.end("slow");
    });
    onTestFinished(() => slow[Symbol.asyncDispose]());
    const folder = newFolder();
    const file = join(folder, "sidecar.yaml");
    const yaml = (upstream: string) => yamlFor(upstream, "workers: 2\n").replace("drain: 2s", "drain: 30s");
    writeFileSync(file, yaml(slow.url));
    await using sidecar = await startCommand(["serve"], { cwd: folder });
    const [first] = workersOf(sidecar) as [number];
    // One for each worker, as they are handed out in turn.
    const slowly = [ask(sidecar.url), ask(sidecar.url)];
    await vi.waitFor(() => expect(arrived).toBe(2), { timeout: 10_000 });
    process.kill(first, "SIGTERM");
    await vi.waitFor(() => expect(workersOf(sidecar)).toHaveLength(3), { timeout: 10_000 });
    // It is told to stop when the new one is ready, which is not said.
    await sleep(1500);
    writeFileSync(file, yaml(one.url));
    await printed(sidecar, /is used from now on\n/);
    expect(isAlive(first)).toBe(true);
    for (let asked = 0; asked < 4; asked++) expect(await ask(sidecar.url)).toBe("one");
    release();
    expect(await Promise.all(slowly)).toEqual(["slow", "slow"]);
  });

  test("SIGHUP of a terminal ends none of them", async () => {
    const { sidecar } = await startBetween("workers: 2\n");
    const workers = workersOf(sidecar);
    for (const pid of [sidecar.pid, ...workers]) process.kill(pid, "SIGHUP");
    await printed(sidecar, /is used from now on\n/);
    expect(workersOf(sidecar)).toEqual(workers);
    expect(await ask(sidecar.url)).toBe("one");
  });
});

test("under load no request fails, and none meets two configurations, however often the file is saved", async () => {
  await using configurations = await startTwoConfigurations("listen: 127.0.0.1:0\nadmin: false\n");
  const { texts } = configurations;
  const folder = newFolder();
  const file = join(folder, "sidecar.yaml");
  writeFileSync(file, texts[0]);
  await using sidecar = await startCommand(["serve"], { cwd: folder });
  const port = Number(new URL(sidecar.url).port);
  const connect = () => connectTo(port);
  const load = startLoad({ clients: 20, connect, reconnects: true, pause: () => 15 });

  for (let save = 1; save <= 12; save++) {
    const isBroken = save % 4 === 0;
    const count = isBroken ? timesRefused : timesUsed;
    const before = count(sidecar);
    replaceFile(file, isBroken ? "upstream: [\n" : `${texts[save % 2]}# ${save}\n`);
    if (save % 3 === 0) process.kill(sidecar.pid, "SIGHUP");
    await vi.waitFor(() => expect(count(sidecar)).toBeGreaterThan(before), { timeout: 10_000 });
    await load.more(50);
  }
  await load.stop();

  expect(load.failures).toEqual([]);
});
