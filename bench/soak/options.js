import { readCommandLine } from "../command-line.js";

const LEAST_MINUTES = 0.1;

const HELP = `Runs a sidecar at full load for a time, while its configuration and its keys change and clients break off, and tells whether
its memory, its descriptors and its p99 stay what they are, and whether anything goes wrong.

  npm run bench:soak                      ten minutes, and half a minute around them
  npm run bench:soak -- --minutes 1       shorter, and less sure

  --minutes N        for how long, at least ${LEAST_MINUTES} (default: 10)
  --json FILE        writes every figure
  --svg FILE         draws them over time
  --help             tells this

It ends with 1 where the last minute is more than 10 % above the second one, or something failed. Where it runs for less than
three minutes, tenths of its time take the place of the minutes.

It counts what Linux tells of a process, and so needs Linux. It pins with taskset, and uses nginx and wrk where they are on the
PATH; what is missing it does without.`;

/** What the command line asks for. Ends the process with 2 where it cannot be understood. */
export function readOptions() {
  const { values, fail } = readCommandLine({
    script: "npm run bench:soak",
    help: HELP,
    options: { minutes: { type: "string", default: "10" } },
  });
  const minutes = Number(values.minutes);
  if (!(minutes >= LEAST_MINUTES && Number.isFinite(minutes))) fail(`--minutes: at least ${LEAST_MINUTES}`);
  return { ...values, minutes };
}
