import { type ServerResponse, STATUS_CODES } from "node:http";
import { type RequestErrorCode, statusByCode } from "../errors.ts";
import { hasUnreadBody } from "./message-body.ts";

/** Why a request was not forwarded, or its response not relayed. */
export interface RequestProblem {
  readonly code: RequestErrorCode;
  /** One sentence for the caller: no address of the upstream, no secret. */
  readonly detail: string;
}

/** The members of the `application/problem+json` body (RFC 9457 §3); `type` is absent, which means about:blank. */
function bodyOf({ code, detail }: RequestProblem, requestId: string | undefined): string {
  const status = statusByCode[code];
  return `${JSON.stringify({ title: STATUS_CODES[status], status, detail, code, requestId })}\n`;
}

/**
 * Answers with a problem. Where the request's body has not been read to its end the connection closes after it.
 *
 * @param fields further fields by name, such as `allow`
 */
export function answerProblem(
  clientResponse: ServerResponse,
  problem: RequestProblem,
  requestId: string,
  fields: Readonly<Record<string, string>> = {},
): void {
  if (clientResponse.destroyed || clientResponse.headersSent) return;
  const body = bodyOf(problem, requestId);
  clientResponse.writeHead(statusByCode[problem.code], {
    "content-type": "application/problem+json",
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    ...(hasUnreadBody(clientResponse.req) && { connection: "close" }),
    ...fields,
  });
  clientResponse.end(body);
}

/** The bytes of a problem for a connection on which no request could be read; it closes the connection. */
export function rawProblem(problem: RequestProblem, fields: Readonly<Record<string, string>> = {}): string {
  const body = bodyOf(problem, undefined);
  const status = statusByCode[problem.code];
  const lines = Object.entries({
    "content-type": "application/problem+json",
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    connection: "close",
    ...fields,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join("")}\r\n${body}`;
}
