import type { IncomingMessage } from "node:http";

/**
 * Whether the client's `Connection` names this option (RFC 9110 §7.6.1). Node.js itself believes `Proxy-Connection` too,
 * which says nothing: who sends it takes this for another proxy (RFC 9112 §C.2.2).
 *
 * @param option in lower case, such as "upgrade"
 */
export function namesConnectionOption(
  { headers }: Pick<IncomingMessage, "headers">,
  option: string,
): boolean {
  return (headers.connection ?? "").split(",").some((named) => named.trim().toLowerCase() === option);
}

/**
 * Whether another request may follow on an HTTP/1.0 client's connection: only where it asks for that, and does not say
 * the opposite in the same breath (RFC 9112 §9.3).
 */
export function keepsHttp10Connection(clientRequest: Pick<IncomingMessage, "headers">): boolean {
  return namesConnectionOption(clientRequest, "keep-alive") && !namesConnectionOption(clientRequest, "close");
}
