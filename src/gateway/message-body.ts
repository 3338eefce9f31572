import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";

/** Whether the request has a body: Content-Length above zero, or Transfer-Encoding (RFC 9112 §6.3). */
export function hasBody({ headers }: Pick<IncomingMessage, "headers">): boolean {
  if (headers["transfer-encoding"] !== undefined) return true;
  const length = headers["content-length"];
  return length !== undefined && !/^0+$/.test(length);
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

/** Whether a Transfer-Encoding is chunked and nothing else. */
export function isChunkedAlone(transferEncoding: string | string[]): boolean {
  return String(transferEncoding).trim().toLowerCase() === "chunked";
}

/** Whether a part of the request's body is still to come: a connection that is not read to there cannot be used again. */
export function hasUnreadBody(clientRequest: IncomingMessage): boolean {
  return !clientRequest.complete && hasBody(clientRequest);
}

/**
 * The body of a client's request, for undici. It may be destroyed (undici does so where it gives up on a request)
 * and leaves the client's connection open all the same, so that an answer can still be sent there.
 */
export class RequestBody extends Readable {
  readonly #clientRequest: IncomingMessage;

  constructor(clientRequest: IncomingMessage) {
    super();
    this.#clientRequest = clientRequest;
    // undici stops listening when it is done with a request, and an error that nobody hears ends the process.
    this.on("error", () => {});
    clientRequest.on("data", (chunk: Buffer) => {
      if (!this.destroyed && !this.push(chunk)) clientRequest.pause();
    });
    clientRequest.on("end", () => this.push(null));
    // A client that goes away in the middle: the upstream must not take what came for the whole.
    clientRequest.on("error", (error) => this.destroy(error));
    clientRequest.pause();
  }

  override _read(): void {
    this.#clientRequest.resume();
  }
}
