import type { ServerResponse } from "node:http";
import { hasUnreadBody } from "./message-body.ts";

/**
 * Sends "100 Continue" as soon as the connection has come to this response. To one that still waits for those before it
 * Node.js would add it behind its head.
 */
export function sendContinue(clientResponse: ServerResponse): void {
  if (clientResponse.socket) clientResponse.writeContinue();
  else
    clientResponse.once("socket", () => {
      if (!clientResponse.headersSent) clientResponse.writeContinue();
    });
}

/** Node.js closes the connection behind a response that says so, and nothing that follows is handled. */
export function announceEnd(clientResponse: ServerResponse): void {
  if (!clientResponse.headersSent) clientResponse.setHeader("connection", "close");
}

/** A client that is still sending has this long to read the answer that ends its connection. */
export const LINGER_MILLISECONDS = 500;

const lingering = new WeakSet<ServerResponse>();

/** Whether a response has been written whole, and its connection waits for the client to read it. */
export function isLingering(clientResponse: ServerResponse): boolean {
  return lingering.has(clientResponse);
}

/**
 * Ends a response that has been written. Where the request's body is still coming it is read and dropped for a moment
 * first: a connection that is closed with unread bytes is reset, and the client loses the answer (RFC 9112 §9.6).
 */
export function endResponse(clientResponse: ServerResponse): void {
  const { req: clientRequest } = clientResponse;
  if (!hasUnreadBody(clientRequest)) {
    clientResponse.end();
    return;
  }
  lingering.add(clientResponse);
  const linger = setTimeout(() => clientResponse.end(), LINGER_MILLISECONDS);
  clientResponse.once("close", () => clearTimeout(linger));
  clientRequest.once("end", () => clientResponse.end());
  clientRequest.resume();
}
