import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { answerProblem, type RequestProblem, rawProblem } from "./problem.ts";

/** A client's connection may have this many requests under way at once; Node.js itself would take them without end. */
const MAX_PIPELINED_REQUESTS = 100;

/** After an error a client has this long to read the answer. */
const LINGER_MILLISECONDS = 500;

/** What is under way on one connection. */
interface ConnectionState {
  readonly unfinished: Set<ServerResponse>;
  /** Nothing more is taken from this connection. */
  isEnding: boolean;
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
    this.#states.set(socket, { unfinished: new Set(), isEnding: false });
    socket.once("close", () => this.#states.delete(socket));
  }

  /** Whether this request may be handled; if not, its connection has been destroyed. */
  accept({ socket }: IncomingMessage, clientResponse: ServerResponse): boolean {
    const state = this.#states.get(socket);
    if (!state || state.isEnding || state.unfinished.size >= MAX_PIPELINED_REQUESTS) {
      socket.destroy();
      if (state) state.isEnding = true;
      return false;
    }
    if (this.#isDraining) announceEnd(clientResponse);
    state.unfinished.add(clientResponse);
    clientResponse.once("close", () => state.unfinished.delete(clientResponse));
    return true;
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
  refuse(socket: Socket, problem: RequestProblem, fields?: Readonly<Record<string, string>>): void {
    const state = this.#states.get(socket);
    if (!state || state.isEnding || !socket.writable) {
      socket.destroy();
      return;
    }
    state.isEnding = true;
    const [first, ...others] = state.unfinished;
    if (first && others.length === 0 && !first.headersSent && !first.req.complete)
      answerProblem(first, problem, undefined);
    else if (first) socket.destroy();
    else endWith(socket, rawProblem(problem, fields));
  }

  /** Every connection closes after the response that is under way on it. */
  endAll(): void {
    this.#isDraining = true;
    for (const { unfinished } of this.#states.values())
      for (const clientResponse of unfinished) announceEnd(clientResponse);
  }

  /** Destroys every connection, also those that the HTTP server has let go. */
  destroy(): void {
    for (const socket of this.#states.keys()) socket.destroy();
  }
}

function endWith(socket: Socket, answer: string): void {
  socket.on("error", () => socket.destroy());
  socket.end(answer);
  // What still comes is read and dropped: unread, it would make the system discard the answer. But not for long.
  socket.resume();
  const linger = setTimeout(() => socket.destroy(), LINGER_MILLISECONDS);
  socket.once("close", () => clearTimeout(linger));
}

/** Node.js closes the connection behind a response that says so. */
function announceEnd(clientResponse: ServerResponse): void {
  if (!clientResponse.headersSent) clientResponse.setHeader("connection", "close");
}
