import fc from "fast-check";
import { MARKER } from "./raw-targets.ts";

/** Stands in what is sent behind a response: no client may ever see it. */
export const BEHIND = `${MARKER}!`;

/** What a generated backend does with one request. */
export interface RawAnswer {
  /** As Latin-1 text, with markers. */
  readonly bytes: string;
  /** Further bytes, which are sent at once with the last of those. */
  readonly behind: string;
  /** Where the bytes are cut into pieces, each from 0 (the beginning) to 1 (the end). */
  readonly cuts: readonly number[];
  readonly ending: "keeps" | "closes" | "resets";
  /** Whether nothing about it is wrong, so that it has to be relayed as it is. */
  readonly isPlain: boolean;
}

/** A request to such a backend. */
export interface PlainRequest {
  readonly method: "GET" | "HEAD" | "POST";
  readonly httpVersion: "1.1" | "1.0";
  readonly answer: RawAnswer;
}

const LOOKALIKE = `HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n${MARKER}\r\n`;
const SECOND = `HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-Behind: ${BEHIND}\r\n\r\n${BEHIND}`;

const status = fc.oneof(
  { weight: 4, arbitrary: fc.constant(200) },
  {
    weight: 4,
    arbitrary: fc.constantFrom(201, 204, 206, 301, 304, 400, 401, 404, 418, 431, 500, 503, 599, 299),
  },
);
const reason = fc.constantFrom("OK", "OK", "", "Short and stout", "caf\xe9", "HTTP/1.1 200 OK", "a\tb");
const content = fc.oneof(
  fc.constantFrom("", MARKER, LOOKALIKE, `0\r\n\r\n${LOOKALIKE}`),
  fc.constantFrom(300, 300, 5000, 70_000).map((size) => MARKER + "r".repeat(size)),
);
const plainLines = fc.array(
  fc.constantFrom(
    "Set-Cookie: a=1",
    "Set-Cookie: b=2; Path=/",
    `X-Mark: ${MARKER}`,
    "X-Empty:",
    "X-Latin: \xe9",
    "Connection: keep-alive",
    "Connection: x-private",
    "X-Private: 1",
    "Keep-Alive: timeout=100",
    "Content-Encoding: gzip",
    "Date: Sun, 06 Nov 1994 08:49:37 GMT",
    "__proto__: x",
    "Content_Length: 5",
    "Transfer_Encoding: chunked",
    "Proxy-Authenticate: Basic",
    "Upgrade: h2c",
    "Trailer: x-a",
  ),
  { maxLength: 3 },
);
const framing = fc.constantFrom("length" as const, "chunked" as const, "close" as const);
const interim = fc.constantFrom(
  "",
  "",
  "",
  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
  "HTTP/1.1 102 Processing\r\n\r\n",
);

const chunked = (text: string, trailers = "") =>
  `${text === "" ? "" : `${text.length.toString(16)}\r\n${text}\r\n`}0\r\n${trailers}\r\n`;

interface Parts {
  readonly head: string;
  readonly body: string;
  readonly hasToClose: boolean;
}

/** The head is that of every request; the body only of those that get one. */
const plainParts: fc.Arbitrary<Parts> = fc
  .tuple(interim, status, reason, plainLines, framing, content, fc.constantFrom("", "X-Trailer: 1\r\n"))
  .map(([before, code, phrase, lines, kind, text, trailers]) => {
    const hasNoContent = code === 204 || code === 304;
    const framingLine = {
      length: `Content-Length: ${text.length}`,
      chunked: "Transfer-Encoding: chunked",
      close: "X: 1",
    };
    // A length on a 204 is wrong, says nothing, and is common.
    const all =
      code === 204
        ? [...lines, kind === "length" ? "Content-Length: 0" : "X: 1"]
        : [...lines, framingLine[kind]];
    const head = `${before}HTTP/1.1 ${code} ${phrase}\r\n${all.map((line) => `${line}\r\n`).join("")}\r\n`;
    const body = kind === "chunked" ? chunked(text, trailers) : text;
    return { head, body: hasNoContent ? "" : body, hasToClose: kind === "close" && !hasNoContent };
  });

const ending = fc.constantFrom("keeps" as const, "keeps" as const, "keeps" as const, "closes" as const);
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 2 });

/** A response without a fault. */
const plainAnswer = (method: string): fc.Arbitrary<RawAnswer> =>
  fc.tuple(plainParts, ending, cuts).map(([{ head, body, hasToClose }, after, places]) => ({
    bytes: head + (method === "HEAD" ? "" : body),
    behind: "",
    cuts: places,
    ending: hasToClose && method !== "HEAD" ? "closes" : after,
    isPlain: true,
  }));

