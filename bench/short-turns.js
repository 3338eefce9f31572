// Many short turns of so many requests each, rather than few long ones: a neighbour who slows the machine for a second slows
// all contestants alike. For small differences between programs that are nearly the same.
import { mkdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { cpuMicroseconds, freePort, start } from "./processes.js";
import { untilAnswered } from "./requests.js";

const CONNECTIONS = 64;
/** The end of each answer: what the backend says. */
const END = /\r\n\r\nx{47}$/;

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
  return { name, child, logFile, send: openLoad(port, headers), rounds: [] };
}

/** Lets each of them answer in turn. */
export async function takeShortTurns(opened, { rounds, warmUpRounds, requests }) {
  for (let round = -warmUpRounds; round < rounds; round++) {
    // Each comes first as often as last.
    for (const { child, send, rounds: measured } of round % 2 === 0 ? opened : opened.toReversed()) {
      const before = cpuMicroseconds(child.pid);
      await send(requests);
      if (round >= 0) measured.push((cpuMicroseconds(child.pid) - before) / requests);
    }
  }
}

/** Opens connections; the function that it gives sends so many requests, each as soon as one is answered. */
function openLoad(port, headers) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const request = `GET /orders/1 HTTP/1.1\r\nHost: a\r\n${lines.join("")}\r\n`;
  let unsent = 0;
  let awaited = 0;
  let done;
  const ask = (socket) => {
    unsent--;
    awaited++;
    socket.write(request);
  };
  const sockets = Array.from({ length: CONNECTIONS }, () => {
    const socket = connect(port, "127.0.0.1").setNoDelay().setEncoding("latin1");
    let received = "";
    socket.on("data", (text) => {
      received += text;
      if (!END.test(received)) return;
      if (!received.startsWith("HTTP/1.1 200 ")) throw new Error(`answered with ${received}`);
      received = "";
      awaited--;
      if (unsent > 0) ask(socket);
      else if (awaited === 0) done();
    });
    return socket;
  });
  return async (requests) => {
    unsent = requests;
    const { promise, resolve } = Promise.withResolvers();
    done = resolve;
    for (const socket of sockets) ask(socket);
    await promise;
  };
}
