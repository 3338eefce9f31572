// What logging and metrics cost a request: the same sidecar with both, with one of them, and with neither.
//
//   npm exec -s -- node bench/observability.js           two minutes
//   npm exec -s -- node bench/observability.js --quick   half a minute, and less exact
//
// The log is JSON, and goes into a file. The contestants take many short turns of so many requests each, so that a neighbour
// who slows the machine for a second slows all alike; what counts is the median of the ratios of the rounds.
import { readFileSync } from "node:fs";
import { startBackend } from "./backend.js";
import { serveCommand } from "./countersign.js";
import { temporaryFolder } from "./folder.js";
import { machineOf } from "./machine.js";
import { leaveProxyCore, stop } from "./processes.js";
import { openShort, takeShortTurns } from "./short-turns.js";
import { median, medianRatio } from "./statistics.js";

const QUICK = process.argv.includes("--quick");
const ROUNDS = QUICK ? 20 : 150;
const REQUESTS_A_TURN = QUICK ? 500 : 1500;
const WARM_UP_TURNS = 20;

const SILENT = { log: { level: "silent" }, admin: false };
const LOGGED = { log: { level: "info", format: "json" } };
const CONTESTANTS = {
  neither: SILENT,
  metrics: { log: SILENT.log },
  log: { ...LOGGED, admin: false },
  both: LOGGED,
};

const folder = temporaryFolder();
await leaveProxyCore();
const machine = machineOf({ rounds: ROUNDS, isQuick: QUICK });
const upstream = `http://127.0.0.1:${await startBackend(folder)}`;
const opened = [];
for (const [name, settings] of Object.entries(CONTESTANTS))
  opened.push(
    await openShort(name, (own, addresses) => serveCommand(own, addresses, settings), { folder, upstream }),
  );
await takeShortTurns(opened, { rounds: ROUNDS, warmUpRounds: WARM_UP_TURNS, requests: REQUESTS_A_TURN });
// The last lines are written at the end.
for (const { child } of opened) await stop(child);

const { node, processors, loadAverage, isPinned } = machine;
console.log(
  `Node.js ${node}, ${processors}, load ${loadAverage} before the run${isPinned ? "" : ", nothing pinned"}; ${ROUNDS} rounds of ${REQUESTS_A_TURN} requests.`,
);
console.log();
console.log("| what is on | CPU µs a request | ratio to neither | log lines a request |");
console.log("| --- | --: | --: | --: |");
for (const { name, rounds, logFile } of opened) {
  const lines = readFileSync(logFile, "latin1").split('"path":"/orders/1"').length - 1;
  const figures = [
    median(rounds).toFixed(1),
    medianRatio(rounds, opened[0].rounds).toFixed(3),
    (lines / ((ROUNDS + WARM_UP_TURNS) * REQUESTS_A_TURN)).toFixed(2),
  ];
  console.log(`| ${name} | ${figures.join(" | ")} |`);
}
process.exit();
