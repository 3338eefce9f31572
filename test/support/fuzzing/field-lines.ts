import fc from "fast-check";

/** A credential that the fuzzed sidecar knows, and whose it is. */
export const GOOD_KEY = { key: "good-key-of-acme", subject: "acme" } as const;

/** What only the sidecar may set, or what a reader may take for it. */
const GUARDED = [
  "x-service-token",
  "x-service-token",
  "authorization",
  "x-other-token",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
  "x-real-ip",
  "forwarded",
  "x-request-id",
  "via",
];

/** Every character of a token that is no letter, digit or hyphen. */
const SEPARATORS = [..."-____...!#$%&'*+^`|~"];

/** A name in any case, with anything for its hyphens: what a CGI backend takes for the same field. */
function spellingOf(name: string): fc.Arbitrary<string> {
  return fc
    .tuple(
      fc.constantFrom(...SEPARATORS),
      fc.constantFrom(...SEPARATORS),
      fc.integer({ min: 0, max: 0xffff }),
    )
    .map(([first, second, capitals]) => {
      let separators = 0;
      return [...name]
        .map((character, index) => {
          if (character === "-") return separators++ % 2 === 0 ? first : second;
          return (capitals >> (index % 16)) & 1 ? character.toUpperCase() : character;
        })
        .join("");
    });
}

const guardedName = fc
  .constantFrom(...GUARDED)
  .chain((name) => fc.oneof(fc.constant(name), spellingOf(name)));

const forged = fc.constantFrom(
  "forged",
  "Bearer forged",
  "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
  "6.6.6.6",
  "for=6.6.6.6;host=evil",
  "evil.example",
  "",
);

const guardedLine = fc.tuple(guardedName, forged).map(([name, value]) => `${name}: ${value}`);

/** Good and bad credentials, in forms that one reader takes and another does not. */
export const credentialLine = fc
  .tuple(
    fc.oneof(fc.constant("Authorization"), spellingOf("authorization")),
    fc.oneof(
      fc.constantFrom(`Bearer ${GOOD_KEY.key}`, `bearer ${GOOD_KEY.key}`, `BEARER   ${GOOD_KEY.key}`),
      fc.constantFrom(
        "Bearer bad-key",
        `Bearer ${GOOD_KEY.key}x`,
        `Bearer ${GOOD_KEY.key} x`,
        `Bearer\t${GOOD_KEY.key.toUpperCase()}`,
        `Bearer ${GOOD_KEY.key}, Bearer bad-key`,
        "Bearer",
        "Bearer ",
        "Bearer \xff\xfe",
      ),
      fc.constantFrom("Basic YTpi", `Bear ${GOOD_KEY.key}`, "", GOOD_KEY.key),
    ),
  )
  .map(([name, value]) => `${name}: ${value}`);

const nominated = fc.oneof(
  guardedName,
  fc.constantFrom("close", "keep-alive", "Keep-Alive", "upgrade", "TE", "", '"x"', ";", "x-a"),
  fc.constantFrom("host", "content-length", "Content_Length", "transfer-encoding", "cookie", "x-marker"),
);

const connectionLine = fc
  .tuple(
    fc.constantFrom("Connection", "connection", "CONNECTION", "Proxy-Connection", "Connection_"),
    fc.array(nominated, { maxLength: 3 }),
    fc.constantFrom(",", ", ", " ,\t", ",,"),
  )
  .map(([name, options, separator]) => `${name}: ${options.join(separator)}`);