/** A good response, with something behind it that nobody asked for. */
const talkativeAnswer = (method: string): fc.Arbitrary<RawAnswer> =>
  fc
    .tuple(
      plainParts,
      ending,
      cuts,
      fc.constantFrom(SECOND, SECOND + SECOND, `garbage ${BEHIND}`, "\r\n", `0\r\n${BEHIND}\r\n`),
    )
    .map(([{ head, body, hasToClose }, after, places, behind]) => ({
      bytes: head + (method === "HEAD" ? "" : body),
      // Up to the end of the connection it would be content.
      behind: hasToClose ? "" : behind,
      cuts: places,
      ending: hasToClose ? "closes" : after,
      isPlain: false,
    }));

/** A good response that breaks off. */
const cutAnswer: fc.Arbitrary<RawAnswer> = fc
  .tuple(
    plainParts,
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.constantFrom("closes" as const, "resets" as const),
    cuts,
  )
  .map(([{ head, body }, where, after, places]) => ({
    bytes: (head + body).slice(0, Math.floor(where * (head.length + body.length))),
    behind: "",
    cuts: places,
    ending: after,
    isPlain: false,
  }));

const oddLine = fc.oneof(
  fc.constantFrom(
    "Content-Length: 5",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999999",
    "Content-Length:",
    "Content-Length : 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding : chunked",
    "X: 1\nTransfer-Encoding: chunked",
    "X: 1\rContent-Length: 1",
    "X: \x00",
    "X: \x01",
    "X Y: 1",
    " folded: 1",
    "no-colon",
    ": 1",
    "X-\xe9: 1",
    "Connection: upgrade\r\nUpgrade: websocket",
    "Connection: close, content-length, transfer-encoding, set-cookie",
  ),
  fc.constantFrom(9000, 17_000, 70_000).map((size) => `X-Huge: ${"h".repeat(size)}`),
  fc.constantFrom(150, 3000).map((count) => Array(count).fill("a: 1").join("\r\n")),
);
const oddStatusLine = fc.constantFrom(
  "HTTP/1.1 200",
  "HTTP/1.1  200 OK",
  "HTTP/1.1 20 OK",
  "HTTP/1.1 2000 OK",
  "HTTP/1.1 099 X",
  "HTTP/1.1 000 X",
  "HTTP/1.1 600 X",
  "HTTP/1.1 999 X",
  "HTTP/1.0 200 OK",
  "HTTP/1.0 200 OK\r\nConnection: keep-alive",
  "HTTP/2.0 200 OK",
  "HTTP/0.9 200 OK",
  "http/1.1 200 OK",
  "ICY 200 OK",
  "HTTP/1.1 200 O\x00K",
  "HTTP/1.1 200 O\x01K\x7f",
  "HTTP/1.1 200 OK\nX: 1",
  "HTTP/1.1 100 Continue",
  "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket",
  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK",
  "GET / HTTP/1.1",
  "garbage",
  "",
);

/** A response in whose form something is wrong. */
const oddAnswer: fc.Arbitrary<RawAnswer> = fc
  .tuple(
    plainParts,
    fc.option(oddStatusLine, { freq: 2 }),
    fc.option(oddLine, { nil: undefined, freq: 3 }),
    fc.constantFrom(
      "",
      "",
      "zz\r\n",
      "-1\r\nabc\r\n",
      "5;x=y\r\nabcde\r\n0\r\n\r\n",
      "5\nabcde\r\n0\r\n\r\n",
      "fffffffffffffffff\r\n",
      LOOKALIKE,
    ),
    fc.constantFrom("closes" as const, "closes" as const, "resets" as const, "keeps" as const),
    cuts,
  )
  .map(([{ head, body }, statusLine, line, garbage, after, places]) => {
    const [firstLine = "", ...lines] = head.split("\r\n");
    const all = [statusLine ?? firstLine, ...(line === undefined ? [] : [line]), ...lines];
    return {
      bytes: all.join("\r\n") + garbage + body,
      behind: "",
      cuts: places,
      ending: after,
      isPlain: false,
    };
  });

/** What clients send over one connection to such a backend, and what they are answered. */
export const answeredRequests: fc.Arbitrary<PlainRequest[]> = fc.array(
  fc
    .tuple(
      fc.constantFrom("GET" as const, "GET" as const, "HEAD" as const, "POST" as const),
      fc.constantFrom("1.1" as const, "1.1" as const, "1.1" as const, "1.0" as const),
    )
    .chain(([method, httpVersion]) =>
      fc
        .oneof(
          { weight: 4, arbitrary: plainAnswer(method) },
          { weight: 2, arbitrary: talkativeAnswer(method) },
          { weight: 2, arbitrary: cutAnswer },
          { weight: 4, arbitrary: oddAnswer },
        )
        .map((answer) => ({ method, httpVersion, answer })),
    ),
  { minLength: 1, maxLength: 3 },
);
