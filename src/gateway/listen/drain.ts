import cluster from "node:cluster";
import { once } from "node:events";
import type { Server } from "node:http";
import { Server as NetServer } from "node:net";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import type { ClientConnections } from "./client-connections.ts";
import type { Http2Connections } from "./http2-connections.ts";
import type { RequestGate } from "./request-gate.ts";
import type { Handshakes } from "./tls.ts";

/** What a listener has to end. */
export interface Draining {
  readonly server: Server;
  readonly gate: RequestGate;
  readonly connections: ClientConnections;
  /** `undefined`: no HTTP/2 is spoken. */
  readonly http2: Http2Connections | undefined;
  /** `undefined`: without TLS. */
  readonly handshakes: Handshakes | undefined;
}

/**
 * So long must no request have come, and none be under way, before idle connections are ended. A request that is just
 * on its way to one of them would be lost, and its client could not know whether it was carried out (RFC 9112 §9.5); who
 * sends one within this time is answered, and told that the connection ends. Longer than a packet and its answer travel.
 */
const QUIET_MILLISECONDS = 100;

const CHECK_MILLISECONDS = 25;

/**
 * Whoever is told that its connection ends opens another one. Where several processes share the address and all of them
 * stop, the others have closed it by then too, so that it is refused and not accepted only to be cut.
 */
const OTHERS_CLOSE_MILLISECONDS = 50;

/** Waiting connections are taken for this long at most, however fast new ones come. Requests wait meanwhile. */
const BACKLOG_MILLISECONDS = 1000;

/**
 * Accepts no more connections, lets the requests under way end, and closes what is left.
 *
 * @param milliseconds after this what is left is destroyed
 */
export async function drain(listener: Draining, milliseconds: number): Promise<void> {
  const { server, gate, connections, http2, handshakes } = listener;
  const announce = () => {
    connections.endAll();
    http2?.endAll();
  };
  if (!cluster.isWorker) announce();
  // A client that is answered now would connect again, and again, so that the queue would never be empty.
  gate.shut();
  await takeBacklog(server);

  const closed = once(server, "close");
  // Not the HTTP server's own method, which destroys idle connections at once, also one whose request is on its way.
  NetServer.prototype.close.call(server);
  gate.open();
  const deadline = setTimeout(() => connections.destroy(), milliseconds);
  if (cluster.isWorker) {
    await Promise.race([closed, sleep(OTHERS_CLOSE_MILLISECONDS)]);
    announce();
  }
  const endIfQuiet = () => {
    const isBusy = connections.isBusy || http2?.isBusy;
    if (isBusy || performance.now() - connections.lastRequestAt < QUIET_MILLISECONDS) return;
    handshakes?.end();
    connections.endIdle();
    http2?.endIdle();
  };
  // Behind what has come by now: where this process was held up, its timers run before anything is read.
  const check = setInterval(() => setImmediate(endIfQuiet), CHECK_MILLISECONDS);
  await closed;
  clearTimeout(deadline);
  clearInterval(check);
  // Only this stops the timer that looked for late requests.
  server.close();
}

/** A turn of the loop that is shorter leaves hardly the time for another connection to come unseen. */
const SHORT_TURN_MILLISECONDS = 1;

/**
 * Takes the connections that wait in the system's queue: closing the server would reset them. Node.js accepts one a turn
 * of its loop, and what comes during a turn is seen in the next one. A client that connects in the very moment of the end
 * is reset all the same; that is why /readyz has told beforehand.
 */
async function takeBacklog(server: Server): Promise<void> {
  let taken = 0;
  const count = () => taken++;
  server.on("connection", count);
  const until = performance.now() + BACKLOG_MILLISECONDS;
  let isQuiet = false;
  while (!isQuiet && performance.now() < until) {
    const before = taken;
    await nextTurn();
    const began = performance.now();
    await nextTurn();
    isQuiet = taken === before && performance.now() - began < SHORT_TURN_MILLISECONDS;
  }
  server.off("connection", count);
}
