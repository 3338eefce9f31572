/** The kinds of value that authenticators are made of, beside those that all of `sidecar.yaml` shares. */

import { z } from "zod";
import { canonicalFieldName } from "../../gateway/field-names.ts";
import { parseRange } from "../../policy/authenticators/address-ranges.ts";
import { UNIX_PEER } from "../../policy/caller-request.ts";
import { httpUrl } from "../addresses.ts";
import { FIELD_NAME } from "../http-values.ts";
import { durationUpTo, text } from "../values.ts";

/** Fields that a request cannot do without, or that no end-to-end value stands in. */
const NOT_FOR_A_CREDENTIAL =
  /^(?:host|content-.*|transfer-encoding|connection|keep-alive|proxy-connection|te|trailer|upgrade|expect|via|http2-settings)$/;

/** The name of a field that a credential is read from, and taken out; in lower case. */
export const fieldName = text('expected a field name such as "X-Api-Key"', (value) => {
  if (!FIELD_NAME.test(value))
    return { expected: 'expected a field name such as "X-Api-Key": letters, digits and hyphens' };
  const name = value.toLowerCase();
  if (name === "cookie")
    return { expected: "expected another field name: for a cookie there is the key cookie" };
  if (NOT_FOR_A_CREDENTIAL.test(canonicalFieldName(name)))
    return { expected: "expected another field name: a request cannot do without this one" };
  return { value: name };
}).meta({ title: "header name" });

/** A scheme of the Authorization field (RFC 9110 §11.1). */
export const authenticationScheme = text('expected a scheme such as "Bearer"', (value) =>
  FIELD_NAME.test(value)
    ? { value }
    : { expected: 'expected a scheme such as "Bearer": one word, without a space' },
).meta({ title: "word" });

/** The name of a cookie (RFC 6265 §4.1.1). */
export const cookieName = text('expected the name of a cookie, such as "session"', (value) =>
  FIELD_NAME.test(value)
    ? { value }
    : { expected: 'expected the name of a cookie, such as "session": letters, digits and hyphens' },
).meta({ title: "cookie name" });

const RANGE_EXPECTED = 'expected a range of addresses such as "10.0.0.0/8", or one address';

/** A range of IP addresses in CIDR notation. */
export const addressRange = text(RANGE_EXPECTED, (value) =>
  parseRange(value) ? { value } : { expected: RANGE_EXPECTED },
).meta({ title: "address range" });

const PROXY_EXPECTED = `${RANGE_EXPECTED}, or unix`;

/** Whose word about a client counts: a range of addresses, or `unix` for the peers of a Unix socket. */
export const trustedProxy = text(PROXY_EXPECTED, (value) =>
  value === UNIX_PEER || parseRange(value) ? { value } : { expected: PROXY_EXPECTED },
).meta({ title: "address range" });

const INSTANT_EXPECTED = 'expected a time such as "2027-01-31" or "2027-01-31T12:00:00Z"';

/** A moment (RFC 3339), as milliseconds since the epoch. A day without a time of day is its beginning, in UTC. */
export const instant = text(INSTANT_EXPECTED, (value) => {
  const isWhole = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2}))?$/.test(value);
  const day = Date.parse(value.slice(0, 10));
  const time = Date.parse(value);
  if (!isWhole || Number.isNaN(day) || Number.isNaN(time)) return { expected: INSTANT_EXPECTED };
  // Date.parse takes the 31st of a month that has 30 days for the first of the next.
  const isReal = new Date(day).toISOString().startsWith(value.slice(0, 10));
  return isReal ? { value: time } : { expected: INSTANT_EXPECTED };
}).meta({ title: "date or time" });

/** SHA-256 in hexadecimal digits. */
export const sha256 = text("expected a SHA-256 of 64 hexadecimal digits", (value) =>
  /^[0-9a-fA-F]{64}$/.test(value)
    ? { value: value.toLowerCase() }
    : { expected: "expected a SHA-256 of 64 hexadecimal digits; countersign api-key create prints one" },
).meta({ title: "64 hexadecimal digits" });

/** An http or https URL that is fetched. */
export const fetchedUrl = text('expected a URL such as "https://login.example.com/keys"', (value) => {
  const url = httpUrl(value);
  if (!url) return { expected: 'expected a URL such as "https://login.example.com/keys"' };
  if (url.username || url.password || url.hash)
    return { expected: "expected a URL without user name and fragment" };
  return { value };
}).meta({ title: "URL" });

/** By how much two clocks may differ, as whole seconds: none, or up to ten minutes. */
export const skew = z.union([z.literal(0), durationUpTo(600)], {
  error: 'expected a duration such as "1m", or 0',
});
