import { API_KEY_FIELDS } from "../countersign.js";
import { sendAnyLoad } from "../load.js";

const CONNECTIONS = 64;
const LONGEST_TURN_SECONDS = 5;
const SHORTEST_TURN_SECONDS = 0.25;
/** A period has more than one. */
const FEWEST_TURNS = 20;

/** Sends load, one turn right after the other, until so many `seconds` of what is measured are over. */
export async function runLoad({ port, seconds, now, tally, turn }) {
  const turnSeconds = Math.max(SHORTEST_TURN_SECONDS, Math.min(LONGEST_TURN_SECONDS, seconds / FEWEST_TURNS));
  // The last one is as long as the others.
  while (now() + turnSeconds / 2 < seconds) {
    const begin = now();
    const figures = await sendAnyLoad({
      port,
      headers: API_KEY_FIELDS,
      connections: CONNECTIONS,
      milliseconds: turnSeconds * 1000,
    });
    for (const [reason, count] of Object.entries(figures.reasons ?? {}))
      if (count > 0) tally.add(`load: ${reason}`, "", count);
    const { requests, p50, p99 } = figures;
    turn({ at: (begin + now()) / 2, requests, requestsPerSecond: requests / figures.seconds, p50, p99 });
  }
}
