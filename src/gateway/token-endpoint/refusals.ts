import type { Refused } from "../decision.ts";

/** A parameter is missing or malformed, or a token to be exchanged is not good (RFC 6749 §5.2, RFC 8693 §2.2.2). */
export function invalidRequest(detail: string): Refused {
  return { kind: "refused", code: "ERR_OAUTH_INVALID_REQUEST", detail };
}
