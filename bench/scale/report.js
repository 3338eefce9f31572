import { printTable } from "../table.js";

/** Processes that ran or waited for a core on average, without this program. */
const BUSY = 0.5;

const MEMORY = [{ heading: "RSS MB", of: ({ memoryMegabytes }) => memoryMegabytes.toFixed(0) }];

/** Prints what the figures depend on, as Markdown. */
export function printMachine({ node, system, processors, loadAverage, backend, isPinned, rounds, isQuick }) {
  console.log(`Node.js ${node}, ${system}, ${processors}, load ${loadAverage} before the run.`);
  console.log(
    `Backend: ${backend}; ${isPinned ? "the sidecar has a core for itself" : "nothing is pinned"}; ${rounds} rounds. Ratios are to the first line of a table.`,
  );
  if (isQuick) console.log("A quick run: the programs were not warm yet, some less than others.");
  if (loadAverage > BUSY)
    console.log("The machine was busy before the run: if it still was, these figures say little.");
}

/** Prints one series, as Markdown. */
export function printSeries({ title, sizeTitle, columns = MEMORY, note }, points, conclusion) {
  console.log(`\n## ${title}`);
  printTable(
    [sizeTitle, "CPU µs a request", "ratio", ...columns.map(({ heading }) => heading)],
    points.map((point) => [
      String(point.size),
      point.microseconds.toFixed(1),
      point.ratio.toFixed(2),
      ...columns.map(({ of }) => of(point)),
    ]),
  );
  console.log(`\nFound: ${conclusion}.`);
  if (note !== undefined) console.log(note);
}
