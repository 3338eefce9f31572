import { namedIn, readCommandLine } from "../command-line.js";
import { SERIES } from "./series.js";

const HELP = `Measures what a request costs a sidecar as things become more.

  npm run bench:scale                     about eight minutes
  npm run bench:scale -- --quick          two minutes, and less exact

  --only NAME,NAME   measures these series
  --json FILE        writes every figure of every round
  --svg FILE         draws the series side by side
  --help             tells this

Series:
${SERIES.map(({ name, title, sizes, sizeTitle }) => `  ${name.padEnd(16)} ${title}: ${sizes[0]} to ${sizes.at(-1)} ${sizeTitle}`).join("\n")}

It measures the CPU time that the kernel counts for a process, and so needs Linux; 10 000 connections need \`ulimit -n 20000\`.
It pins with taskset, and uses nginx and wrk where they are on the PATH; what is missing it does without.`;

/** As in measure.js. What is compiled while it runs becomes faster for some ten thousand requests. */
const FULL = { rounds: 20, turn: 200, warmUp: { requests: 30_000, milliseconds: 3000 } };
const QUICK = { rounds: 6, turn: 80, warmUp: { requests: 8000, milliseconds: 600 } };

/** What the command line asks for: the `series`, the `plan` as in measure.js, and the files. Ends with 2 where it is not understood. */
export function readOptions() {
  const { values, fail } = readCommandLine({
    script: "npm run bench:scale",
    help: HELP,
    options: { quick: { type: "boolean", default: false }, only: { type: "string" } },
  });
  const series = namedIn(values.only, SERIES, fail);
  return {
    ...values,
    plan: values.quick ? QUICK : FULL,
    series: values.quick ? series.map(thinned) : series,
  };
}

/** With the smallest size, the greatest, and every other one between them. */
function thinned({ sizes, ...series }) {
  return { ...series, sizes: sizes.filter((_, index) => index === 0 || (sizes.length - index) % 2 === 1) };
}
