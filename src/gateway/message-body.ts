import type { IncomingMessage } from "node:http";

/** Whether the request has a body: Content-Length above zero, or Transfer-Encoding (RFC 9112 §6.3). */
export function hasBody({ headers }: IncomingMessage): boolean {
  if (headers["transfer-encoding"] !== undefined) return true;
  const length = headers["content-length"];
  return length !== undefined && !/^0+$/.test(length);
}

/** Whether a part of the request's body is still to come: a connection that is not read to there cannot be used again. */
export function hasUnreadBody(clientRequest: IncomingMessage): boolean {
  return !clientRequest.complete && hasBody(clientRequest);
}
