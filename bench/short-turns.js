// Many short turns of so many requests each, rather than few long ones: a neighbour who slows the machine for a second slows
// all contestants alike. For small differences between programs that are nearly the same.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createSender, getRequest, openConnections } from "./http-load.js";
import { cpuMicroseconds, freePort, start } from "./processes.js";
import { untilAnswered } from "./requests.js";

const CONNECTIONS = 64;

/**
 * Starts a sidecar, and opens connections to it.
 *
 * @param commandLine as in contestants.js
 * @returns its `child`, its `logFile`, and the `rounds` that {@link takeShortTurns} measures: CPU microseconds a request
 */
export async function openShort(name, commandLine, { folder, upstream, headers = {} }) {
  const own = join(folder, name);
  mkdirSync(own, { recursive: true });
  const port = await freePort();
  const command = commandLine(own, { port, adminPort: await freePort(), upstream });
  const logFile = join(own, "output.log");
  const child = start(command, { isProxy: true, logFile });
  await untilAnswered(child, port, { path: "/orders/0", headers, logFile });
  const request = getRequest("/orders/1", headers);
  const send = createSender(await openConnections(port, CONNECTIONS), { requestOf: () => request });
  return { name, child, logFile, send, rounds: [] };
}

/** Lets each of them answer in turn. */
export async function takeShortTurns(opened, { rounds, warmUpRounds, requests }) {
  for (let round = -warmUpRounds; round < rounds; round++) {
    // Each comes first as often as last.
    for (const { child, send, rounds: measured } of round % 2 === 0 ? opened : opened.toReversed()) {
      const before = cpuMicroseconds(child.pid);
      await send({ requests });
      if (round >= 0) measured.push((cpuMicroseconds(child.pid) - before) / requests);
    }
  }
}
