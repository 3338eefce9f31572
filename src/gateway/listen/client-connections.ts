import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { announceEnd, endConnection, isLingering } from "../client/client-response.ts";
import { answerProblem, type RequestProblem, rawProblem } from "../problem.ts";

/** What is under way on one connection. */
interface ConnectionState {
  /** Responses that are owed, in the order of their requests. A `Set` would leave garbage that keeps later garbage alive. */
  readonly unfinished: ServerResponse[];
  /** What had been read of the connection when its last response was sent. */
  bytesAtRest: number;
  /** No further request is handled. */
  isEnding: boolean;
  /** What came last could not be read. */
  isRefused: boolean;
  /** Where it is a tunnel by now: ends it. */
  endTunnel: (() => void) | undefined;
}

/**
 * Knows every client's connection and what is under way on it, so that no answer is taken for another request's,
 * and no connection outlives its end because its client stays.
 */
export class ClientConnections {
  readonly #states = new Map<Socket, ConnectionState>();
  /** Requests that one connection may have under way at once; Node.js itself would take them without end. */
  readonly #maxPipelined: number;
  #isDraining = false;
  #lastRequestAt = 0;

  constructor(maxPipelined: number) {
    this.#maxPipelined = maxPipelined;
  }

  /** When the last connection or request came, once the connections are being ended. In milliseconds, of a clock that nobody sets. */
  get lastRequestAt(): number {
    return this.#lastRequestAt;
  }

  /** Whether a response is owed on any connection. */
  get isBusy(): boolean {
    for (const { unfinished } of this.#states.values()) if (unfinished.length > 0) return true;
    return false;
  }

  /** Responses that are owed, and tunnels, on all connections. */
  get underWay(): { readonly requests: number; readonly tunnels: number } {
    let requests = 0;
    let tunnels = 0;
    for (const { unfinished, endTunnel } of this.#states.values()) {
      requests += unfinished.length;
      if (endTunnel) tunnels++;
    }
    return { requests, tunnels };
  }

  /** Whether every connection closes after what is under way on it. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Begins to watch a connection; to be called once for each. */
  add(socket: Socket): void {
    this.#states.set(socket, {
      unfinished: [],
      bytesAtRest: 0,
      isEnding: false,
      isRefused: false,
      endTunnel: undefined,
    });
    if (this.#isDraining) this.#lastRequestAt = performance.now();
    socket.once("close", () => this.#states.delete(socket));
    // Node.js stops listening when it lets a connection go, as for CONNECT, and an error that nobody hears ends the process.
    socket.on("error", () => {});
  }

  /** Whether this request may be handled; if not, its connection has ended or ends behind a response that is owed. */
  accept(clientRequest: IncomingMessage, clientResponse: ServerResponse): boolean {
    const { socket } = clientRequest;
    const state = this.#states.get(socket);
    if (!state || state.unfinished.length >= this.#maxPipelined) {
      socket.destroy();
      return false;
    }
    // Behind a response that closes the connection nothing is handled (RFC 9112 §9.6).
    for (const owed of state.unfinished) if (endsConnection(owed)) state.isEnding = true;
    state.unfinished.push(clientResponse);
    clientResponse.on("close", () => {
      const index = state.unfinished.indexOf(clientResponse);
      if (index !== -1) state.unfinished.splice(index, 1);
      state.bytesAtRest = socket.bytesRead;
      // Also between the end of that response and the end of the connection.
      if (endsConnection(clientResponse)) state.isEnding = true;
    });
    if (state.isEnding) clientRequest.resume();
    else if (this.#isDraining) {
      this.#lastRequestAt = performance.now();
      announceEnd(clientResponse);
    }
    return !state.isEnding;
  }

  /** Whether every request that came on this connection has got its response, and another one may come. */
  isIdle(socket: Socket): boolean {
    const state = this.#states.get(socket);
    return state !== undefined && state.unfinished.length === 0 && !state.isEnding;
  }

  /** No response is owed on this connection any more: it is a tunnel now. */
  becomeTunnel(socket: Socket, end: () => void): void {
    const state = this.#states.get(socket);
    if (!state) return;
    state.unfinished.length = 0;
    state.endTunnel = end;
  }

  /** This is the last request that is taken from its connection, which closes after the response. */
  endAfter({ socket }: IncomingMessage, clientResponse: ServerResponse): void {
    const state = this.#states.get(socket);
    if (state) state.isEnding = true;
    announceEnd(clientResponse);
  }

  /**
   * Ends a connection on which no further request can be read. The problem is sent where it can only be taken for the
   * answer to what was wrong: to the request whose body broke off, or where no response is owed.
   */
  refuse(socket: Socket, problem: RequestProblem): void {
    const state = this.#states.get(socket);
    if (!state || state.isRefused || !socket.writable) {
      socket.destroy();
      return;
    }
    state.isEnding = true;
    state.isRefused = true;
    const owed = state.unfinished;
    const last = owed.at(-1);
    if (!last) endConnection(socket, rawProblem(problem));
    else if (isLingering(last)) return;
    else if (last.req.complete) endBehind(last, socket);
    else if (owed.length === 1 && !last.headersSent) answerProblem(last, problem, undefined);
    else socket.destroy();
  }

  /** Every connection closes after the last response that is owed on it. */
  endAll(): void {
    this.#isDraining = true;
    this.#lastRequestAt = performance.now();
    for (const { unfinished } of this.#states.values()) {
      const last = unfinished.at(-1);
      if (last) announceEnd(last);
    }
  }

  /**
   * Ends the connections on which nothing is under way: no response is owed, and nothing of a request has come. Also the
   * tunnels, which would go on for ever.
   */
  endIdle(): void {
    for (const [socket, { unfinished, bytesAtRest, isEnding, endTunnel }] of this.#states)
      if (endTunnel) endTunnel();
      else if (unfinished.length === 0 && !isEnding && socket.bytesRead === bytesAtRest)
        endConnection(socket);
  }

  /** Lets a connection go that no longer speaks HTTP/1; whoever takes it knows of it. */
  handOver(socket: Socket): void {
    const state = this.#states.get(socket);
    if (state) state.isEnding = true;
  }

  /** Destroys every connection, also those that the HTTP server has let go. */
  destroy(): void {
    for (const socket of this.#states.keys()) socket.destroy();
  }
}

/** What was wrong came behind whole requests: they still get their responses. */
function endBehind(last: ServerResponse, socket: Socket): void {
  if (last.headersSent) last.once("close", () => endConnection(socket));
  else announceEnd(last);
}

function endsConnection(clientResponse: ServerResponse): boolean {
  return !clientResponse.shouldKeepAlive;
}
