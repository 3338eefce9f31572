import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { announceEnd, isLingering, LINGER_MILLISECONDS } from "./client-response.ts";
import { answerProblem, type RequestProblem, rawProblem } from "./problem.ts";

/** A client's connection may have this many requests under way at once; Node.js itself would take them without end. */
const MAX_PIPELINED_REQUESTS = 100;

/** What is under way on one connection. */
interface ConnectionState {
  /** Responses that are owed, in the order of their requests. */
  readonly unfinished: Set<ServerResponse>;
  /** No further request is handled. */
  isEnding: boolean;
  /** What came last could not be read. */
  isRefused: boolean;
}

/**
 * Knows every client's connection and what is under way on it, so that no answer is taken for another request's,
 * and no connection outlives its end because its client stays.
 */
export class ClientConnections {
  readonly #states = new Map<Socket, ConnectionState>();
  #isDraining = false;

  /** Begins to watch a connection; to be called once for each. */
  add(socket: Socket): void {
    this.#states.set(socket, { unfinished: new Set(), isEnding: false, isRefused: false });
    socket.once("close", () => this.#states.delete(socket));
    // Node.js stops listening when it lets a connection go, as for CONNECT, and an error that nobody hears ends the process.
    socket.on("error", () => {});
  }

  /** Whether this request may be handled; if not, its connection has ended or ends behind a response that is owed. */
  accept(clientRequest: IncomingMessage, clientResponse: ServerResponse): boolean {
    const { socket } = clientRequest;
    const state = this.#states.get(socket);
    if (!state || state.unfinished.size >= MAX_PIPELINED_REQUESTS) {
      socket.destroy();
      return false;
    }
    // Behind a response that closes the connection nothing is handled (RFC 9112 §9.6).
    if ([...state.unfinished].some(endsConnection)) state.isEnding = true;
    state.unfinished.add(clientResponse);
    clientResponse.once("close", () => {
      state.unfinished.delete(clientResponse);
      // Also between the end of that response and the end of the connection.
      if (endsConnection(clientResponse)) state.isEnding = true;
    });
    if (state.isEnding) clientRequest.resume();
    else if (this.#isDraining) announceEnd(clientResponse);
    return !state.isEnding;
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
    const owed = [...state.unfinished];
    const last = owed.at(-1);
    if (!last) endWith(socket, rawProblem(problem));
    else if (isLingering(last)) return;
    else if (last.req.complete) endBehind(last, socket);
    else if (owed.length === 1 && !last.headersSent) answerProblem(last, problem, undefined);
    else socket.destroy();
  }

  /** Every connection closes after the last response that is owed on it. */
  endAll(): void {
    this.#isDraining = true;
    for (const { unfinished } of this.#states.values()) {
      const last = [...unfinished].at(-1);
      if (last) announceEnd(last);
    }
  }

  /** Destroys every connection, also those that the HTTP server has let go. */
  destroy(): void {
    for (const socket of this.#states.keys()) socket.destroy();
  }
}

/** What was wrong came behind whole requests: they still get their responses. */
function endBehind(last: ServerResponse, socket: Socket): void {
  if (last.headersSent) last.once("close", () => endWith(socket, ""));
  else announceEnd(last);
}

function endWith(socket: Socket, answer: string): void {
  socket.end(answer);
  // What still comes is read and dropped: unread, it would make the system discard the answer. But not for long.
  socket.resume();
  const linger = setTimeout(() => socket.destroy(), LINGER_MILLISECONDS);
  socket.once("close", () => clearTimeout(linger));
}

function endsConnection(clientResponse: ServerResponse): boolean {
  return clientResponse.getHeader("connection") === "close";
}
