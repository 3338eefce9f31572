/**
 * Fields that are about one connection, not the message (RFC 9110 §7.6.1), and those that our own connection
 * to the other side sets anew. Canonical names.
 */
export const HOP_BY_HOP: readonly string[] = [
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
];

/** What a field of a request is about, as far as it matters to whoever forwards it. */
export type FieldKind =
  /** The message: all that has no kind of its own. */
  | "message"
  | "host"
  | "content-length"
  | "cookie"
  | "via"
  /** The id of the request. */
  | "request-id"
  /** The client's connection, as proxies tell of it. */
  | "forwarding"
  /** The connection that it came on. */
  | "connection";

/** The name of a field, as far as it is known what it means. */
export interface FieldName {
  readonly canonical: string;
  /** Whether it is written as its canonical name is, but for the case of letters. */
  readonly isPlain: boolean;
  readonly kind: FieldKind;
}

const KINDS: ReadonlyMap<string, FieldKind> = new Map<string, FieldKind>([
  ...[...HOP_BY_HOP, "proxy-authorization", "expect"].map((name) => [name, "connection"] as const),
  ["host", "host"],
  ["content-length", "content-length"],
  ["cookie", "cookie"],
  ["via", "via"],
  ["x-request-id", "request-id"],
  ["forwarded", "forwarding"],
  ["x-real-ip", "forwarding"],
]);

/** The same few names come with each request. Who sends others gains nothing but the time that it took before. */
const known = new Map<string, FieldName>();
const MAX_KNOWN = 1000;
const MAX_KNOWN_CHARACTERS = 64;

/** What the name of a field of a request means, in whatever spelling. */
export function fieldNameOf(name: string): FieldName {
  const found = known.get(name);
  if (found) return found;
  const canonical = canonicalFieldName(name);
  const isPlain = name.toLowerCase() === canonical;
  const kind = KINDS.get(canonical) ?? (canonical.startsWith("x-forwarded-") ? "forwarding" : "message");
  const fieldName = { canonical, isPlain, kind };
  if (name.length <= MAX_KNOWN_CHARACTERS) {
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(name, fieldName);
  }
  return fieldName;
}

/**
 * The name under which a CGI, WSGI or PHP backend would know a field: lower case, and everything outside
 * `[a-z0-9]` a hyphen. `X_Service_Token` and `x.service.token` are both `x-service-token`.
 */
export function canonicalFieldName(name: string): string {
  const lowerCase = name.toLowerCase();
  return /^[a-z0-9-]*$/.test(lowerCase) ? lowerCase : lowerCase.replaceAll(/[^a-z0-9]/g, "-");
}
