// What a decision about a request costs with many policies and many API keys, beside one with one of each.
//
//   npm exec -s -- node bench/policies.js           half a minute
//   npm exec -s -- node bench/policies.js --quick   a few seconds, and less exact
//
// The same request is decided each time: it matches the last policy, by the last key, and its token was made before. Times
// drift on a shared machine, so the configurations take turns, and what counts is the median of the ratios of the rounds.
import { cpus, loadavg } from "node:os";
import { openDecider, REQUEST } from "../test/support/decider.ts";

const QUICK = process.argv.includes("--quick");
// Many short turns rather than few long ones: a neighbour that slows the machine for a second slows every way alike.
const ROUNDS = QUICK ? 10 : 60;
const TURN_MILLISECONDS = QUICK ? 20 : 50;
const WARM_UP_TURNS = 5;

const early = (name) => `/${name}/last/last/:id`;
const late = (name) => `/last/last/${name}/:id`;
const behindParameter = (name) => `/:tenant/last/${name}/:id`;

const VARIANTS = [
  { name: "1 policy, 1 key", pathOf: late, policies: 1, keys: 1 },
  { name: "1000 policies that differ in the first segment", pathOf: early, policies: 1000, keys: 1 },
  { name: "1000 policies that differ in the last fixed segment", pathOf: late, policies: 1000, keys: 1 },
  { name: "10 000 keys", pathOf: late, policies: 1, keys: 10_000 },
  { name: "1000 policies, 10 000 keys", pathOf: late, policies: 1000, keys: 10_000 },
  // No segment at the start is fixed, so that each is compared with the path: what the others would cost without a tree.
  { name: "1000 policies that begin with a parameter", pathOf: behindParameter, policies: 1000, keys: 1 },
];

const opened = [];
for (const { name, pathOf, policies, keys } of VARIANTS) {
  const before = performance.now();
  const decider = await openDecider({ pathOf, policies, keys });
  opened.push({ name, decider, openedIn: performance.now() - before, rounds: [] });
}

for (let round = -WARM_UP_TURNS; round < ROUNDS; round++) {
  let reference;
  for (const { decider, rounds } of opened) {
    const microseconds = measure(decider.decide, TURN_MILLISECONDS);
    reference ??= microseconds;
    if (round >= 0) rounds.push({ microseconds, ratio: microseconds / reference });
  }
}

console.log(
  `Node.js ${process.version}; ${cpus().length} × ${cpus()[0]?.model}, load ${loadavg()[0]}; ${ROUNDS} rounds`,
);
console.log();
console.log("| configuration | CPU µs for a decision | ratio to the first | opened in ms |");
console.log("| --- | --: | --: | --: |");
for (const { name, openedIn, rounds } of opened) {
  const figures = [
    median(rounds.map(({ microseconds }) => microseconds)).toFixed(2),
    `${median(rounds.map(({ ratio }) => ratio)).toFixed(2)}×`,
    openedIn.toFixed(0),
  ];
  console.log(`| ${name} | ${figures.join(" | ")} |`);
}
for (const { decider } of opened) await decider.close();

/** CPU microseconds of the main thread for one decision, over decisions that follow each other for a while. */
function measure(decide, milliseconds) {
  const before = process.threadCpuUsage();
  const end = performance.now() + milliseconds;
  let decisions = 0;
  do {
    for (let i = 0; i < 100; i++) decide(REQUEST);
    decisions += 100;
  } while (performance.now() < end);
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / decisions;
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
