import {
  constants,
  createServer,
  type Http2Server,
  type Http2Stream,
  type ServerHttp2Session,
} from "node:http2";
import type { Socket } from "node:net";
import type { ClientRequest, ClientResponse } from "../client/client-message.ts";
import { LINGER_MILLISECONDS } from "../client/client-response.ts";
import { hasBody } from "../client/message-body.ts";
import { noteSession } from "../client/peer.ts";
import type { ClientSettings } from "../limits.ts";
import { answerProblem } from "../problem.ts";
import { NO_TUNNEL, REQUEST_LATE } from "../request-problems.ts";
import type { AnswerRequest } from "./request-gate.ts";

/** What is under way on one connection. */
interface SessionState {
  readonly socket: Socket;
  readonly streams: Map<Http2Stream, Remainder>;
  /** When the last stream ended; before the first one, when the connection began. In milliseconds. */
  idleSince: number;
  hasHadRequest: boolean;
  /** Whose bodies still come, and since when. */
  readonly uploads: Map<ClientResponse, number>;
  /** When the client was told that no further stream is taken. */
  endingSince: number | undefined;
}

/** What waits of a response that has been written to its end. */
interface Remainder {
  /** In bytes; 0 while it is being written. */
  bytes: number;
  /** Since when it is that much. In milliseconds. */
  since: number;
}

/** How often it is looked for what takes too long. */
const CHECK_MILLISECONDS = 1000;

/**
 * Speaks HTTP/2 on connections that another server has accepted: on each one as many streams as `limits.streams` allows,
 * for as long as the timeouts do.
 */
export class Http2Connections {
  readonly #settings: ClientSettings;
  readonly #server: Http2Server;
  readonly #sessions = new Map<ServerHttp2Session, SessionState>();
  /** Runs while there are connections to look at. */
  #check: NodeJS.Timeout | undefined;
  #isDraining = false;

