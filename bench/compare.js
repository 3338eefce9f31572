// Whether this checkout costs more than another commit: npm run bench:compare -- [REV] [--quick]     default: HEAD^
//
// The other commit is built in a folder of its own. The two take many short turns, interleaved; it ends with 1 where the
// median of the ratios of the rounds is above 1.05 in any of the cases: CPU time of a request.
import { execFileSync } from "node:child_process";
import { existsSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startBackend } from "./backend.js";
import { API_KEY_FIELDS, CASES, serveCommand } from "./countersign.js";
import { temporaryFolder } from "./folder.js";
import { machineOf } from "./machine.js";
import { leaveProxyCore, stop } from "./processes.js";
import { openShort, takeShortTurns } from "./short-turns.js";
import { median, medianRatio } from "./statistics.js";

const MOST = 1.05;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: "boolean", default: false } },
});
const [revision = "HEAD^"] = positionals;
const turns = values.quick
  ? { rounds: 20, warmUpRounds: 10, requests: 500 }
  : { rounds: 120, warmUpRounds: 20, requests: 1500 };

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = temporaryFolder();
// By then the folder is gone.
process.once("exit", () => git("worktree", "prune"));
const programs = { other: buildOther(), own: join(root, "bin/countersign.js") };
await leaveProxyCore();
const machine = machineOf({ rounds: turns.rounds, isQuick: values.quick });
const upstream = `http://127.0.0.1:${await startBackend(folder)}`;

console.log(
  `Node.js ${machine.node}, ${machine.processors}, load ${machine.loadAverage} before the run; ${turns.rounds} rounds of ${turns.requests} requests.`,
);
console.log();
console.log(`| case | ${revision}, CPU µs a request | this checkout | ratio |`);
console.log("| --- | --: | --: | --: |");
let isDearer = false;
for (const [name, headers] of [
  ["reused", {}],
  ["policies", API_KEY_FIELDS],
  ["eddsa", {}],
]) {
  const opened = [];
  for (const [whose, program] of Object.entries(programs)) {
    const commandLine = (own, addresses) => serveCommand(own, addresses, CASES[name], program);
    opened.push(await openShort(`${name}-${whose}`, commandLine, { folder, upstream, headers }));
  }
  await takeShortTurns(opened, turns);
  for (const { child } of opened) await stop(child);
  const [other, own] = opened.map(({ rounds }) => rounds);
  const ratio = medianRatio(own, other);
  isDearer ||= ratio > MOST;
  console.log(`| ${name} | ${median(other).toFixed(1)} | ${median(own).toFixed(1)} | ${ratio.toFixed(3)} |`);
}
if (isDearer)
  console.log(`\nA request costs more than ${MOST} times as much: look for what it is with --cpu-prof.`);
process.exit(isDearer ? 1 : 0);

/** Builds the other commit, with the packages of this one; returns its program. */
function buildOther() {
  const path = join(folder, "other");
  git("worktree", "add", "--detach", path, revision);
  if (!existsSync(join(path, "node_modules")))
    symlinkSync(join(root, "node_modules"), join(path, "node_modules"));
  // In its own way. What it prints there is a list of what it made.
  execFileSync("npm", ["run", "--silent", "build"], { cwd: path, stdio: ["ignore", "ignore", "inherit"] });
  return join(path, "bin/countersign.js");
}

function git(...words) {
  execFileSync("git", ["-C", root, ...words], { stdio: ["ignore", "ignore", "inherit"] });
}
