// What a request costs, side by side: npm run bench -- --help
//
// Times drift on a shared machine. So the contestants take turns (A B C, A B C), and what counts is the median of the
// ratios of the rounds: CPU microseconds of a proxy for one request, beside those of the least that this stack can do.

import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { startBackend } from "./backend.js";
import { budgetOf } from "./budget.js";
import { drawChart } from "./chart.js";
import { temporaryFolder } from "./folder.js";
import { installPeers } from "./install-peers.js";
import { loadProgram } from "./load.js";
import { machineOf } from "./machine.js";
import { loopDelayMilliseconds, open } from "./open.js";
import { readOptions } from "./options.js";
import { leaveProxyCore, stop } from "./processes.js";
import { say } from "./progress.js";
import { printReport } from "./report.js";
import {
  aloneMicroseconds,
  loadedLoopDelayMilliseconds,
  openRawSignatures,
  startMilliseconds,
  takeTurn,
} from "./turns.js";

/** With `--quick` the turns become as short as it takes to end by then, but not shorter than what still says something. */
const QUICK_ENDS_AFTER_MILLISECONDS = 48_000;
const SHORTEST_TURN_MILLISECONDS = 150;

/** What is compiled while it runs becomes faster for some seconds. */
const QUICK_WARM_UP_TURNS = 2;

const ALGORITHMS = ["EdDSA", "ES256"];

const { plan, contestants, quick, json, svg } = readOptions();
if (loadProgram === "autocannon" || contestants.some(({ isPeer }) => isPeer)) installPeers();

const startedAt = performance.now();
const folder = temporaryFolder();
await leaveProxyCore();
const machine = machineOf({ rounds: plan.rounds, isQuick: quick });

const backendPort = await startBackend(folder);
const context = { folder, upstream: `http://127.0.0.1:${backendPort}`, keys: makeKeys() };
const skipped = contestants.filter(({ missing }) => missing !== undefined);
const opened = [];
for (const contestant of contestants) {
  if (contestant.missing !== undefined) continue;
  say(`starting ${contestant.name}`);
  opened.push({ ...(await open(contestant, context)), rounds: [] });
}
const signatures = openRawSignatures();
const byName = new Map(opened.map((contestant) => [contestant.name, contestant]));

const startTimes = [];
const plain = byName.get("countersign");
for (let i = 0; plain !== undefined && i < plan.starts; i++)
  startTimes.push(await startMilliseconds(plain, context));

const alone = {
  direct: { port: backendPort },
  nginx: byName.get("nginx"),
  bare: byName.get("bare"),
  countersign: plain,
};
const turnMilliseconds = quick ? await shortTurn() : plan.turn;
for (const contestant of opened) {
  say(`warming up ${contestant.name}`);
  await takeTurn(contestant, plan.warmUp ?? QUICK_WARM_UP_TURNS * turnMilliseconds);
}

for (const algorithm of ALGORITHMS) await signatures.measure(algorithm, plan.signature);

const rawRounds = [];
for (let round = 1; round <= plan.rounds; round++) {
  // Each comes first as often as last.
  for (const contestant of round % 2 === 0 ? opened : opened.toReversed()) {
    say(`round ${round} of ${plan.rounds}: ${contestant.name}`);
    contestant.rounds.push(await takeTurn(contestant, turnMilliseconds));
  }
  const raw = {};
  for (const algorithm of ALGORITHMS) raw[algorithm] = await signatures.measure(algorithm, plan.signature);
  rawRounds.push(raw);
  // A sidecar forgets old delays when it is asked, so that the start is not among those that are told at the end.
  for (const contestant of opened) if (contestant.hasMetrics) await loopDelayMilliseconds(contestant);
}

const aloneRounds = [];
for (let round = 1; round <= plan.rounds; round++) {
  say(`one connection, round ${round} of ${plan.rounds}`);
  const figures = {};
  for (const [name, target] of Object.entries(alone)) {
    if (target !== undefined) figures[name] = await aloneMicroseconds(target, plan.oneConnection);
  }
  aloneRounds.push(figures);
}

const rsa = byName.get("countersign-rs256");
const loopDelay = rsa && (await loadedLoopDelayMilliseconds(rsa, plan.longTurn));
say("");

await Promise.all([...opened, signatures].map(({ child }) => stop(child)));
const measured = opened.map(({ child, commandLine, port, adminPort, ...figures }) => figures);
const results = {
  machine: { ...machine, turnMilliseconds },
  contestants: measured,
  rawRounds,
  aloneRounds,
  startTimes,
  loopDelay,
};
const report = {
  ...results,
  skipped: skipped.map(({ title, missing }) => ({ title, missing })),
  budget: budgetOf(results),
};
printReport(report);
if (json !== undefined) writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`);
if (svg !== undefined) writeFileSync(svg, drawChart(report));
process.exit();

/** The key that peers sign with, as a file for those that read one. */
function makeKeys() {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const privateKeyFile = join(folder, "peers.pem");
  writeFileSync(privateKeyFile, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  return { privateKey, privateKeyFile };
}

/** What is left for one turn of a quick run. */
async function shortTurn() {
  const { rounds, oneConnection, signature, longTurn } = plan;
  const before = performance.now();
  await aloneMicroseconds({ port: backendPort }, oneConnection);
  // A turn takes longer than the load itself: its program starts and ends.
  const aloneTurn = performance.now() - before;
  const others = rounds * (Object.keys(alone).length * aloneTurn + ALGORITHMS.length * signature) + longTurn;
  const left = QUICK_ENDS_AFTER_MILLISECONDS - (performance.now() - startedAt) - others;
  const milliseconds = left / (opened.length * (rounds + QUICK_WARM_UP_TURNS)) - (aloneTurn - oneConnection);
  return Math.round(Math.min(plan.turn, Math.max(SHORTEST_TURN_MILLISECONDS, milliseconds)));
}
