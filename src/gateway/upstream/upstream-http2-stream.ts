import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from "node:http2";
import { Duplex } from "node:stream";
import { errors } from "undici";
import type { RawFields } from "../fields.ts";
import type { HeadController, TransportHandler, TransportRequest } from "./transport.ts";

/** A stream that the backend has not begun to process: it says so (RFC 9113 §8.7). */
export class StreamRefused extends Error {
  constructor() {
    super("the upstream refused the stream before it processed the request");
  }
}

/**
 * One request and its response on a stream of an HTTP/2 connection. Node.js is used and not undici, whose reset of a request
 * that is given up in the middle of its body has the code NO_ERROR, which a backend may take for the end of the body.
 *
 * @see RFC 9113 §8.1
 */
export class Http2Exchange implements HeadController {
  readonly #handler: TransportHandler;
  readonly #request: TransportRequest;
  readonly #headersMilliseconds: number;
  readonly #onTimeout: () => void;
  #stream: ClientHttp2Stream | undefined;
  /** Resets the stream with CANCEL. Its method `close` would end the request's body first, as if it were whole. */
  readonly #giveUp = new AbortController();
  /** Runs while it is the backend's turn. */
  #late: NodeJS.Timeout | undefined;
  #trailers: RawFields = [];
  #isAnswered = false;
  #isSettled = false;
  aborted = false;
  paused = false;
  reason: Error | null = null;
  isHeadAlone = false;
  rawHeaders: RawFields = [];
  rawTrailers: RawFields = [];

  /** @param onTimeout told where the response's fields did not come in time: the connection may be dead */
  constructor(
    request: TransportRequest,
    handler: TransportHandler,
    headersMilliseconds: number,
    onTimeout: () => void,
  ) {
    this.#request = request;
    this.#handler = handler;
    this.#headersMilliseconds = headersMilliseconds;
    this.#onTimeout = onTimeout;
  }

