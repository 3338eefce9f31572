import { expect, test } from "vitest";
import type { Decider } from "../../src/gateway/decide.ts";
import { openDecider, REQUEST } from "../support/decider.ts";

const early = (name: string) => `/${name}/last/last/:id`;
const late = (name: string) => `/last/last/${name}/:id`;

const ANY = "/last/*rest";
const hostOf = (name: string) => (name === "last" ? "api.example.com" : `${name}.example.com`);

const ROUNDS = 21;
const TURN_MILLISECONDS = 5;

/** CPU microseconds of this thread for one decision: what else the machine does counts little. */
function cost(decide: Decider): number {
  const before = process.threadCpuUsage();
  const end = performance.now() + TURN_MILLISECONDS;
  let decisions = 0;
  do {
    for (let i = 0; i < 20; i++) decide(REQUEST);
    decisions += 20;
  } while (performance.now() < end);
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / decisions;
}

// One that compares the request with each of them in turn takes more than ten times as long.
test.each([
  ["1000 policies that differ in the first segment", { pathOf: early, policies: 1000, keys: 1 }],
  ["1000 policies that differ in the last fixed segment", { pathOf: late, policies: 1000, keys: 1 }],
  ["1000 policies that differ in the host", { pathOf: () => ANY, hostOf: hostOf, policies: 1000, keys: 1 }],
  ["10 000 API keys", { pathOf: late, policies: 1, keys: 10_000 }],
])("a decision with %s costs less than twice as much as with one", async (_title, many) => {
  const one = await openDecider({ pathOf: late, policies: 1, keys: 1 });
  const all = await openDecider(many);
  try {
    const ratios = Array.from({ length: ROUNDS }, () => {
      const reference = cost(one.decide);
      return cost(all.decide) / reference;
    });
    expect(ratios.toSorted((a, b) => a - b)[(ROUNDS - 1) / 2]).toBeLessThan(2);
  } finally {
    await all.close();
    await one.close();
  }
});
