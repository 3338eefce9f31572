import { parseArgs } from "node:util";
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
  const { help, only, ...values } = parse();
  if (help) {
    console.log(HELP);
    process.exit(0);
  }
  if (process.platform !== "linux") fail("It measures what Linux counts for a process.");
  return {
    ...values,
    plan: values.quick ? QUICK : FULL,
    series: values.quick ? chosen(only).map(thinned) : chosen(only),
  };
}

function parse() {
  try {
    return parseArgs({
      options: {
        quick: { type: "boolean", default: false },
        only: { type: "string" },
        json: { type: "string" },
        svg: { type: "string" },
        help: { type: "boolean", short: "h", default: false },
      },
    }).values;
  } catch (error) {
    return fail(error.message);
  }
}

function chosen(only) {
  if (only === undefined) return SERIES;
  const names = new Set(only.split(","));
  for (const name of names) {
    if (!SERIES.some((series) => series.name === name)) fail(`--only: there is no "${name}"`);
  }
  return SERIES.filter(({ name }) => names.has(name));
}

/** With the smallest size, the greatest, and every other one between them. */
function thinned({ sizes, ...series }) {
  return { ...series, sizes: sizes.filter((_, index) => index === 0 || (sizes.length - index) % 2 === 1) };
}

function fail(message) {
  console.error(`${message}\nnpm run bench:scale -- --help`);
  process.exit(2);
}
