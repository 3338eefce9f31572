import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { residentMegabytes } from "../processes.js";
import { say } from "../progress.js";
import { median, medianRatio } from "../statistics.js";
import { within } from "../within.js";

/** A step that takes longer hangs: starting a sidecar with everything it is to have, a turn, or the end. */
const STEP_MILLISECONDS = 60_000;

/**
 * Measures all sizes of a series, which take many short turns, so that a neighbour slows all alike.
 *
 * @param plan `rounds`, the milliseconds of a `turn`, and the `warmUp` of each size: so many `requests`, or `milliseconds`
 * @returns a point for each size: its `microseconds` and other figures as medians of the `rounds`, which are all there, its
 * `ratio` to the smallest, and its memory in the end
 */
export async function measure(series, context, plan) {
  const opened = [];
  for (const size of series.sizes) {
    say(`${series.name}: starting ${size}`);
    opened.push(await open(series, size, context, plan));
  }
  for (let round = 1; round <= plan.rounds; round++) {
    say(`${series.name}: round ${round} of ${plan.rounds}`);
    // Each comes first as often as last.
    for (const { name, turn, rounds } of round % 2 === 0 ? opened : opened.toReversed())
      rounds.push(await within(STEP_MILLISECONDS, `a turn of ${name}`, turn(plan.turn)));
  }
  say(`${series.name}: ending`);
  const points = await Promise.all(opened.map((one) => pointOf(one, opened[0])));
  const ends = Promise.all(opened.map(({ close }) => close()));
  await within(STEP_MILLISECONDS, `the end of ${series.name}`, ends);
  return points;
}

async function open(series, size, context, { warmUp }) {
  const name = `${series.name} ${size}`;
  const folder = join(context.folder, series.name, String(size));
  mkdirSync(folder, { recursive: true });
  const opening = series.open(size, { ...context, folder });
  const opened = await within(STEP_MILLISECONDS, `the start of ${name}`, opening);
  await within(STEP_MILLISECONDS, `the warm-up of ${name}`, opened.warmUp(warmUp));
  return { ...opened, name, size, rounds: [] };
}

async function pointOf({ size, child, rounds, facts }, smallest) {
  const ratio = medianRatio(column(rounds, "microseconds"), column(smallest.rounds, "microseconds"));
  const memoryMegabytes = residentMegabytes(child.pid);
  return { size, ...medians(rounds), ratio, memoryMegabytes, ...(await facts()), rounds };
}

function medians(rounds) {
  return Object.fromEntries(Object.keys(rounds[0]).map((key) => [key, median(column(rounds, key))]));
}

function column(rounds, key) {
  return rounds.map((round) => round[key]);
}
