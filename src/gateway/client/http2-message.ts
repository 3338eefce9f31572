import { constants, Http2ServerRequest, Http2ServerResponse } from "node:http2";
import type { ClientResponse } from "./client-message.ts";

/** Whether a request came as a stream of HTTP/2; the version that the request line of HTTP/1 claims is no proof. */
export function isHttp2Request(clientRequest: object): clientRequest is Http2ServerRequest {
  return clientRequest instanceof Http2ServerRequest;
}

/** Whether a response goes out on a stream of HTTP/2. */
export function isHttp2Response(clientResponse: ClientResponse): clientResponse is Http2ServerResponse {
  return clientResponse instanceof Http2ServerResponse;
}

/**
 * Ends a stream whose request has not been read to its end: once the response has been sent whole the client is told
 * that nobody wants the rest, and that this is no error (RFC 9113 §8.1).
 */
export function endStream(clientResponse: Http2ServerResponse): void {
  const { stream } = clientResponse;
  const close = () => stream.close(constants.NGHTTP2_NO_ERROR);
  // Behind the last frame, which Node.js sends when it has asked for trailers: a reset before it would cut the response.
  // A head that is the whole response has none.
  if (stream.writableEnded) close();
  else stream.once("wantTrailers", () => setImmediate(close));
  clientResponse.end();
}

/** Ends a connection: no further stream is taken, and those under way go on (RFC 9113 §6.8). */
export function endSession({ stream }: Http2ServerResponse): void {
  stream.session?.close();
}
