import { namedIn, readCommandLine } from "./command-line.js";
import { CONTESTANTS, LIMIT } from "./contestants.js";

const FEWEST_ROUNDS = 3;

const HELP = `Measures what a request costs: Countersign, its peers, and the least that this stack can do.

  npm run bench                           about seven minutes
  npm run bench -- --quick                under a minute, and less exact

  --only NAME,NAME   measures these, and "${LIMIT}", which the others are compared with
  --rounds N         takes so many turns each, at least ${FEWEST_ROUNDS} (default: 15; with --quick: 3)
  --json FILE        writes every figure of every round
  --svg FILE         draws the CPU time a request
  --help             tells this

Contestants:
${CONTESTANTS.map(({ name, title }) => `  ${name.padEnd(21)} ${title}`).join("\n")}

It measures the CPU time that the kernel counts for a process, and so needs Linux. It pins with taskset, and uses nginx and
wrk where they are on the PATH; what is missing it does without.`;

/**
 * For how many milliseconds each thing is measured, and how often. Many short turns, as a neighbour who slows the machine for
 * some seconds then slows all contestants alike. A turn of a quick run may be shorter, and so is its warm-up.
 */
const QUICK = { rounds: 3, turn: 2000, signature: 60, oneConnection: 250, starts: 3, longTurn: 2000 };
const FULL = {
  rounds: 15,
  turn: 1000,
  warmUp: 6000,
  signature: 100,
  oneConnection: 400,
  starts: 7,
  longTurn: 15_000,
};

/**
 * What the command line asks for: the contestants, the files, and for how many milliseconds each thing is measured.
 * Ends the process with 2 where it cannot be understood.
 */
export function readOptions() {
  const { values, fail } = readCommandLine({
    script: "npm run bench",
    help: HELP,
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      rounds: { type: "string" },
    },
  });
  const plan = values.quick ? QUICK : FULL;
  const rounds = Number(values.rounds ?? plan.rounds);
  if (!Number.isInteger(rounds) || rounds < FEWEST_ROUNDS) fail(`--rounds: at least ${FEWEST_ROUNDS}`);
  const named = namedIn(values.only, CONTESTANTS, fail);
  const contestants = CONTESTANTS.filter(
    (contestant) => contestant.name === LIMIT || named.includes(contestant),
  );
  return { ...values, plan: { ...plan, rounds }, contestants };
}
