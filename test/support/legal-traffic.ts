import { gzipSync } from "node:zlib";
import fc from "fast-check";

/** A field line: name and value. */
type Line = readonly [string, string];

/** How a backend is told to answer. */
export interface WantedAnswer {
  readonly status: number;
  readonly reason: string;
  readonly fields: readonly Line[];
  /** Latin-1. */
  readonly content: string;
  /** The content comes so often. */
  readonly times: number;
  readonly isGzip: boolean;
  readonly framing: "length" | "chunked";
}

/** A request in which nothing is wrong, and the answer that it asks for. */
export interface LegalRequest {
  readonly method: string;
  readonly target: string;
  readonly httpVersion: "1.0" | "1.1";
  readonly host: string;
  readonly fields: readonly Line[];
  readonly framing: "none" | "length" | "chunked";
  /** Latin-1. */
  readonly body: string;
  readonly answer: WantedAnswer;
}

/** The field in which a request says how it wants to be answered. */
export const ANSWER_FIELD = "X-Answer";

/** What {@link ANSWER_FIELD} says. */
export function readWantedAnswer(value: string): WantedAnswer {
  return JSON.parse(Buffer.from(value, "base64url").toString());
}

/** The bytes of a wanted answer's content. */
export function contentOf({ content, times, isGzip }: WantedAnswer): Buffer {
  const bytes = Buffer.from(content.repeat(times), "latin1");
  return isGzip ? gzipSync(bytes) : bytes;
}

/** Any text that a field may hold, Latin-1 and tabs among it. */
const value = fc.oneof(
  fc.constantFrom("", "1", "a, b", 'W/"x"', 'a=b; c="d, e"', "a\tb", "caf\xe9 \xff", "bytes=0-99,-5", ",,"),
  fc
    .array(
      fc.integer({ min: 0x20, max: 0xff }).filter((code) => code !== 0x7f),
      { maxLength: 20 },
    )
    .map((codes) => String.fromCharCode(...codes).replace(/^[ \t]+|[ \t]+$/g, "")),
  fc.constantFrom(100, 600).map((size) => "v".repeat(size)),
);

const requestLine: fc.Arbitrary<Line> = fc.oneof(
  fc.tuple(
    fc.constantFrom(
      "X-A",
      "x-a",
      "X-B",
      "Accept",
      "Cookie",
      "cookie",
      "Range",
      "If-None-Match",
      "Authorization",
      "__proto__",
      "X_Y.Z",
      "!#$%&'*+^`|~",
      "Accept-Encoding",
      "Content-Type",
      "User-Agent",
      "Via",
    ),
    value,
  ),
  fc.constantFrom(
    ["TE", "trailers"] as const,
    ["Keep-Alive", "timeout=5"] as const,
    ["Connection", "x-dropped"] as const,
    ["X-Dropped", "1"] as const,
    ["X-Request-Id", "abc"] as const,
    ["X-Forwarded-For", "192.0.2.1"] as const,
  ),
);

const responseLine: fc.Arbitrary<Line> = fc.tuple(
  fc.constantFrom(
    "Set-Cookie",
    "set-cookie",
    "X-A",
    "x-a",
    "Vary",
    "ETag",
    "Location",
    "Content-Range",
    "Content-Type",
    "__proto__",
    "X_Y.Z",
    "WWW-Authenticate",
    "Server",
    "Link",
  ),
  value,
);

const answer: fc.Arbitrary<WantedAnswer> = fc
  .record({
    status: fc.oneof(
      fc.constant(200),
      fc.constantFrom(201, 204, 205, 206, 299, 301, 304, 400, 401, 404, 416, 418, 451, 500, 503, 599),
    ),
    reason: fc.constantFrom("OK", "Short and stout", "a\tb"),
    fields: fc.array(responseLine, { maxLength: 4 }),
    content: fc.constantFrom("", "hello", "\x00\xff\r\n\r\n", "0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
    times: fc.constantFrom(1, 1, 1, 2000),
    isGzip: fc.boolean(),
    framing: fc.constantFrom("length" as const, "chunked" as const),
  })
  // It has no content, and says so (RFC 9110 §15.3.6).
  .map((wanted) =>
    wanted.status === 205 ? { ...wanted, content: "", isGzip: false, framing: "length" } : wanted,
  );

const METHODS = [
  "GET",
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "PATCH",
  "DELETE",
  "OPTIONS",
  "PROPFIND",
  "QUERY",
  "M-SEARCH",
  "PURGE",
  "REPORT",
];

const target = fc
  .tuple(
    fc.constantFrom(
      "/",
      "/a",
      "/a/b/",
      "/%41%c3%a9%C3%A9",
      "/~u!$&'()*+,=:@-._",
      "/%7Euser",
      "/%E2%82%AC",
      "/a%20b",
    ),
    fc.constantFrom(
      "",
      "?",
      "?a=b&a=c",
      "?%",
      "?%zz%00",
      "?a=%2F..%2f",
      "??//../;",
      '?"<>^`{|}',
      "?a+b=%2B",
      `?${"q".repeat(1000)}`,
    ),
  )
  .map(([path, query]) => path + query);

const request = (httpVersion: "1.0" | "1.1"): fc.Arbitrary<LegalRequest> =>
  fc.record({
    method: fc.constantFrom(...METHODS),
    target,
    httpVersion: fc.constant(httpVersion),
    host: fc.constantFrom("a", "api.example.com:8443", "[::1]:80", "EXAMPLE.com."),
    fields: fc.array(requestLine, { maxLength: 5 }),
    // HTTP/1.0 knows no chunks.
    framing: fc.constantFrom(
      "none" as const,
      "length" as const,
      httpVersion === "1.0" ? "length" : "chunked",
    ),
    body: fc.constantFrom("", "abc", "\x00\xff\r\n0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "b".repeat(50_000)),
    answer,
  });

/** Requests that any server takes, for one connection. */
export const legalRequests: fc.Arbitrary<readonly LegalRequest[]> = fc.oneof(
  { weight: 4, arbitrary: fc.array(request("1.1"), { minLength: 1, maxLength: 3 }) },
  { weight: 1, arbitrary: request("1.0").map((single) => [single]) },
);

/** The request's bytes, as Latin-1 text. */
export function bytesOf(request: LegalRequest, connection: "close" | "keep-alive"): string {
  const { method, target, httpVersion, host, fields, framing, body } = request;
  const wanted = Buffer.from(JSON.stringify(request.answer)).toString("base64url");
  const lines = [
    ["Host", host],
    ...fields,
    ...(framing === "length" ? [["Content-Length", String(body.length)]] : []),
    ...(framing === "chunked" ? [["Transfer-Encoding", "chunked"]] : []),
    ["Connection", connection],
    [ANSWER_FIELD, wanted],
  ].map(([name, text]) => `${name}: ${text}\r\n`);
  const head = `${method} ${target} HTTP/${httpVersion}\r\n${lines.join("")}\r\n`;
  if (framing === "none") return head;
  if (framing === "length") return head + body;
  const half = body.length >> 1;
  const chunks = [body.slice(0, half), body.slice(half)].filter((chunk) => chunk !== "");
  return `${head}${chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("")}0\r\n\r\n`;
}
