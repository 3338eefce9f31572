import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { sendLoad } from "./load.js";
import { loopDelayMilliseconds, open } from "./open.js";
import { cpuMicroseconds, residentMegabytes, start, stop } from "./processes.js";

const CONNECTIONS = 64;
const SETTLING_MILLISECONDS = 20;
const FEWEST_REQUESTS = 100;
const LONGEST_TURN_MILLISECONDS = 20_000;

/** Lets a contestant answer for a while; returns what one request took of it, and what its clients saw. */
export async function takeTurn({ title, child, port, headers }, milliseconds) {
  return await withEnoughRequests(title, milliseconds, async (time) => {
    const before = cpuMicroseconds(child.pid);
    const load = await sendLoad({ port, headers, connections: CONNECTIONS, milliseconds: time });
    const microseconds = (cpuMicroseconds(child.pid) - before) / load.requests;
    const memoryMegabytes = residentMegabytes(child.pid);
    // The end of its connections is no part of the next one's turn.
    await setTimeout(SETTLING_MILLISECONDS);
    const { requests, seconds, p50, p99 } = load;
    return { requests, requestsPerSecond: requests / seconds, microseconds, p50, p99, memoryMegabytes };
  });
}

/** The median latency in microseconds that one client alone sees. */
export async function aloneMicroseconds({ title = "the backend", port, headers }, milliseconds) {
  const { p50 } = await withEnoughRequests(title, milliseconds, (time) =>
    sendLoad({ port, headers, connections: 1, milliseconds: time }),
  );
  return p50;
}

/** Where a neighbour has taken the core meanwhile, the turn says nothing: it is taken again, twice as long. */
async function withEnoughRequests(title, milliseconds, turn) {
  const figures = await turn(milliseconds);
  if (figures.requests >= FEWEST_REQUESTS) return figures;
  if (milliseconds > LONGEST_TURN_MILLISECONDS) throw new Error(`${title}: hardly a request is answered`);
  return await withEnoughRequests(title, milliseconds * 2, turn);
}

/** Starts what measures bare signatures on the core for proxies; `measure` gives the CPU microseconds of one. */
export function openRawSignatures() {
  const program = fileURLToPath(new URL("raw-signature.js", import.meta.url));
  const child = start([process.execPath, program], { isProxy: true, channel: true });
  const measure = async (algorithm, milliseconds) => {
    child.send({ algorithm, milliseconds });
    const [microseconds] = await once(child, "message");
    return microseconds;
  };
  return { child, measure };
}

/** Starts a contestant once more; returns the milliseconds until it answered its first request. */
export async function startMilliseconds(contestant, context) {
  // In a folder of its own: the one that runs reads its configuration again when that is written.
  const { child, readyMilliseconds } = await open(
    { ...contestant, name: `${contestant.name}-again` },
    context,
  );
  await stop(child);
  return readyMilliseconds;
}

/** The event loop's p99 delay after full load without a pause. */
export async function loadedLoopDelayMilliseconds(opened, milliseconds) {
  await takeTurn(opened, milliseconds);
  return await loopDelayMilliseconds(opened);
}
