import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, expect, test, vi } from "vitest";
import { StallWatch, type Watched } from "../../../src/gateway/upstream/stall-watch.ts";

setFlagsFromString("--expose-gc");
const collect: (options: { type: "minor" | "major" }) => void = runInNewContext("gc");

afterEach(() => void vi.useRealTimers());

test("what is watched ticks, and what was deleted does not", () => {
  vi.useFakeTimers();
  const watch = new StallWatch();
  const ticked: string[] = [];
  const [first, second, third] = ["first", "second", "third"].map((name) => watched(() => ticked.push(name)));
  for (const one of [first, second, third]) watch.add(one as Watched);
  watch.delete(first as Watched);
  watch.delete(first as Watched);
  vi.advanceTimersByTime(500);
  expect(ticked.toSorted()).toEqual(["second", "third"]);
  watch.delete(third as Watched);
  watch.delete(second as Watched);
  vi.advanceTimersByTime(500);
  expect(ticked).toHaveLength(2);
  watch.close();
});

test("whoever is deleted while all tick keeps nobody else from it", () => {
  vi.useFakeTimers();
  const watch = new StallWatch();
  const ticked = new Set<number>();
  for (let i = 0; i < 5; i++) {
    const one: Watched = watched(() => {
      ticked.add(i);
      if (i % 2 === 0) watch.delete(one);
    });
    watch.add(one);
  }
  vi.advanceTimersByTime(500);
  expect([...ticked].toSorted()).toEqual([0, 1, 2, 3, 4]);
  ticked.clear();
  vi.advanceTimersByTime(500);
  expect([...ticked].toSorted()).toEqual([1, 3]);
  watch.close();
});

test("what has come and gone needs no collection of the whole heap", () => {
  const watch = new StallWatch();
  const underWay: Watched[] = [];
  const heapMegabytes = () => process.memoryUsage().heapUsed / 1024 / 1024;
  collect({ type: "major" });
  let before = 0;
  for (let round = 0; round < 50; round++) {
    for (let i = 0; i < 1000; i++) {
      const one = { ...watched(() => {}), bytes: Array(1000).fill(i) };
      watch.add(one);
      underWay.push(one);
      if (underWay.length > 64) watch.delete(underWay.shift() as Watched);
    }
    collect({ type: "minor" });
    // What the first rounds leave is that of the test itself.
    if (round === 9) before = heapMegabytes();
  }
  expect(heapMegabytes() - before).toBeLessThan(10);
  watch.close();
});

function watched(tick: () => void): Watched {
  return { watchIndex: 0, tick };
}
