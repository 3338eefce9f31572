import {
  type FieldLine,
  type Framing,
  framingOf,
  listOf,
  readBody,
  readFields,
  readLine,
} from "./message.ts";

/** A final response that can be read in one way alone. */
export interface StrictResponse {
  readonly status: number;
  /** The reason phrase. */
  readonly reason: string;
  readonly fields: readonly FieldLine[];
  readonly content: string;
  readonly trailers: readonly FieldLine[];
  /** The statuses of the interim responses before it. */
  readonly interim: readonly number[];
  /** Whether it says that its connection ends behind it. */
  readonly closes: boolean;
  /** Whether only the end of the connection tells where it ends. */
  readonly isDelimitedByClose: boolean;
}

/** What of its request matters for the form of a response. */
export interface AnsweredRequest {
  readonly method: string;
  readonly httpVersion: "1.0" | "1.1";
}

/** All that a server sent on one connection. */
export interface ResponseSequence {
  readonly responses: readonly StrictResponse[];
  /** What is wrong with what stands behind them; `undefined` where it is nothing, or the beginning of a response. */
  readonly brokenBecause: string | undefined;
  /** What stands behind them. */
  readonly rest: string;
}

// Without a reason phrase the space before it is often forgotten, and no reader minds.
const STATUS_LINE = /^HTTP\/1\.([01]) (\d{3})(?: ([\t\x20-\x7e\x80-\xff]*))?$/;

/**
 * Reads the responses to requests, in order; to more responses than requests it applies what goes for GET.
 *
 * @param isClosed whether nothing more can come: a response without a length is whole only then
 * @param mindsNeedlessLength whether a length on 1xx and 204 is wrong; it must not be sent, and is not read (RFC 9112 §6)
 */
export function readResponses(
  text: string,
  requests: readonly AnsweredRequest[],
  isClosed: boolean,
  mindsNeedlessLength = true,
): ResponseSequence {
  const responses: StrictResponse[] = [];
  for (let at = 0; ; ) {
    if (at === text.length) return { responses, brokenBecause: undefined, rest: "" };
    const request = requests[responses.length] ?? { method: "GET", httpVersion: "1.1" };
    const read = readFinal(text, at, request, isClosed, mindsNeedlessLength);
    if (read.kind !== "whole")
      return {
        responses,
        brokenBecause: read.kind === "broken" ? read.why : undefined,
        rest: text.slice(at),
      };
    responses.push(read.response);
    at = read.end;
  }
}

type Read =
  | { readonly kind: "whole"; readonly response: StrictResponse; readonly end: number }
  | { readonly kind: "incomplete" }
  | { readonly kind: "broken"; readonly why: string };

function readFinal(
  text: string,
  start: number,
  request: AnsweredRequest,
  isClosed: boolean,
  mindsNeedlessLength: boolean,
): Read {
  const interim: number[] = [];
  for (let at = start; ; ) {
    const line = readLine(text, at);
    if (line.kind !== "whole") return line;
    const [, minor, digits, reason = ""] = STATUS_LINE.exec(line.value) ?? [];
    if (digits === undefined) return broken(`no status line: ${JSON.stringify(line.value.slice(0, 80))}`);
    const head = readFields(text, line.end);
    if (head.kind !== "whole") return head;
    const fields = head.value;
    const status = Number(digits);
    if (status < 100) return broken(`status ${status}`);
    const hasNoLength = status < 200 || status === 204;
    const framing: Framing = hasNoLength && !mindsNeedlessLength ? { kind: "none" } : framingOf(fields);
    if (framing.kind === "broken") return framing;
    if (hasNoLength && framing.kind !== "none") return broken(`${status} with a length`);
    if (status < 200) {
      if (status === 101) return broken("a change of protocol");
      interim.push(status);
      at = head.end;
      continue;
    }
    if (framing.kind === "chunked" && (request.httpVersion === "1.0" || minor === "0"))
      return broken("chunks for HTTP/1.0");
    const hasNoContent = status === 204 || status === 304 || request.method === "HEAD";
    const isDelimitedByClose = framing.kind === "none" && !hasNoContent;
    if (isDelimitedByClose && !isClosed) return { kind: "incomplete" };
    const body = isDelimitedByClose
      ? readBody(text, head.end, { kind: "length", bytes: text.length - head.end })
      : readBody(text, head.end, hasNoContent ? { kind: "none" } : framing);
    if (body.kind !== "whole") return body;
    const { content, trailers } = body.value;
    const options = listOf(fields, "connection");
    const closes = options.includes("close") || (minor === "0" && !options.includes("keep-alive"));
    const response = { status, reason, fields, content, trailers, interim, closes, isDelimitedByClose };
    return { kind: "whole", response, end: body.end };
  }
}

function broken(why: string): Read {
  return { kind: "broken", why };
}
