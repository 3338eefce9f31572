import { printTable } from "../table.js";

/** The columns of a period: a heading, and what stands below it. */
const COLUMNS = {
  minute: ({ until }) => (until / 60).toFixed(2).replace(/\.?0+$/, ""),
  "RSS MB": ({ residentMegabytes }) => residentMegabytes.toFixed(0),
  "heap MB": ({ heapMegabytes }) => heapMegabytes.toFixed(0),
  "descriptors at most": ({ descriptors }) => descriptors.toFixed(0),
  "requests/s": ({ requestsPerSecond }) => requestsPerSecond.toFixed(0),
  "p50 ms": ({ p50 }) => (p50 / 1000).toFixed(2),
  "p99 ms": ({ p99 }) => (p99 / 1000).toFixed(2),
  "loop delay p99 ms": ({ loopDelayMilliseconds }) => loopDelayMilliseconds.toFixed(1),
  "CPU µs a request": ({ microseconds }) => microseconds?.toFixed(1) ?? "?",
  reloads: ({ reloads, broken }) => `${reloads} + ${broken} broken`,
  "new keys sign": ({ keys }) => keys.toFixed(0),
  errors: ({ errors }) => errors.toFixed(0),
};

/** What is run where, and the head of the table. */
export function printBegin({ machine, minutes, periodSeconds }) {
  const { node, system, processors, loadAverage, backend, load, isPinned } = machine;
  console.log(`Node.js ${node}, ${system}, ${processors}, load ${loadAverage} before the run.`);
  console.log(
    `Backend: ${backend}; load: ${load}, 64 connections; ${isPinned ? "the sidecar has a core for itself" : "nothing is pinned"}; minutes: ${minutes}.`,
  );
  if (periodSeconds < 60) console.log("A short run: tenths of it take the place of the minutes.");
  console.log();
  print(Object.keys(COLUMNS));
  print(Object.keys(COLUMNS).map(() => "--:"));
}

/** One row; nothing where nothing was seen. */
export function printPeriod(period) {
  if (period !== undefined) print(Object.values(COLUMNS).map((cellOf) => cellOf(period)));
}

/** What came of it. */
export function printEnd({ counts, errors, verdict }) {
  console.log();
  const { asked, odd, reloads, rotations, linesDropped } = counts;
  console.log(
    `Beside the load: ${asked} requests whose answers were checked; ${odd} odd clients; ${reloads.used} configurations used, ${reloads.broken} refused, ${reloads.hangups} SIGHUPs; ${rotations.begun} rotations begun, ${rotations.signing} keys took over, ${rotations.takenOut} were taken out; ${linesDropped} log lines dropped.`,
  );
  printTable(
    ["", "at most", "measured", ""],
    verdict.map(({ what, atMost, measured, isMet }) => [
      what,
      atMost,
      measured,
      isMet ? "met" : "**not met**",
    ]),
  );
  if (errors.length > 0) console.log();
  for (const { kind, count, examples } of errors) {
    console.log(`- ${count} × ${kind}`);
    for (const example of examples) console.log(`  - ${example}`);
  }
}

function print(cells) {
  console.log(`| ${cells.join(" | ")} |`);
}