  /** Sends the request, unless it has been given up meanwhile; `onEnd` is told when its stream has closed. */
  begin(session: ClientHttp2Session, pseudoFields: RawFields, onEnd: () => void): void {
    const { body, fields, acceptsTrailers } = this.#request;
    this.#handler.onRequestStart?.(this, undefined);
    if (this.#isSettled) {
      onEnd();
      return;
    }
    const lines = [...pseudoFields, ...http2Fields(fields)];
    if (acceptsTrailers) lines.push("te", "trailers");
    let stream: ClientHttp2Stream;
    try {
      stream = session.request(lines, { endStream: body === null, signal: this.#giveUp.signal });
    } catch (cause) {
      this.#fail(new errors.InvalidArgumentError(String((cause as Error).message)));
      onEnd();
      return;
    }
    this.#stream = stream;
    const endsProperly = watchEnd(stream);
    stream.on("headers", (headers, _flags, raw) => this.#onInterim(Number(headers[":status"]), raw));
    stream.on("response", (headers, flags, raw) => this.#onHead(headers, flags, raw));
    stream.on("trailers", (_headers, _flags, raw) => {
      this.#trailers = raw;
    });
    stream.on("end", () => {
      if (endsProperly()) this.#complete();
    });
    // What could not be sent, as the backend has just said that it closes the connection, has not been processed either.
    stream.on("frameError", () => this.#fail(new StreamRefused()));
    stream.on("error", (error) => this.#fail(this.#errorOf(stream, error)));
    stream.on("close", () => {
      this.#fail(this.#errorOf(stream));
      onEnd();
    });
    if (body === null) this.#expectProgress();
    else this.#send(body, stream);
  }

  abort(reason: Error): void {
    if (this.#isSettled) return;
    this.aborted = true;
    this.reason = reason;
    this.#fail(reason);
    this.#giveUp.abort();
  }

  pause(): void {
    this.paused = true;
    this.#stream?.pause();
  }

  resume(): void {
    this.paused = false;
    this.#stream?.resume();
  }

  #send(body: NonNullable<TransportRequest["body"]>, stream: ClientHttp2Stream): void {
    // The client went away in the middle of its request.
    body.on("error", (error) => this.abort(error));
    body.pipe(stream);
    // A client may send its own for as long as it likes: it is the backend's turn where enough waits for it, and at the end.
    body.on("pause", () => this.#expectProgress());
    stream.on("drain", () => clearTimeout(this.#late));
    body.on("end", () => this.#expectProgress());
    stream.on("finish", () => this.#expectProgress());
  }

  /** The backend has to answer in time, or to take more of the body; until its answer has begun. */
  #expectProgress(): void {
    clearTimeout(this.#late);
    if (this.#isAnswered || this.#isSettled) return;
    // Not the stream's own timer, for which whatever is sent on any stream of the connection is progress.
    this.#late = setTimeout(() => {
      this.#onTimeout();
      this.abort(new errors.HeadersTimeoutError());
    }, this.#headersMilliseconds);
  }

  #onInterim(statusCode: number, raw: RawFields): void {
    if (this.#isSettled) return;
    this.#late?.refresh();
    this.rawHeaders = withoutPseudoFields(raw);
    this.#handler.onResponseStarted();
    this.#tell(() => this.#handler.onResponseStart?.(this, statusCode, {}));
  }

  #onHead(headers: IncomingHttpHeaders & IncomingHttpStatusHeader, flags: number, raw: RawFields): void {
    const stream = this.#stream as ClientHttp2Stream;
    if (this.#isSettled) return;
    clearTimeout(this.#late);
    this.#isAnswered = true;
    this.rawHeaders = withoutPseudoFields(raw);
    this.isHeadAlone = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    this.#handler.onResponseStarted();
    this.#tell(() => this.#handler.onResponseStart?.(this, Number(headers[":status"]), headers));
    stream.on("data", (chunk: Buffer) => {
      if (!this.#isSettled) this.#tell(() => this.#handler.onResponseData?.(this, chunk));
    });
    if (this.paused) stream.pause();
  }

  /** What cannot be relayed ends the exchange, and not the process. */
  #tell(relay: () => void): void {
    try {
      relay();
    } catch (error) {
      this.abort(error as Error);
    }
  }

  #complete(): void {
    if (this.#isSettled || !this.#isAnswered) return;
    this.#isSettled = true;
    this.rawTrailers = this.#trailers;
    // A response before the end of the request: nobody will read the rest.
    if (this.#stream?.writableEnded === false) {
      this.#request.body?.destroy();
      this.#giveUp.abort();
    }
    this.#handler.onResponseEnd?.(this, {});
  }

  #fail(error: Error): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    clearTimeout(this.#late);
    this.#handler.onResponseError?.(this, error);
  }

  #errorOf({ rstCode }: ClientHttp2Stream, error?: Error): Error {
    if (rstCode === constants.NGHTTP2_REFUSED_STREAM && !this.#isAnswered) return new StreamRefused();
    return error ?? new Error("the upstream closed the stream before the response was complete");
  }
}

/**
 * Tells the end of a message from a reset with the code NO_ERROR, for which Node.js ends the stream as well. In both cases
 * it pushes the end: for the one the stream is open, for the other it has closed.
 */
function watchEnd(stream: ClientHttp2Stream): () => boolean {
  let endsProperly = false;
  stream.push = (chunk, encoding) => {
    if (chunk === null && !stream.closed) endsProperly = true;
    return Duplex.prototype.push.call(stream, chunk, encoding);
  };
  return () => endsProperly;
}

/** HTTP/2 has lower-case names, and the authority in place of Host (RFC 9113 §8.2, §8.3.1). */
function http2Fields(fields: RawFields): RawFields {
  const lines: RawFields = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = (fields[i] as string).toLowerCase();
    if (name !== "host") lines.push(name, fields[i + 1] as string);
  }
  return lines;
}

function withoutPseudoFields(raw: RawFields): RawFields {
  let start = 0;
  while (raw[start]?.startsWith(":")) start += 2;
  return raw.slice(start);
}
