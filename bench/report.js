import { median, medianRatio } from "./statistics.js";
import { printTable } from "./table.js";

/** Processes that ran or waited for a core on average, without this program. */
const BUSY = 0.5;

/** Prints what was measured, as Markdown. */
export function printReport({ machine, contestants, skipped, rawRounds, aloneRounds, budget }) {
  const {
    node,
    system,
    processors,
    loadAverage,
    backend,
    load,
    isPinned,
    rounds,
    turnMilliseconds,
    isQuick,
  } = machine;
  console.log(`Node.js ${node}, ${system}, ${processors}, load ${loadAverage} before the run.`);
  console.log(
    `Backend: ${backend}; load: ${load}, 64 connections; ${isPinned ? "the proxy has a core for itself" : "nothing is pinned"}; ${rounds} rounds of ${turnMilliseconds / 1000} s.`,
  );
  if (isQuick) console.log("A quick run: the programs were not warm yet, some less than others.");
  if (loadAverage > BUSY)
    console.log("The machine was busy before the run: if it still was, these figures say little.");

  const limit = contestants[0].rounds.map(({ microseconds }) => microseconds);
  printTable(
    ["", "CPU µs a request", "ratio to bare undici", "requests/s", "p50 µs", "p99 µs", "RSS MB", "token"],
    contestants.map((contestant) => {
      const of = (key) => contestant.rounds.map((round) => round[key]);
      return [
        contestant.title,
        median(of("microseconds")).toFixed(1),
        medianRatio(of("microseconds"), limit).toFixed(2),
        median(of("requestsPerSecond")).toFixed(0),
        median(of("p50")).toFixed(0),
        median(of("p99")).toFixed(0),
        median(of("memoryMegabytes")).toFixed(0),
        contestant.algorithm === undefined ? "does not sign" : `${contestant.algorithm}, verified`,
      ];
    }),
  );
  if (skipped.length > 0) console.log();
  for (const { title, missing } of skipped)
    console.log(`Not measured: ${title}; ${missing} is not installed.`);

  printTable(
    ["one raw signature", "CPU µs"],
    Object.keys(rawRounds[0]).map((algorithm) => [
      algorithm,
      median(rawRounds.map((round) => round[algorithm])).toFixed(1),
    ]),
  );
  printTable(
    ["one connection", "p50 µs"],
    Object.keys(aloneRounds[0]).map((name) => [
      name,
      median(aloneRounds.map((round) => round[name])).toFixed(0),
    ]),
  );
  printTable(
    ["budget", "at most", "measured", ""],
    budget.map(({ what, atMost, measured = "not measured", isMet }) => [
      what,
      atMost,
      measured,
      isMet === undefined ? "" : isMet ? "met" : "**not met**",
    ]),
  );
}
