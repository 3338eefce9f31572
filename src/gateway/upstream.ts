import { type IncomingHttpHeaders, STATUS_CODES } from "node:http";
import { constants } from "node:http2";
import { TLSSocket } from "node:tls";
import { type Dispatcher, Pool } from "undici";
import type { ClientRequest, ClientResponse } from "./client-message.ts";
import { announceEnd, endResponse, writePiece } from "./client-response.ts";
import { clientResponseFields, type RawFields } from "./fields.ts";
import { isHttp2Response } from "./http2-message.ts";
import { BodyTooLarge, hasUnreadBody, isChunkedAlone, RequestBody } from "./message-body.ts";
import type { RequestProblem } from "./problem.ts";
import { bodyTooLarge } from "./request-form.ts";
import type { UpstreamOptions } from "./upstream-options.ts";
import type { WebSocketHandshake } from "./websocket-handshake.ts";
import { createWebSocketTunnels, type UpstreamHandshake } from "./websocket-tunnel.ts";

/** A request that is ready to be sent on. */
export interface UpstreamRequest {
  readonly method: string;
  /** Origin-form: path and query. */
  readonly target: string;
  readonly fields: RawFields;
  /** The client's message is the body, where it has one. */
  readonly hasBody: boolean;
  /** The longest body that goes on; `undefined`: any. */
  readonly maxBodyBytes: number | undefined;
}

/** How one exchange with the upstream ended badly. */
export interface UpstreamFailure {
  /** What the client is told, where it has not been told anything yet. */
  readonly problem: RequestProblem;
  /** For the log: the error of the connection. */
  readonly cause: Error;
}

/** The backend, behind a pool of connections. */
export interface Upstream {
  /**
   * Sends one request and relays its response, both as streams. Where that fails `onFailure` is called once;
   * the client's connection is destroyed where a part of the response had been relayed.
   */
  forward(
    clientRequest: ClientRequest,
    clientResponse: ClientResponse,
    upstreamRequest: UpstreamRequest,
    onFailure: (failure: UpstreamFailure) => void,
  ): void;
  /**
   * Sends a handshake on and opens a tunnel where the backend does; relays any other answer. Where that fails `onFailure` is
   * called once, as by `forward`.
   */
  tunnel(
    handshake: WebSocketHandshake,
    upstreamHandshake: UpstreamHandshake,
    onFailure: (failure: UpstreamFailure) => void,
  ): void;
  /** Ends every connection at once. */
  destroy(): Promise<void>;
}

/** Backends often drop an idle connection after 5 s; undici drops it first, or when the backend's Keep-Alive says. */
const IDLE_CONNECTION_MS = 4000;

/** Opens a pool of connections to one origin. No connection is made before the first request. */
export function createUpstream(options: UpstreamOptions): Upstream {
  const { origin, connections, timeouts } = options;
  const tunnels = createWebSocketTunnels(options);
  const pool = new Pool(origin, {
    connections,
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: IDLE_CONNECTION_MS,
    connect: { timeout: timeouts.connectSeconds * 1000 },
    headersTimeout: timeouts.headersSeconds * 1000,
    bodyTimeout: timeouts.bodySeconds * 1000,
  });
  return {
    forward(clientRequest, clientResponse, { method, target, fields, hasBody, maxBodyBytes }, onFailure) {
      const dispatchOptions: Dispatcher.DispatchOptions = {
        path: target,
        method,
        headers: fields,
        body: hasBody ? new RequestBody(clientRequest, maxBodyBytes) : null,
      };
      // A stream of events may be silent for as long as nothing happens.
      if (clientRequest.headers.accept?.includes("text/event-stream")) dispatchOptions.bodyTimeout = 0;
      pool.dispatch(dispatchOptions, new ResponseRelay(clientRequest, clientResponse, onFailure));
    },
    tunnel(handshake, upstreamHandshake, onFailure) {
      tunnels.open(handshake, upstreamHandshake, (cause) => onFailure({ problem: problemOf(cause), cause }));
    },
    destroy() {
      tunnels.destroy();
      return pool.destroy();
    },
  };
}

/** Carries one response from the upstream to the client, at the client's speed. */
class ResponseRelay implements Dispatcher.DispatchHandler {
  readonly #clientRequest: ClientRequest;
  readonly #clientResponse: ClientResponse;
  readonly #onFailure: (failure: UpstreamFailure) => void;
  #controller: Dispatcher.DispatchController | undefined;
  #clientIsGone = false;
  #isComplete = false;

