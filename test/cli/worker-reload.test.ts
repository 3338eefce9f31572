import { expect, test, vi } from "vitest";
import type { ForkedWorker } from "../../src/cli/forked-worker.ts";
import type { ReloadOrder, WorkerReloadOutcome } from "../../src/cli/worker-messages.ts";
import { reloadWorkers } from "../../src/cli/worker-reload.ts";
import { parseConfig } from "../../src/config/parse.ts";
import { keptLog } from "../support/log.ts";

const PARSED = parseConfig("upstream: http://127.0.0.1:9", { file: "sidecar.yaml" });

/** A worker that answers each order alike; `undefined`: it has ended. */
function workerThat(pid: number, answer: () => Promise<WorkerReloadOutcome | undefined>) {
  const orders: ReloadOrder[] = [];
  const worker: ForkedWorker = {
    pid,
    stop() {},
    kill() {},
    askForMetrics: async () => false,
    reload(order) {
      orders.push(order);
      return answer();
    },
  };
  return { worker, orders };
}

const used = async () => ({ needsRestart: ["listen"] });

/** Reloads these workers, and tells what became of it. */
async function reloaded(workers: readonly { readonly worker: ForkedWorker }[]) {
  const { log, objects } = keptLog();
  const adopt = vi.fn();
  const set = new Set(workers.map(({ worker }) => worker));
  const outcome = await reloadWorkers(set, async () => PARSED, adopt, log).catch((error: Error) => error);
  return { outcome, hasAdopted: adopt.mock.calls.length === 1, lines: objects() };
}

test("what the first worker cannot use is used by none", async () => {
  const first = workerThat(1, async () => ({ problem: "no such file" }));
  const second = workerThat(2, used);
  const { outcome, hasAdopted } = await reloaded([first, second]);
  expect(outcome).toEqual(new Error("no such file"));
  expect(hasAdopted).toBe(false);
  expect(second.orders).toEqual([{ problem: "no such file" }]);
});

test.each([
  ["has ended", undefined],
  ["is about to end", { isStopping: true } as const],
])("a worker that %s has no say", async (_what, answer) => {
  const leaving = workerThat(1, async () => answer);
  const second = workerThat(2, used);
  const { outcome, hasAdopted, lines } = await reloaded([leaving, second]);
  expect({ outcome, hasAdopted, lines }).toEqual({ outcome: ["listen"], hasAdopted: true, lines: [] });
  expect(second.orders).toEqual([{ source: PARSED.source }]);
});

test("where no worker is left to try it, it is not used by those that are started next", async () => {
  const ended = workerThat(1, async () => undefined);
  const { outcome, hasAdopted } = await reloaded([ended, ended]);
  expect(outcome).toEqual(expect.objectContaining({ message: expect.stringMatching(/^no process runs/) }));
  expect(hasAdopted).toBe(false);
});

test("a worker that hangs keeps none of the others from the new configuration, and it is said which", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const hanging = workerThat(1, () => new Promise(() => {}));
    const second = workerThat(2, used);
    const waiting = reloaded([hanging, second]);
    await vi.advanceTimersByTimeAsync(30_000);
    const { outcome, hasAdopted, lines } = await waiting;
    expect({ outcome, hasAdopted }).toEqual({ outcome: ["listen"], hasAdopted: true });
    expect(lines).toEqual([expect.objectContaining({ level: "error", worker: 1 })]);
  } finally {
    vi.useRealTimers();
  }
});
