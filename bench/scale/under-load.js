import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { serveCommand } from "../countersign.js";
import { createSender, openConnections } from "../http-load.js";
import { cpuMicroseconds, freePort, start, stop } from "../processes.js";
import { untilAnswered } from "../requests.js";

const CONNECTIONS = 64;
/** Connections wait until it is their turn, and what has been measured is to end at once. */
const TIMEOUTS = { keepAlive: "10m", drain: "1s", notReady: "1s" };

/**
 * Starts a sidecar in a folder of its own, which may be there already, and waits until it answers.
 *
 * @param settings its configuration, but for its addresses and timeouts
 * @returns its `child`, `port` and `adminPort`
 */
export async function startSidecar({ folder, upstream }, settings, { path, headers, proxyCores } = {}) {
  mkdirSync(folder, { recursive: true });
  const port = await freePort();
  const adminPort = await freePort();
  const logFile = join(folder, "output.log");
  const command = serveCommand(folder, { port, adminPort, upstream }, { ...settings, timeouts: TIMEOUTS });
  const child = start(command, { isProxy: true, proxyCores, logFile });
  await untilAnswered(child, port, { path, headers, logFile });
  return { child, port, adminPort };
}

/**
 * Starts a sidecar and opens the connections over which this process sends it requests.
 *
 * @param context `folder`, which is its own, and `upstream`
 * @param load `requestOf` as in http-load.js; over how many `connections`, and how many requests `atOnce`; `idle` more
 * connections are used once, and then only open; `path` and `headers` are those of the first request
 * @returns what a series opens, as series.js says
 */
export async function openUnderLoad(context, settings, load) {
  const { requestOf, connections = CONNECTIONS, atOnce, idle = 0, ...first } = load;
  const sidecar = await startSidecar(context, settings, first);
  const open = async (count) => await openConnections(sidecar.port, count);
  const [active, others] = [await open(connections), await open(idle)];
  const all = [...active, ...others];
  // A connection without a request is closed before long, and what it costs when it is new is no part of what it costs later.
  const atFirst = Math.min(all.length, CONNECTIONS);
  await createSender(all, { requestOf, atOnce: atFirst })({ requests: all.length });
  const send = createSender(active, { requestOf, atOnce });
  return {
    ...sidecar,
    send,
    warmUp: async (most) => {
      // Over connections of its own: as many at once for each size, so that all have compiled as much.
      const connections = await open(CONNECTIONS);
      await createSender(connections, { requestOf })(most);
      for (const connection of connections) connection.close();
    },
    turn: async (milliseconds) => {
      const before = cpuMicroseconds(sidecar.child.pid);
      const requests = await send({ milliseconds });
      return { microseconds: (cpuMicroseconds(sidecar.child.pid) - before) / requests };
    },
    facts: () => ({}),
    close: async () => {
      if (others.some(({ isOpen }) => !isOpen)) throw new Error("an idle connection was closed meanwhile");
      for (const connection of all) connection.close();
      await stop(sidecar.child);
    },
  };
}
