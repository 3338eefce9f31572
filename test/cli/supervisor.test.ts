import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createSupervisor, type StopOrder, type WorkerEvents } from "../../src/cli/supervisor.ts";

/** A worker that does what the test says. */
interface FakeWorker extends WorkerEvents {
  readonly pid: number;
  readonly orders: (StopOrder | "kill")[];
}

const REPLACED: StopOrder = { notReadySeconds: 0, isReplaced: true };
const ENDING: StopOrder = { notReadySeconds: 5, isReplaced: false };
/** Longer than any worker takes to be started again. */
const LONG_MILLISECONDS = 11_000;

/** What runs where. */
const describing = (text: string) => ({ text, message: text, fields: {} });

let forked: FakeWorker[];
let reports: string[];

function supervise(count: number, onNoneLeft?: () => void) {
  return createSupervisor({
    count,
    ...(onNoneLeft && { onNoneLeft }),
    report: (message) => reports.push(message),
    fork(events) {
      const worker: FakeWorker = { ...events, pid: forked.length + 1, orders: [] };
      forked.push(worker);
      return {
        pid: worker.pid,
        stop: (order) => worker.orders.push(order),
        kill: () => worker.orders.push("kill"),
      };
    },
  });
}

/** The worker of this number, counted from 1 in the order of their starts. */
function worker(pid: number): FakeWorker {
  const found = forked[pid - 1];
  if (!found) throw new Error(`worker ${pid} has not been started`);
  return found;
}

/** Starts `count` workers, which are all ready. */
async function superviseRunning(count: number, onNoneLeft?: () => void) {
  const supervisor = supervise(count, onNoneLeft);
  const started = supervisor.start();
  worker(1).ready(describing("1"));
  await vi.waitFor(() => expect(forked).toHaveLength(count));
  for (const { pid, ready } of forked) if (pid > 1) ready(describing(String(pid)));
  expect(await started).toEqual({ kind: "started", description: describing("1") });
  return supervisor;
}

