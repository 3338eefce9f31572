// Requests over connections that stay open, from this process. Each answer has a Content-Length, as the backends here send it.
import { once } from "node:events";
import { connect } from "node:net";

/** More at once than a listener's queue holds would have to wait for a second. */
const OPENED_AT_ONCE = 100;

/** The text of a GET request with these fields. */
export function getRequest(path, headers = {}) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${lines.join("")}\r\n`;
}

/** Opens so many connections to a port of the loopback address. */
export async function openConnections(port, count) {
  const connections = [];
  while (connections.length < count) {
    const missing = Math.min(OPENED_AT_ONCE, count - connections.length);
    connections.push(...(await Promise.all(Array.from({ length: missing }, () => openConnection(port)))));
  }
  return connections;
}

async function openConnection(port) {
  const socket = connect(port, "127.0.0.1").setNoDelay();
  await once(socket, "connect");
  return new Connection(socket);
}

/** A connection with one request on its way at a time. */
class Connection {
  #socket;
  /** Of the answer that is coming: its head as far as it is here, or `undefined` behind it. */
  #head = "";
  #missingBytes = 0;
  /** Called when the answer is here; `undefined` while none is awaited. */
  #answered;

  constructor(socket) {
    this.#socket = socket;
    socket.on("data", (piece) => this.#take(piece));
    let reason = "closed";
    socket.on("error", (error) => {
      reason = error.message;
    });
    socket.on("close", () => {
      if (this.#answered) throw new Error(`a connection ends before its answer: ${reason}`);
    });
  }

  get isOpen() {
    return !this.#socket.destroyed;
  }

  /** Sends a whole request as text or bytes, and calls `answered` when all of its answer is here. */
  ask(request, answered) {
    if (!this.isOpen) throw new Error("a connection was closed while nothing was on its way");
    this.#answered = answered;
    this.#socket.write(request);
  }

  close() {
    this.#answered = undefined;
    this.#socket.destroy();
  }

  #take(piece) {
    if (this.#head === undefined) this.#missingBytes -= piece.length;
    else if (!this.#readHead(piece)) return;
    if (this.#missingBytes > 0) return;
    this.#head = "";
    const answered = this.#answered;
    this.#answered = undefined;
    answered();
  }

  #readHead(piece) {
    this.#head += piece.latin1Slice();
    const end = this.#head.indexOf("\r\n\r\n");
    if (end === -1) return false;
    const head = this.#head.slice(0, end);
    const [, length] = /\r\ncontent-length: *(\d+)/i.exec(head) ?? [];
    if (!head.startsWith("HTTP/1.1 200 ") || length === undefined)
      throw new Error(`answered with ${this.#head}`);
    this.#missingBytes = Number(length) - (this.#head.length - end - 4);
    this.#head = undefined;
    return true;
  }
}

/**
 * What sends requests over connections: each takes its turn, and so many requests are on their way at once.
 *
 * @param requestOf from the number of a request, which goes up from call to call, to its text or bytes
 * @returns a function that sends so many `requests`, or for so many `milliseconds`; it gives the number that were answered
 */
export function createSender(connections, { requestOf, atOnce = connections.length }) {
  const waiting = [...connections];
  let taken = 0;
  let putBack = 0;
  let sent = 0;

  return async ({ requests = Number.POSITIVE_INFINITY, milliseconds = Number.POSITIVE_INFINITY }) => {
    const { promise, resolve } = Promise.withResolvers();
    const end = performance.now() + milliseconds;
    let begun = 0;
    let answered = 0;
    const sendNext = () => {
      const connection = waiting[taken++ % waiting.length];
      begun++;
      connection.ask(requestOf(sent++), () => {
        waiting[putBack++ % waiting.length] = connection;
        answered++;
        if (begun < requests && performance.now() < end) sendNext();
        else if (answered === begun) resolve(answered);
      });
    };
    for (let i = 0; i < Math.min(atOnce, requests); i++) sendNext();
    return await promise;
  };
}
