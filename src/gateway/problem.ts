import { type RequestErrorCode, statusByCode } from "../errors.ts";
import { http } from "../node-http.ts";
import type { ClientResponse } from "./client/client-message.ts";
import { announceEnd, beginResponse, endResponse, isGone, writePiece } from "./client/client-response.ts";
import { endSession, isHttp2Response } from "./client/http2-message.ts";
import { hasUnreadBody } from "./client/message-body.ts";

/** Why a request was not forwarded, or its response not relayed. */
export interface RequestProblem {
  readonly code: RequestErrorCode;
  /** One sentence for the caller: no address of the upstream, no secret. */
  readonly detail: string;
  /** Further fields of the answer by name, such as `www-authenticate`. */
  readonly fields?: Readonly<Record<string, string>> | undefined;
  /** Another request on the same connection would meet the same problem, so that it closes. Default: false. */
  readonly isOfConnection?: boolean | undefined;
}

/** What a stage answers where it will not let a request pass. */
export type Refusal = { readonly kind: "refused" } & RequestProblem;

/** The members of the `application/problem+json` body (RFC 9457 §3); `type` is absent, which means about:blank. */
function bodyOf({ code, detail }: RequestProblem, requestId: string | undefined): string {
  const status = statusByCode[code];
  return `${JSON.stringify({ title: http.STATUS_CODES[status], status, detail, code, requestId })}\n`;
}

/** Statuses of a request whose very form was wrong: what follows on its connection is not to be trusted, or is not wanted. */
const CLOSING_STATUSES: ReadonlySet<number> = new Set([400, 413, 431, 505]);

/** Whether the connection closes behind this answer. */
function endsConnection({ code, isOfConnection = false }: RequestProblem): boolean {
  return isOfConnection || CLOSING_STATUSES.has(statusByCode[code]);
}

/**
 * Answers with a problem. The connection closes after it where the request's form was wrong, or its body has not been
 * read to the end.
 *
 * @param requestId `undefined` where the request was not read that far
 */
export function answerProblem(
  clientResponse: ClientResponse,
  problem: RequestProblem,
  requestId: string | undefined,
): void {
  if (isGone(clientResponse) || clientResponse.headersSent) return;
  const body = bodyOf(problem, requestId);
  const status = statusByCode[problem.code];
  if (endsConnection(problem) || hasUnreadBody(clientResponse.req)) announceEnd(clientResponse);
  beginResponse(clientResponse, status, {
    "content-type": "application/problem+json",
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    ...problem.fields,
  });
  writePiece(clientResponse, body);
  endResponse(clientResponse);
  if (problem.isOfConnection && isHttp2Response(clientResponse)) endSession(clientResponse);
}

/** The bytes of a problem for a connection on which no request could be read; it closes the connection. */
export function rawProblem(problem: RequestProblem): string {
  const body = bodyOf(problem, undefined);
  const status = statusByCode[problem.code];
  const lines = Object.entries({
    "content-type": "application/problem+json",
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    connection: "close",
    ...problem.fields,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\n${lines.join("")}\r\n${body}`;
}
