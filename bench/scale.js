// What a request costs as things become more: npm run bench:scale -- --help
//
// All sizes of a series take short turns, interleaved, and what counts is the median: CPU microseconds of a sidecar for one
// request, beside those with the smallest size.
import { writeFileSync } from "node:fs";
import { startBackend, startBodyBackend } from "./backend.js";
import { temporaryFolder } from "./folder.js";
import { machineOf } from "./machine.js";
import { leaveProxyCore } from "./processes.js";
import { say } from "./progress.js";
import { drawScale } from "./scale/chart.js";
import { growthOf } from "./scale/growth.js";
import { measure } from "./scale/measure.js";
import { readOptions } from "./scale/options.js";
import { printMachine, printSeries } from "./scale/report.js";

const { plan, series, quick, json, svg } = readOptions();

const folder = temporaryFolder();
await leaveProxyCore();
const machine = machineOf({ rounds: plan.rounds, isQuick: quick });
const context = {
  folder,
  upstream: `http://127.0.0.1:${await startBackend(folder)}`,
  bodyUpstream: `http://127.0.0.1:${await startBodyBackend(folder)}`,
};

printMachine(machine);
const measured = [];
for (const one of series) {
  const points = await measure(one, context, one.planOf?.(plan) ?? plan);
  const growth = (one.conclude ?? growthOf)(points);
  say("");
  printSeries(one, points, growth);
  const { name, title, sizeTitle } = one;
  measured.push({ name, title, sizeTitle, growth, points });
}
const report = { machine, series: measured };
if (json !== undefined) writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`);
if (svg !== undefined) writeFileSync(svg, drawScale(report));
process.exit();
