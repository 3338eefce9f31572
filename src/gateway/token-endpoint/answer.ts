import type { RequestErrorCode } from "../../errors.ts";
import { statusByCode } from "../../errors.ts";
import { describable } from "../../policy/authenticators/authenticator.ts";
import type { ClientResponse } from "../client/client-message.ts";
import { announceEnd, beginResponse, endResponse, isGone, writePiece } from "../client/client-response.ts";
import { hasUnreadBody } from "../client/message-body.ts";
import type { RequestProblem } from "../problem.ts";

/** What OAuth calls a problem (RFC 6749 §5.2, RFC 8707 §2); what is not here is a `server_error`. */
const ERROR_BY_CODE: Partial<Readonly<Record<RequestErrorCode, string>>> = {
  ERR_OAUTH_INVALID_REQUEST: "invalid_request",
  ERR_OAUTH_INVALID_CLIENT: "invalid_client",
  ERR_OAUTH_UNAUTHORIZED_CLIENT: "unauthorized_client",
  ERR_OAUTH_UNSUPPORTED_GRANT_TYPE: "unsupported_grant_type",
  ERR_OAUTH_INVALID_SCOPE: "invalid_scope",
  ERR_OAUTH_INVALID_TARGET: "invalid_target",
  ERR_BODY_TOO_LARGE: "invalid_request",
  ERR_REQUEST_TIMEOUT: "invalid_request",
  ERR_TOO_MANY_ATTEMPTS: "temporarily_unavailable",
  ERR_AUTHENTICATION_UNAVAILABLE: "temporarily_unavailable",
  ERR_SIGNING_FAILED: "temporarily_unavailable",
};

/** Answers with a problem as clients of OAuth read one (RFC 6749 §5.2). */
export function answerOAuthProblem(clientResponse: ClientResponse, problem: RequestProblem): void {
  const { code, detail, fields } = problem;
  const body = { error: ERROR_BY_CODE[code] ?? "server_error", error_description: describable(detail) };
  answerJson(clientResponse, statusByCode[code], body, fields);
}

/** Answers with JSON that nobody may keep (RFC 6749 §5.1). */
export function answerJson(
  clientResponse: ClientResponse,
  status: number,
  value: object,
  fields: Readonly<Record<string, string>> = {},
): void {
  if (isGone(clientResponse) || clientResponse.headersSent) return;
  if (hasUnreadBody(clientResponse.req)) announceEnd(clientResponse);
  const body = `${JSON.stringify(value)}\n`;
  beginResponse(clientResponse, status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    pragma: "no-cache",
    "x-content-type-options": "nosniff",
    ...fields,
  });
  writePiece(clientResponse, body);
  endResponse(clientResponse);
}
