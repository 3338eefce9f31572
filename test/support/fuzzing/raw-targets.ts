import fc from "fast-check";

/**
 * Stands in each generated request, so that it can be told from every other: `MARKER` becomes `m`, six digits and a
 * letter, which says which request of its connection it is. Equally long, so that no length changes.
 */
export const MARKER = "zzzzzzzz";

const area = fc.constantFrom("/rest/", "/rest/", "/open/", "/closed/");

/** Methods that every server knows, and some that few do. */
export const legalMethod = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom("GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"),
  },
  { weight: 1, arbitrary: fc.constantFrom("QUERY", "PROPFIND", "M-SEARCH", "SOURCE", "PURGE") },
);
/** What is no method, or none for a reverse proxy. */
export const oddMethod = fc.constantFrom(
  "TRACE",
  "CONNECT",
  "PRI",
  "get",
  "GE T",
  "G\xc9T",
  "",
  "FOO",
  "GET\t",
  "__proto__",
);

/** Targets that nobody reads in two ways. */
export const legalTarget = fc
  .tuple(
    fc.constantFrom("", "", "", "", "http://a", "HTTP://b.example:81", "https://c"),
    area,
    fc.constantFrom("", "", "/x", "/%41%c3%a9", "/~u!$&'()*+,=:@", "?a=b&c", "?%", "??/..//;", "/a/"),
  )
  .map(([authority, path, more]) => `${authority}${path}${MARKER}${more}`);
/** Paths that one reader takes for another policy's than the next. */
const doubtfulTarget = fc
  .tuple(
    fc.constantFrom("open", "closed", "%6fpen", "clos%65d"),
    fc.constantFrom(
      "%2f",
      "%2F",
      "%5c",
      "%252f",
      "%255C",
      ";/",
      ";a=b/",
      "//",
      "/;/",
      "%3b/",
      "%00/",
      "%2f/",
      "/",
    ),
    fc.constantFrom("/", "//", "/%2f", "/%5c", "/;x/", "/./", "/rest/..;/", "/rest%2f"),
  )
  .map(([name, separator, start]) => `${start}${name}${separator}${MARKER}`);
/** What is no target, or one that nobody should be sent. */
export const oddTarget = fc.oneof(
  doubtfulTarget,
  fc
    .tuple(
      fc.constantFrom(
        "/rest/",
        "/open/",
        "/closed/",
        "/",
        "//",
        "/OPEN/",
        "/%6fpen/",
        "/%256fpen/",
        "/open%2f",
        "/open;x/",
      ),
      fc.constantFrom(
        "",
        "../",
        "%2e%2e/",
        "..%2f",
        ".%2E/",
        "..;/",
        "%252e%252e/",
        "\\..\\",
        "./",
        "/",
        "%5c../",
        "x/../../",
      ),
      fc.constantFrom(
        "",
        "open/",
        "closed/",
        "open%2f",
        "/closed/",
        "closed;a=b/",
        "__issuer/",
        "%00",
        "%",
        "%zz",
        "%ff",
      ),
    )
    .map(([first, up, second]) => `${first}${up}${second}${MARKER}`),
  fc.constantFrom(
    "*",
    "a:80",
    `http://[/${MARKER}`,
    `http:///rest/${MARKER}`,
    `http://a@b/rest/${MARKER}`,
    `ftp://a/rest/${MARKER}`,
    `http://a?${MARKER}`,
    `rest/${MARKER}`,
    `/rest/${MARKER}#x`,
    `/rest/${MARKER} x`,
    `/rest/${MARKER}\x01`,
    `/rest/${MARKER}\xe9`,
    `/rest/${MARKER}?\xe9`,
    `/__issuer/.well-known/jwks.json?${MARKER}`,
    `/__issuer/${MARKER}`,
    "",
  ),
);
