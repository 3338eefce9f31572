import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import type { ClientRequest } from "./client-message.ts";
import { isHttp2Request } from "./http2-message.ts";

/**
 * Whether the request has a body: Content-Length above zero, or Transfer-Encoding (RFC 9112 §6.3). In HTTP/2 the last
 * frame says that it is the last, and a body needs no length (RFC 9113 §8.1).
 */
export function hasBody(clientRequest: ClientRequest | Pick<IncomingMessage, "headers">): boolean {
  const { headers } = clientRequest;
  const length = headers["content-length"];
  if (isHttp2Request(clientRequest))
    return !clientRequest.stream.endAfterHeaders && (length === undefined || !/^0+$/.test(length));
  if (headers["transfer-encoding"] !== undefined) return true;
  return length !== undefined && !/^0+$/.test(length);
}

/** Whether the client waits for "100 Continue". One of HTTP/1.0 knows no interim responses (RFC 9110 §10.1.1). */
export function expectsContinue({ headers, httpVersion }: ClientRequest): boolean {
  return headers.expect?.toLowerCase() === "100-continue" && httpVersion !== "1.0";
}

/**
 * What is wrong with the framing of a request that Node.js has let through; `undefined` where nothing is. A coding beside
 * chunked would be taken off the message while its bytes went on, and an HTTP/1.0 hop knows no chunks (RFC 9112 §6.1).
 */
export function framingProblemOf({
  headers,
  httpVersion,
}: Pick<IncomingMessage, "headers" | "httpVersion">): string | undefined {
  const coding = headers["transfer-encoding"];
  if (coding !== undefined && httpVersion === "1.0")
    return "an HTTP/1.0 request cannot have Transfer-Encoding";
  if (coding !== undefined && !isChunkedAlone(coding))
    return "the only transfer coding that is known here is chunked";
  if (Number(headers["content-length"] ?? 0) > Number.MAX_SAFE_INTEGER)
    return "the Content-Length is too large";
  return undefined;
}

/** Whether a Transfer-Encoding is chunked and nothing else: as strictly as llhttp, which takes all else for another coding. */
export function isChunkedAlone(transferEncoding: string | string[]): boolean {
  return /^chunked *$/i.test(String(transferEncoding));
}

/** Whether a part of the request's body is still to come: a connection that is not read to there cannot be used again. */
export function hasUnreadBody(clientRequest: ClientRequest): boolean {
  return !clientRequest.complete && hasBody(clientRequest);
}

/** Why a body that says its length nowhere was broken off. */
export class BodyTooLarge extends Error {
  readonly maxBytes: number;

  constructor(maxBytes: number) {
    super(`the body is larger than ${maxBytes} bytes`);
    this.maxBytes = maxBytes;
  }
}

/**
 * The body of a client's request, for undici. It may be destroyed (undici does so where it gives up on a request)
 * and leaves the client's connection open all the same, so that an answer can still be sent there.
 */
export class RequestBody extends Readable {
  readonly #clientRequest: ClientRequest;

  /**
   * @param maxBytes the longest that goes on; `undefined`: any
   * @param record counts what is read
   */
  constructor(clientRequest: ClientRequest, maxBytes: number | undefined, record: { receivedBytes: number }) {
    super();
    this.#clientRequest = clientRequest;
    // undici stops listening when it is done with a request, and an error that nobody hears ends the process.
    this.on("error", () => {});
    clientRequest.on("data", (chunk: Buffer) => {
      record.receivedBytes += chunk.length;
      // An end here would make a whole body of its beginning: only an error keeps the upstream from taking it.
      if (maxBytes !== undefined && record.receivedBytes > maxBytes && !this.destroyed)
        this.destroy(new BodyTooLarge(maxBytes));
      if (!this.destroyed && !this.push(chunk)) clientRequest.pause();
    });
    // A client that goes away in the middle: the upstream must not take what came for the whole.
    clientRequest.on("error", (error) => this.destroy(error));
    if (isHttp2Request(clientRequest)) {
      const { stream } = clientRequest;
      // A stream that was reset ends like one that was sent whole.
      clientRequest.on("aborted", () => this.destroy(new StreamReset()));
      clientRequest.on("end", () => (stream.closed ? this.destroy(new StreamReset()) : this.push(null)));
    } else clientRequest.on("end", () => this.push(null));
    clientRequest.pause();
  }

  override _read(): void {
    this.#clientRequest.resume();
  }
}

/** Why a request of HTTP/2 is not whole. */
class StreamReset extends Error {
  constructor() {
    super("the client reset its stream");
  }
}
