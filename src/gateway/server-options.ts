import type { ClientResponse } from "./client/client-message.ts";
import { announceEnd, beginResponse, endResponse } from "./client/client-response.ts";
import { hasUnreadBody } from "./client/message-body.ts";

/** What passes here, for `Allow` (RFC 9110 §10.2.1); a backend may know fewer methods, or more. */
export const ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/**
 * Whether a request asks what the server as a whole can do (RFC 9110 §9.3.7): `OPTIONS *`, or OPTIONS of a URL without path
 * and query, as which it reaches a proxy (RFC 9112 §3.2.4). It is about no resource, so no policy is for it.
 */
export function asksAboutServer(method: string, requestTarget: string): boolean {
  return method === "OPTIONS" && /^(?:\*|https?:\/\/[^/?#]*)$/i.test(requestTarget);
}

/** Answers an OPTIONS that goes no further. */
export function answerOptions(clientResponse: ClientResponse): void {
  if (hasUnreadBody(clientResponse.req)) announceEnd(clientResponse);
  beginResponse(clientResponse, 204, { allow: ALLOWED_METHODS });
  endResponse(clientResponse);
}
