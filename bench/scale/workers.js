import { PLAIN } from "../countersign.js";
import { installPeers } from "../install-peers.js";
import { loadProgram } from "../load.js";
import { coreCount, stop } from "../processes.js";
import { takeTurn } from "../turns.js";
import { startSidecar } from "./under-load.js";

/** The load opens its connections anew for each turn, and handing them to workers is no part of what a request costs. */
const TIMES_AS_LONG = 10;
/** What they have not compiled looks like a cost of the other worker: for so many times the time of other series. */
const TIMES_WARMER = 4;
const WARM_UP_TURN_MILLISECONDS = 500;

/** Processes, all on two cores, under all the load that the machine has left for them. */
export const workers = {
  name: "workers",
  title: "Workers, on two cores",
  sizeTitle: "workers",
  sizes: [1, 2],
  planOf: ({ rounds, turn, warmUp }) => ({
    rounds: Math.ceil(rounds / 4),
    turn: turn * TIMES_AS_LONG,
    warmUp,
  }),
  note: `There are ${coreCount} cores; ${coreCount > 2 ? "the load and the backend have those that the workers leave" : "the load and the backend are on one of those that the workers have"}.`,
  columns: [
    { heading: "requests/s", of: ({ requestsPerSecond }) => requestsPerSecond.toFixed(0) },
    { heading: "RSS MB", of: ({ memoryMegabytes }) => memoryMegabytes.toFixed(0) },
  ],
  open: async (size, context) => {
    if (loadProgram === "autocannon") installPeers();
    const settings = { ...PLAIN, workers: size };
    const sidecar = await startSidecar(context, settings, { proxyCores: 2 });
    const title = `workers: ${size}`;
    const turn = async (milliseconds) => {
      const { microseconds, requestsPerSecond } = await takeTurn({ ...sidecar, title }, milliseconds);
      return { microseconds, requestsPerSecond };
    };
    const warmUp = async ({ requests, milliseconds }) => {
      // Each worker compiles for itself.
      const end = performance.now() + size * TIMES_WARMER * milliseconds;
      for (let answered = 0; answered < size * requests && performance.now() < end; )
        answered += (await takeTurn({ ...sidecar, title }, WARM_UP_TURN_MILLISECONDS)).requests;
    };
    return { ...sidecar, turn, warmUp, facts: () => ({}), close: () => stop(sidecar.child) };
  },
  conclude: ([one, two]) => {
    const faster = two.requestsPerSecond / one.requestsPerSecond;
    return `two answer ${faster.toFixed(2)}× as many, at ${two.ratio.toFixed(2)}× the CPU time each`;
  },
};
