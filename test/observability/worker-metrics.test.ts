import { expect, test } from "vitest";
import { counter, gauge, type Metric } from "../../src/observability/metric.ts";
import { MetricsOfWorkers } from "../../src/observability/worker-metrics.ts";
import { scrapeOf } from "../support/metrics.ts";

const counted = (value: number): Metric => counter("done_total", "x", [{ labels: {}, value }]);
const open = (value: number): Metric => gauge("open", "x", [{ labels: {}, value }], "sum");
const byKey = (...kids: string[]): Metric =>
  counter(
    "answers_total",
    "x",
    kids.map((kid) => ({ labels: { kid }, value: 1 })),
  );

async function told(workers: MetricsOfWorkers<string>, ...current: string[]) {
  const { total, values } = scrapeOf(await workers.text([], (worker) => current.includes(worker)));
  return { done: total("done_total"), open: total("open"), kids: values("answers_total", "kid") };
}

test("what a worker has counted stays counted when it ends, and what it had open is open no more", async () => {
  const workers = new MetricsOfWorkers<string>();
  workers.report("a", [counted(5), open(2)]);
  workers.report("b", [counted(3), open(1)]);
  expect(await told(workers, "a", "b")).toMatchObject({ done: 8, open: 3 });
  workers.end("a");
  expect(await told(workers, "b")).toMatchObject({ done: 8, open: 1 });
  workers.report("c", [counted(1), open(1)]);
  workers.end("b");
  expect(await told(workers, "c")).toMatchObject({ done: 9, open: 1 });
});

test("of a worker that does not answer the counters go on, and nothing else", async () => {
  const workers = new MetricsOfWorkers<string>();
  workers.report("a", [counted(5), open(2)]);
  workers.report("b", [counted(3), open(1)]);
  expect(await told(workers, "b")).toMatchObject({ done: 8, open: 1 });
});

test("counts that cannot be added up are lost, and those of others are not", async () => {
  const workers = new MetricsOfWorkers<string>();
  workers.report("a", [{ ...counted(3), aggregator: "nonsense" as "sum" }]);
  workers.end("a");
  workers.report("b", [counted(5)]);
  workers.end("b");
  workers.report("c", [counted(2)]);
  workers.end("c");
  expect(await told(workers)).toMatchObject({ done: 7 });
});

test("a worker that ends while the text is made is counted once", async () => {
  const workers = new MetricsOfWorkers<string>();
  workers.report("a", [counted(5)]);
  const before = told(workers, "a");
  workers.end("a");
  const after = told(workers);
  expect([(await before).done, (await after).done]).toEqual([5, 5]);
});

test("of a key that no living worker publishes nothing is told", async () => {
  const workers = new MetricsOfWorkers<string>();
  workers.report("a", [byKey("old", "next")]);
  workers.report("b", [byKey("next")]);
  workers.end("a");
  expect((await told(workers, "b")).kids).toEqual(["next"]);
});

test("where one process starts the others, what it says of configurations counts", async () => {
  const reloads = (value: number) => counter("reloads_total", "x", [{ labels: {}, value }], "first");
  const workers = new MetricsOfWorkers<string>();
  workers.report("a", [reloads(7)]);
  workers.report("b", [reloads(7)]);
  workers.end("a");
  const { total } = scrapeOf(await workers.text([reloads(7)], () => true));
  expect(total("reloads_total")).toBe(7);
});
