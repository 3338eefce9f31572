import {
  type Body,
  type FieldLine,
  framingOf,
  listOf,
  type Reading,
  readBody,
  readFields,
  readLine,
  TOKEN,
  valuesOf,
} from "./message.ts";

/** A request that can be read in one way alone. */
export interface StrictRequest {
  readonly method: string;
  /** The request target as the request line has it. */
  readonly target: string;
  readonly httpVersion: "1.0" | "1.1";
  readonly fields: readonly FieldLine[];
  readonly body: Body;
  /** Whether another request may follow on the connection (RFC 9112 §9.3). */
  readonly keepsAlive: boolean;
}

/** The four forms of a target, by how they begin (RFC 9112 §3.2). */
const TARGET = "(?:/|[A-Za-z][A-Za-z0-9+.-]*://|\\*(?= )|(?<=^CONNECT ))[\\x21-\\x7e]*";
const REQUEST_LINE = new RegExp(`^(${TOKEN}) (${TARGET}) HTTP/(1\\.[01])$`);

/** Between method and target Node.js takes several spaces for one, as a recipient may (RFC 9112 §3). */
const SEVERAL_SPACES = /^([!-~]+) +(?=[!-~])/;

/**
 * Reads the request that stands at an offset.
 *
 * @param isClients one that a client sent; in what is sent on, not even spaces may differ
 */
export function readRequest(text: string, start = 0, isClients = false): Reading<StrictRequest> {
  const line = readLine(text, start);
  if (line.kind !== "whole") return line;
  const requestLine = isClients ? line.value.replace(SEVERAL_SPACES, "$1 ") : line.value;
  const [, method, target, httpVersion] = REQUEST_LINE.exec(requestLine) ?? [];
  if (method === undefined || target === undefined)
    return { kind: "broken", why: `no request line: ${JSON.stringify(line.value.slice(0, 80))}` };

  const head = readFields(text, line.end);
  if (head.kind !== "whole") return head;
  const fields = head.value;
  const hosts = valuesOf(fields, "host").length;
  if (hosts > 1 || (hosts === 0 && httpVersion === "1.1"))
    return { kind: "broken", why: `${hosts} Host fields` };
  const framing = framingOf(fields);
  if (framing.kind === "chunked" && httpVersion === "1.0")
    return { kind: "broken", why: "Transfer-Encoding in HTTP/1.0" };
  const body = readBody(text, head.end, framing);
  if (body.kind !== "whole") return body;
  const options = listOf(fields, "connection");
  const keepsAlive = !options.includes("close") && (httpVersion === "1.1" || options.includes("keep-alive"));
  return {
    kind: "whole",
    message: {
      method,
      target,
      httpVersion: httpVersion as "1.0" | "1.1",
      fields,
      body: body.value,
      keepsAlive,
    },
    length: body.end - start,
  };
}

/** All that a client sends on one connection, read as strictly as can be. */
export interface RequestSequence {
  /** Up to the first that is broken, or that is the last of its connection. */
  readonly requests: readonly StrictRequest[];
  /** What is wrong behind them; `undefined` where nothing is. */
  readonly brokenBecause: string | undefined;
  /** Whether anything stands behind them, whole or not. */
  readonly hasRest: boolean;
}

/**
 * Reads the requests of a client's connection. Empty lines before a request are no part of it (RFC 9112 §2.2), and neither
 * is one half of a line's end: Node.js drops that too, and nothing there can be taken for anything else.
 */
export function readRequests(text: string): RequestSequence {
  const requests: StrictRequest[] = [];
  for (let at = 0; ; ) {
    while (text[at] === "\r" || text[at] === "\n") at++;
    if (at >= text.length || requests.at(-1)?.keepsAlive === false)
      return { requests, brokenBecause: undefined, hasRest: at < text.length };
    const reading = readRequest(text, at, true);
    if (reading.kind !== "whole")
      return { requests, brokenBecause: reading.kind === "broken" ? reading.why : undefined, hasRest: true };
    requests.push(reading.message);
    at += reading.length;
  }
}