/** What says how long a body is, or seems to. */
const framingLine = fc.constantFrom(
  ...[
    "0",
    "5",
    "05",
    "+5",
    "-5",
    "5, 5",
    "5,6",
    "0x5",
    "5 5",
    "",
    "9007199254740993",
    "99999999999999999999999",
  ].map((value) => `Content-Length: ${value}`),
  ...[
    "chunked",
    "Chunked",
    "gzip, chunked",
    "chunked, gzip",
    "identity",
    "chunked, chunked",
    "xchunked",
    "",
  ].map((value) => `Transfer-Encoding: ${value}`),
  "Content_Length: 50",
  "Content.Length: 0",
  "Transfer_Encoding: chunked",
  "Transfer.Encoding: chunked",
  "Content-Length : 5",
  "Transfer-Encoding : chunked",
  "Transfer-Encoding:\x0bchunked",
  "Transfer-Encoding: \x00chunked",
  " Transfer-Encoding: chunked",
  "X: y\nContent-Length: 5",
  "X: y\rTransfer-Encoding: chunked",
  "X: y\n\nGET /smuggled HTTP/1.1\nHost: a",
);

const hopLine = fc.constantFrom(
  "TE: trailers",
  "TE: gzip, trailers",
  "T_E: trailers",
  "Trailer: x-service-token",
  "Keep-Alive: timeout=1000, max=9",
  "Keep_Alive: timeout=1000",
  "Proxy-Authorization: Basic YTpi",
  "Proxy_Authorization: Basic YTpi",
  "Upgrade: h2c",
  "Upgrade: TLS/1.0, h2c",
  "Upgrade: foo/1",
  "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
  "Expect: 100-continue",
  "Expect: 100-Continue",
  "Expect: miracles",
  "Host: b",
  "host: evil.example:99999999",
  "Host: a@b",
  "Host:",
);

/** A value of any byte but CR, LF and NUL. */
const oddValue = fc
  .array(
    fc.integer({ min: 1, max: 255 }).filter((code) => code !== 10 && code !== 13),
    { maxLength: 12 },
  )
  .map((codes) => String.fromCharCode(...codes));

const plainLine = fc.oneof(
  fc.constantFrom(
    "__proto__: x",
    "constructor: x",
    "hasOwnProperty: x",
    "Cookie: a=1; b=2",
    "Cookie: a=3",
    "Accept: text/event-stream",
    "X-A:",
    "X-A:   1\t ",
    "X-B: \xe9\xff",
    "Via: 1.0 someone",
    "X: \x00",
    "X: \x7f",
    "X Y: 1",
    ": 1",
    "no-colon",
    "X-\xe9: 1",
    " folded",
    "\tfolded: 1",
    "@: 1",
  ),
  oddValue.map((value) => `X-Odd: ${value}`),
);

const hugeLine = fc
  .constantFrom(500, 8000, 15_500, 17_000, 70_000)
  .map((size) => `X-Huge: ${"h".repeat(size)}`);
const manyLines = fc
  .constantFrom(50, 190, 199, 205, 2100)
  .map((count) => Array(count).fill("a: 1").join("\r\n"));

/** Any line of a header section that could do harm, without its end. Some hold several lines. */
export const oddLine: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: guardedLine },
  { weight: 4, arbitrary: connectionLine },
  { weight: 4, arbitrary: framingLine },
  { weight: 4, arbitrary: hopLine },
  { weight: 3, arbitrary: plainLine },
  { weight: 2, arbitrary: credentialLine },
  { weight: 1, arbitrary: fc.oneof({ weight: 3, arbitrary: hugeLine }, { weight: 1, arbitrary: manyLines }) },
);

/** A line that no strict reader minds, and that a proxy has to do something about. */
export const legalLine: fc.Arbitrary<string> = fc.oneof(
  guardedLine,
  connectionLine.filter((line) => !/\b(?:close|upgrade)\b|["; ]\W*$/i.test(line)),
  credentialLine,
  fc.constantFrom(
    "TE: trailers",
    "Expect: 100-continue",
    "Trailer: x-service-token",
    "Keep-Alive: timeout=9",
    "__proto__: x",
    "Cookie: a=1; b=2",
    "X-A:",
    "X-B: \xe9\xff",
    "Via: 1.0 someone",
    "Content_Length: 50",
    "Transfer_Encoding: chunked",
    "Proxy-Authorization: Basic YTpi",
  ),
);