  constructor(settings: ClientSettings) {
    this.#settings = settings;
    const { streams, headerBytes, headerCount } = settings.limits;
    this.#server = createServer({
      settings: { maxConcurrentStreams: streams, maxHeaderListSize: headerBytes },
      // More than the request path counts, so that it is the one to answer: above this the stream is reset unanswered.
      maxHeaderListPairs: headerCount * 2 + PSEUDO_FIELDS,
      // A client that takes back its requests as fast as it sends them costs the backends work and pays nothing for it
      // (CVE-2023-44487): above this the connection ends.
      streamResetBurst: streams * 10,
      streamResetRate: streams,
      maxSessionInvalidFrames: 100,
      // A field goes on as often as the backend has sent it. In trailers its repetition would be an error that nobody hears.
      strictSingleValueFields: false,
    });
    this.#server.on("stream", (stream) => {
      const state = stream.session && this.#sessions.get(stream.session as ServerHttp2Session);
      if (!state) return;
      state.streams.set(stream, { bytes: 0, since: 0 });
      state.hasHadRequest = true;
      stream.once("close", () => {
        state.streams.delete(stream);
        state.idleSince = performance.now();
      });
    });
    this.#server.on("connect", (_request, response) => answerProblem(response, NO_TUNNEL, undefined));
  }

  /** Speaks HTTP/2 on a connection from now on. What has been read of it must have been put back. */
  take(socket: Socket): void {
    // Node.js takes it for an error of its own.
    if (socket.destroyed) return;
    // HTTP/1 knows clients that end their side and still read. Here it is how a client that has gone away is noticed.
    socket.allowHalfOpen = false;
    // Told at once, and of nothing else.
    this.#server.once("session", (session) => this.#begin(session, socket));
    this.#server.emit("connection", socket);
  }

  /** Gives every request to `handle` from now on. */
  serve(handle: AnswerRequest): void {
    const handleTimed: AnswerRequest = (clientRequest, clientResponse) => {
      if (hasBody(clientRequest)) this.#timeUpload(clientRequest, clientResponse);
      handle(clientRequest, clientResponse);
    };
    this.#server.on("request", handleTimed);
    this.#server.on("checkContinue", handleTimed);
    this.#server.on("checkExpectation", handleTimed);
  }

  /** Tells every client that no further stream is taken; those under way go on (RFC 9113 §6.8). */
  endAll(): void {
    this.#isDraining = true;
    for (const [session, state] of this.#sessions) end(session, state);
  }

  /** Whether a stream is under way on any connection. */
  get isBusy(): boolean {
    for (const { streams } of this.#sessions.values()) if (streams.size > 0) return true;
    return false;
  }

  /** The streams that are under way on all connections. */
  get streamCount(): number {
    let count = 0;
    for (const { streams } of this.#sessions.values()) count += streams.size;
    return count;
  }

  /** Ends the connections on which nothing is under way. */
  endIdle(): void {
    for (const [session, state] of this.#sessions) if (state.streams.size === 0) end(session, state);
  }

  #begin(session: ServerHttp2Session, socket: Socket): void {
    const state: SessionState = {
      socket,
      streams: new Map(),
      idleSince: performance.now(),
      hasHadRequest: false,
      uploads: new Map(),
      endingSince: undefined,
    };
    this.#sessions.set(session, state);
    this.#check ??= setInterval(() => this.#endWhatIsLate(), CHECK_MILLISECONDS).unref();
    noteSession(session, socket);
    session.once("close", () => this.#forget(session));
    // Whoever connected before the end, and is heard behind it, gets one answer.
    if (this.#isDraining) session.once("stream", () => end(session, state));
  }

  #forget(session: ServerHttp2Session): void {
    this.#sessions.delete(session);
    if (this.#sessions.size > 0) return;
    clearInterval(this.#check);
    this.#check = undefined;
  }

  #timeUpload(clientRequest: ClientRequest, clientResponse: ClientResponse): void {
    const session = "stream" in clientRequest && (clientRequest.stream.session as ServerHttp2Session);
    const uploads = session ? this.#sessions.get(session)?.uploads : undefined;
    if (!uploads) return;
    uploads.set(clientResponse, performance.now());
    clientRequest.once("end", () => uploads.delete(clientResponse));
    clientResponse.once("close", () => uploads.delete(clientResponse));
  }

  #endWhatIsLate(): void {
    const now = performance.now();
    const { headersSeconds, requestSeconds, sendSeconds, keepAliveSeconds } = this.#settings.timeouts;
    for (const [session, state] of this.#sessions) {
      // Also one that was turned away.
      if (session.closed) state.endingSince ??= now;
      const { streams, hasHadRequest, idleSince, uploads, endingSince, socket } = state;
      // A client that does not take the end of its connection has had time enough.
      if (
        endingSince !== undefined &&
        streams.size === 0 &&
        now - Math.max(endingSince, idleSince) > LINGER_MILLISECONDS
      )
        socket.destroy();
      const idleSeconds = hasHadRequest ? keepAliveSeconds : headersSeconds;
      if (streams.size === 0 && now - idleSince > idleSeconds * 1000) end(session, state);
      for (const [clientResponse, since] of uploads)
        if (now - since > requestSeconds * 1000) endLate(clientResponse);
      for (const [stream, remainder] of streams)
        if (isStuck(stream, remainder, now, sendSeconds)) stream.close(constants.NGHTTP2_CANCEL);
    }
  }
}

/** `:method`, `:scheme`, `:authority` and `:path`. */
const PSEUDO_FIELDS = 4;

function end(session: ServerHttp2Session, state: SessionState): void {
  state.endingSince ??= performance.now();
  session.close();
}

/**
 * Whether a client has taken nothing for too long of a response that is ready. While one is being written, whoever writes
 * it sees to that; but a client that opens no window for an answer of Countersign's own must not keep its connection.
 */
function isStuck(
  { writableEnded, writableLength }: Http2Stream,
  remainder: Remainder,
  now: number,
  sendSeconds: number,
): boolean {
  const bytes = writableEnded ? writableLength : 0;
  if (bytes !== remainder.bytes) {
    remainder.bytes = bytes;
    remainder.since = now;
  }
  return bytes > 0 && now - remainder.since > sendSeconds * 1000;
}

function endLate(clientResponse: ClientResponse): void {
  if (!clientResponse.headersSent) answerProblem(clientResponse, REQUEST_LATE, undefined);
  else if ("stream" in clientResponse) clientResponse.stream.close(constants.NGHTTP2_CANCEL);
}
