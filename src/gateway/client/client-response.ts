import type { OutgoingHttpHeaders } from "node:http";
import type { Socket } from "node:net";
import type { Writable } from "node:stream";
import { http } from "../../node-http.ts";
import type { ClientResponse } from "./client-message.ts";
import { endStream, isHttp2Response } from "./http2-message.ts";
import { hasUnreadBody } from "./message-body.ts";

/**
 * Sends "100 Continue" as soon as the connection has come to this response. To one that still waits for those before it
 * Node.js would add it behind its head.
 */
export function sendContinue(clientResponse: ClientResponse): void {
  if (isHttp2Response(clientResponse) || clientResponse.socket) clientResponse.writeContinue();
  else
    clientResponse.once("socket", () => {
      if (!clientResponse.headersSent) clientResponse.writeContinue();
    });
}

/**
 * Node.js closes the connection behind a response that says so, and nothing that follows is handled. A connection of
 * HTTP/2 goes on: what was wrong with one of its streams says nothing of the others.
 */
export function announceEnd(clientResponse: ClientResponse): void {
  // Not a field that is set before the others: Node.js would then put lines of one name together.
  if (!isHttp2Response(clientResponse) && !clientResponse.headersSent) clientResponse.shouldKeepAlive = false;
}

/** Begins a response of Countersign's own. */
export function beginResponse(
  clientResponse: ClientResponse,
  status: number,
  fields: OutgoingHttpHeaders,
): void {
  // HTTP/2 has no reason phrase (RFC 9113 §8.3.2).
  if (isHttp2Response(clientResponse)) clientResponse.writeHead(status, fields);
  // It is given, because a relayed one that could not be sent may be set already.
  else clientResponse.writeHead(status, http.STATUS_CODES[status], fields);
}

/** A client that is still sending has this long to read the answer that ends its connection. */
export const LINGER_MILLISECONDS = 500;

/** Ends a connection behind these last bytes, whether its client does so or not. */
export function endConnection(socket: Socket, lastBytes = ""): void {
  socket.end(lastBytes);
  // What still comes is read and dropped: unread, it would make the system discard the answer. But not for long.
  socket.resume();
  const linger = setTimeout(() => socket.destroy(), LINGER_MILLISECONDS);
  socket.once("close", () => clearTimeout(linger));
}

const lingering = new WeakSet<ClientResponse>();

/** Whether a response has been written whole, and its connection waits for the client to read it. */
export function isLingering(clientResponse: ClientResponse): boolean {
  return lingering.has(clientResponse);
}

/**
 * Ends a response that has been written. Where the request's body is still coming it is read and dropped for a moment
 * first: a connection that is closed with unread bytes is reset, and the client loses the answer (RFC 9112 §9.6).
 */
export function endResponse(clientResponse: ClientResponse): void {
  const { req: clientRequest } = clientResponse;
  if (!hasUnreadBody(clientRequest)) {
    clientResponse.end();
    return;
  }
  if (isHttp2Response(clientResponse)) {
    endStream(clientResponse);
    return;
  }
  lingering.add(clientResponse);
  const linger = setTimeout(() => clientResponse.end(), LINGER_MILLISECONDS);
  clientResponse.once("close", () => clearTimeout(linger));
  clientRequest.once("end", () => clientResponse.end());
  clientRequest.resume();
}

/** Writes a piece of a response; `false` where the next one had better wait for `drain`. */
export function writePiece(clientResponse: ClientResponse, piece: string | Uint8Array): boolean {
  const writable: Writable = clientResponse;
  return writable.write(piece);
}

/** Whether nobody is there any more who would get this response. */
export function isGone(clientResponse: ClientResponse): boolean {
  return isHttp2Response(clientResponse) ? clientResponse.stream.closed : clientResponse.destroyed;
}
