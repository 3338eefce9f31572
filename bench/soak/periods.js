import { median } from "../statistics.js";

const MINUTE = 60;
const FEWEST_MINUTES = 3;
const PARTS = 10;

/** How long a row is, in seconds: a minute, or a tenth of a time that has too few of them. */
export function periodSecondsOf(seconds) {
  return seconds < FEWEST_MINUTES * MINUTE ? seconds / PARTS : MINUTE;
}

/** What was seen from one second on and before another one; `undefined` where that is nothing. */
export function periodOf({ samples, turns, marks, errorTimes }, from, until) {
  const isInside = (at) => at >= from && at < until;
  const seen = samples.filter(({ at }) => isInside(at));
  const taken = turns.filter(({ at, requests }) => isInside(at) && requests > 0);
  if (seen.length === 0 || taken.length === 0) return undefined;
  const middle = (list, key) => median(list.map((entry) => entry[key]));
  const [first, last] = [seen[0], seen.at(-1)];
  const count = (kind) => marks.filter((mark) => mark.kind === kind && isInside(mark.at)).length;
  return {
    from,
    until,
    residentMegabytes: middle(seen, "residentMegabytes"),
    heapMegabytes: middle(seen, "heapMegabytes"),
    // Between two turns of the load there are fewer.
    descriptors: Math.max(...seen.map(({ descriptors }) => descriptors)),
    loopDelayMilliseconds: middle(seen, "loopDelayMilliseconds"),
    requestsPerSecond: middle(taken, "requestsPerSecond"),
    p50: middle(taken, "p50"),
    p99: middle(taken, "p99"),
    // Of a short time the sidecar may have told nothing.
    microseconds:
      last.requests > first.requests
        ? ((last.cpuSeconds - first.cpuSeconds) * 1e6) / (last.requests - first.requests)
        : undefined,
    reloads: count("reload"),
    broken: count("broken"),
    keys: count("key"),
    errors: errorTimes.filter(isInside).length,
  };
}