  constructor(
    clientRequest: ClientRequest,
    clientResponse: ClientResponse,
    onFailure: (failure: UpstreamFailure) => void,
  ) {
    this.#clientRequest = clientRequest;
    this.#clientResponse = clientResponse;
    this.#onFailure = onFailure;
    // Also where the client was answered otherwise: nobody waits for the upstream any more.
    clientResponse.on("close", () => {
      if (this.#isComplete) return;
      this.#clientIsGone = true;
      this.#controller?.abort(new ClientGone());
    });
    clientResponse.on("drain", () => this.#controller?.resume());
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#clientIsGone) controller.abort(new ClientGone());
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    statusCode: number,
    { "transfer-encoding": transferEncoding }: IncomingHttpHeaders,
    statusMessage = "",
  ): void {
    // The client has been told already that the rest of its request cannot be read.
    if (this.#clientResponse.headersSent) {
      controller.abort(new ClientGone());
      return;
    }
    // An interim response; the final one follows (RFC 9110 §15.2).
    if (statusCode < 200) return;
    if (transferEncoding !== undefined && !isChunkedAlone(transferEncoding)) {
      controller.abort(new Error(`the transfer coding ${transferEncoding} is not known here`));
      return;
    }
    const fields = clientResponseFields(statusCode, controller.rawHeaders as Buffer[]);
    // An answer before the end of the upload: nobody will read the rest, so the connection cannot be used again.
    if (hasUnreadBody(this.#clientRequest)) announceEnd(this.#clientResponse);
    if (isHttp2Response(this.#clientResponse)) this.#clientResponse.writeHead(statusCode, fields as never);
    else this.#clientResponse.writeHead(statusCode, reasonPhraseOf(statusCode, statusMessage), fields);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!writePiece(this.#clientResponse, chunk)) controller.pause();
  }

  onResponseEnd(): void {
    this.#isComplete = true;
    endResponse(this.#clientResponse);
  }

  onResponseError(_controller: Dispatcher.DispatchController, cause: Error): void {
    if (this.#clientIsGone || cause instanceof ClientGone || this.#clientRequest.errored) return;
    if (this.#clientResponse.headersSent) this.#breakConnection();
    this.#onFailure({ problem: problemOf(cause), cause });
  }

  /**
   * A cut response must not look like one that ended. An HTTP/1.0 client takes the end of the connection for the end
   * of the response, unless it is a reset.
   */
  #breakConnection(): void {
    const { httpVersion, socket } = this.#clientRequest;
    // TLS cannot be reset, and says by the missing close_notify that it was cut (RFC 8446 §6.1).
    if (httpVersion === "1.0" && !(socket instanceof TLSSocket)) socket.resetAndDestroy();
    else if (isHttp2Response(this.#clientResponse))
      this.#clientResponse.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    else this.#clientResponse.destroy();
  }
}

/** Node.js refuses to send some characters that it can receive, and a reason phrase means nothing (RFC 9112 §4). */
function reasonPhraseOf(statusCode: number, received: string): string {
  return /^[\t\x20-\x7e\x80-\xff]+$/.test(received) ? received : (STATUS_CODES[statusCode] ?? "");
}

/** Why an exchange was given up: nobody waits for its response. */
class ClientGone extends Error {
  constructor() {
    super("the client has gone away");
  }
}

const TIMEOUTS: Readonly<Record<string, string>> = {
  UND_ERR_CONNECT_TIMEOUT: "the upstream did not accept a connection in time",
  UND_ERR_HEADERS_TIMEOUT: "the upstream did not answer in time",
  UND_ERR_BODY_TIMEOUT: "the upstream's response stopped in the middle",
  ETIMEDOUT: "the upstream did not accept a connection in time",
};
const UNREACHABLE = new Set([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EMFILE",
]);

function problemOf(error: Error): RequestProblem {
  if (error instanceof BodyTooLarge) return bodyTooLarge(error.maxBytes);
  const code = codeOf(error);
  const timeout = TIMEOUTS[code];
  if (timeout) return { code: "ERR_UPSTREAM_TIMEOUT", detail: timeout };
  if (UNREACHABLE.has(code))
    return { code: "ERR_UPSTREAM_UNREACHABLE", detail: "the upstream cannot be reached" };
  if (code === "UND_ERR_INVALID_ARG" || code === "UND_ERR_NOT_SUPPORTED")
    return { code: "ERR_REQUEST_MALFORMED", detail: "the request cannot be forwarded as it is" };
  if (code === "UND_ERR_DESTROYED" || code === "UND_ERR_CLOSED")
    return { code: "ERR_DRAINING", detail: "this sidecar is shutting down" };
  return {
    code: "ERR_UPSTREAM_BROKEN",
    detail: "the upstream closed the connection or sent no valid HTTP response",
  };
}

function codeOf(error: Error): string {
  // A host name with several addresses fails with one error for each; they are alike.
  const first = error instanceof AggregateError && !("code" in error) ? error.errors[0] : error;
  return String((first as NodeJS.ErrnoException).code ?? "");
}
