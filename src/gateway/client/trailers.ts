import { fieldTextOf, isHopByHop, type RawFields } from "../fields.ts";

/**
 * Fields that a recipient reads before the content, or that are about who may have it: behind the content they are
 * dropped, or could be taken for those in front of it (RFC 9110 §6.5.1). Those of HTTP itself, by kind.
 */
const NEVER_IN_TRAILERS = new Set([
  // Framing and routing.
  ...["content-length", "host", "http2-settings", "max-forwards", "via"],
  // Content.
  ...["content-encoding", "content-type", "content-range", "content-language", "content-location"],
  ...["content-disposition", "content-security-policy", "accept-ranges", "vary"],
  // Control of the response and of caches.
  ...[
    "age",
    "cache-control",
    "date",
    "expires",
    "location",
    "pragma",
    "retry-after",
    "warning",
    "expect",
    "range",
  ],
  // Authentication and state.
  ...[
    "authorization",
    "authentication-info",
    "www-authenticate",
    "proxy-authenticate",
    "proxy-authorization",
  ],
  ...["proxy-authentication-info", "cookie", "set-cookie", "strict-transport-security"],
]);

/**
 * The trailers of the upstream's response that go on to the client: those that mean the same behind the content.
 *
 * @param rawTrailers name and value by turns
 */
export function trailerFields(rawTrailers: readonly (Buffer | string)[]): RawFields {
  const fields: RawFields = [];
  for (let i = 0; i < rawTrailers.length; i += 2) {
    const name = fieldTextOf(rawTrailers[i] ?? "");
    const value = fieldTextOf(rawTrailers[i + 1] ?? "");
    const lowerCase = name.toLowerCase();
    if (NEVER_IN_TRAILERS.has(lowerCase) || isHopByHop(lowerCase)) continue;
    if (lowerCase.startsWith("access-control-") || !TOKEN.test(name) || !FIELD_VALUE.test(value)) continue;
    fields.push(name, value);
  }
  return fields;
}

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** RFC 9110 §5.5. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