beforeEach(() => {
  forked = [];
  reports = [];
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test("the first worker starts alone: what is wrong for all is said once, and what all need is made once", async () => {
  const supervisor = supervise(3);
  const started = supervisor.start();
  await vi.advanceTimersByTimeAsync(LONG_MILLISECONDS);
  expect(forked).toHaveLength(1);
  worker(1).ended("with 1", 1);
  expect(await started).toEqual({ kind: "failed", exitCode: 1 });
  await vi.advanceTimersByTimeAsync(LONG_MILLISECONDS);
  expect(forked).toHaveLength(1);
});

test("where a later worker cannot start at first, all are ended", async () => {
  const supervisor = supervise(2);
  const started = supervisor.start();
  worker(1).ready(describing("it"));
  await vi.waitFor(() => expect(forked).toHaveLength(2));
  worker(2).ended("with 3", 3);
  expect(await started).toEqual({ kind: "failed", exitCode: 3 });
  expect(worker(1).orders).toEqual(["kill"]);
});

test("a worker that dies is started again, each time after twice as long, and at most after ten seconds", async () => {
  await superviseRunning(2);
  const delays: number[] = [];
  for (let death = 0; death < 9; death++) {
    const dead = forked.at(death === 0 ? 0 : -1) as FakeWorker;
    dead.ended("by SIGKILL", 1);
    const diedAt = Date.now();
    const before = forked.length;
    while (forked.length === before) await vi.advanceTimersByTimeAsync(50);
    delays.push(Date.now() - diedAt);
  }
  expect(delays).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
  expect(reports.slice(0, 2)).toEqual([
    "worker 1 ended by SIGKILL; another one starts in 0.1 s",
    "worker 3 ended by SIGKILL; another one starts in 0.2 s",
  ]);
  // The other one has not been touched.
  expect(worker(2).orders).toEqual([]);
});

test("a worker that has lived for a minute is started again as soon as the first time", async () => {
  await superviseRunning(1);
  for (const life of [0, 59_000, 60_000]) {
    await vi.advanceTimersByTimeAsync(life);
    forked.at(-1)?.ended("with 1", 1);
    await vi.advanceTimersByTimeAsync(LONG_MILLISECONDS);
    forked.at(-1)?.ready(describing("it"));
  }
  expect(reports.map((report) => /in (.*)/.exec(report)?.[1])).toEqual(["0.1 s", "0.2 s", "0.1 s"]);
});

test("a worker that wants to stop goes on until its successor is ready", async () => {
  await superviseRunning(2);
  worker(1).leaving();
  expect(forked).toHaveLength(3);
  expect(worker(1).orders).toEqual([]);
  worker(3).ready(describing("it"));
  expect(worker(1).orders).toEqual([REPLACED]);
  worker(1).ended("with 0", 0);
  await vi.advanceTimersByTimeAsync(LONG_MILLISECONDS);
  expect(forked).toHaveLength(3);
});

test("a worker that wants to stop gets one successor, however often it says so", async () => {
  await superviseRunning(1);
  worker(1).leaving();
  worker(1).leaving();
  worker(2).leaving();
  expect(forked).toHaveLength(2);
});

test("a worker goes on where its successor cannot start, until one can", async () => {
  await superviseRunning(1);
  worker(1).leaving();
  worker(2).ended("with 1", 1);
  expect(worker(1).orders).toEqual([]);
  await vi.advanceTimersByTimeAsync(100);
  worker(3).ready(describing("it"));
  expect(worker(1).orders).toEqual([REPLACED]);
});

test("a worker that ends before its successor is ready is not replaced twice", async () => {
  await superviseRunning(1);
  worker(1).leaving();
  worker(1).ended("with 1", 1);
  worker(2).ready(describing("it"));
  await vi.advanceTimersByTimeAsync(LONG_MILLISECONDS);
  expect(forked).toHaveLength(2);
  expect(worker(1).orders).toEqual([]);
});

test("to stop is to stop all, also those that start, and to start none", async () => {
  const supervisor = await superviseRunning(2);
  worker(1).leaving();
  worker(2).ended("by SIGKILL", 1);
  const stopped = supervisor.stop(ENDING, 1000);
  expect([worker(1).orders, worker(3).orders]).toEqual([[ENDING], [ENDING]]);
  worker(3).leaving();
  worker(3).ended("with 1", 1);
  worker(1).ended("with 0", 0);
  // One that was starting has no requests to lose.
  expect(await stopped).toBe(true);
  await vi.advanceTimersByTimeAsync(LONG_MILLISECONDS);
  expect(forked).toHaveLength(3);
});

test("a worker that is being replaced goes on as it was told when all stop", async () => {
  const supervisor = await superviseRunning(1);
  worker(1).leaving();
  worker(2).ready(describing("it"));
  void supervisor.stop(ENDING, 1000);
  expect([worker(1).orders, worker(2).orders]).toEqual([[REPLACED], [ENDING]]);
});

test("a worker that does not end in time is killed, and that is no good end", async () => {
  const supervisor = await superviseRunning(2);
  const stopped = supervisor.stop(ENDING, 1000);
  worker(1).ended("with 0", 0);
  await vi.advanceTimersByTimeAsync(1000);
  expect(worker(2).orders).toEqual([ENDING, "kill"]);
  worker(2).ended("by SIGKILL", 1);
  expect(await stopped).toBe(false);
});

test("where nothing runs there is nothing to wait for", async () => {
  const supervisor = await superviseRunning(1);
  worker(1).ended("by SIGKILL", 1);
  expect(await supervisor.stop(ENDING, 1000)).toBe(true);
});

test("it is told when no worker is left that answers, but not when the last one is stopped", async () => {
  const onNoneLeft = vi.fn();
  const supervisor = await superviseRunning(2, onNoneLeft);
  worker(1).ended("by SIGKILL", 1);
  expect(onNoneLeft).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(100);
  expect(forked).toHaveLength(3);
  worker(2).ended("by SIGKILL", 1);
  expect(onNoneLeft).toHaveBeenCalledTimes(1);
  void supervisor.stop(ENDING, 1000);
  worker(3).ended("with 0", 0);
  expect(onNoneLeft).toHaveBeenCalledTimes(1);
});
