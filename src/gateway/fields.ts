import type { OutgoingHttpHeaders } from "node:http";
import { canonicalFieldName, fieldNameOf, HOP_BY_HOP } from "./field-names.ts";

/** Field lines as Node.js and undici hold them raw: name, value, name, value, … */
export type RawFields = string[];

const NEVER_IN_A_RESPONSE = new Set([...HOP_BY_HOP, "proxy-authenticate", "proxy-authentication-info"]);

/** Whether a field of a response is about its connection. */
export function isHopByHop(lowerCaseName: string): boolean {
  return NEVER_IN_A_RESPONSE.has(lowerCaseName);
}

/** Fields that a `Connection` field cannot take away: they frame the message or say whom it is for. */
const NOT_NOMINABLE = new Set(["host", "content-length"]);

/** What the backend is told about the client's connection. */
export interface ForwardingFacts {
  /** The other end of the connection: who may set a field is told by it, and by nothing that a request says. */
  readonly peerAddress: string;
  /** The value of `X-Forwarded-For`. */
  readonly forwardedFor: string;
  /** The value of `Forwarded`; `undefined`: there is none. */
  readonly forwarded: string | undefined;
  /** What the client used, as far as that is believed. */
  readonly scheme: "http" | "https";
  /** Host and port that the client asked for, as far as that is believed; `undefined` where it named none. */
  readonly authority: string | undefined;
  /** Host and port that the request itself names. */
  readonly receivedAuthority: string | undefined;
  readonly httpVersion: string;
  readonly requestId: string;
  /** What `Via` calls this deployment. */
  readonly pseudonym: string;
  /** Whether the backend sees the client's `Host`; otherwise the upstream's own is set by the HTTP client. */
  readonly preserveHost: boolean;
  /** Whether a body follows whose `Content-Length` is to be kept. */
  readonly hasBody: boolean;
}

/** A field that says who is calling counts only from some peers; from anybody else it is a forgery. */
export type FieldRule =
  /** Countersign alone sets it. */
  | "never"
  /** Whether a peer at this address may set it. */
  | ((peerAddress: string) => boolean);

/** Why a field does not go on to the upstream. */
export type RemovalReason =
  /** It holds the caller's credential. */
  | "credential"
  /** One of its cookies is the caller's credential. */
  | "credential-cookie"
  /** Countersign alone sets it: the token is in it, or the caller's own token. */
  | "token-field"
  /** It says who is calling, and not every peer is believed. */
  | "untrusted-peer"
  /** `Connection` names it. */
  | "connection-option"
  /** It is about one connection, or about a body that there is not. */
  | "connection"
  /** It is about the client's connection, and Countersign says that itself. */
  | "forwarding";

/** What does not go on to the upstream, beside what no request takes along. */
export interface Removals {
  /** By canonical name. */
  readonly rules: ReadonlyMap<string, FieldRule>;
  /** Names of fields that hold the caller's credential, canonical. */
  readonly credentialFields: readonly string[];
  /** The cookie that holds the caller's credential. */
  readonly credentialCookie: string | undefined;
}

/**
 * The fields of a client's request that go on to the upstream, with our own about the connection set.
 * Taken out are connection-specific fields, those that `Connection` names, what a stranger said about forwarding or
 * about who is calling, the caller's credential, and every spelling of a token field: what is left holds no token.
 *
 * @param onRemoved told of each field line that is taken out, or that loses a cookie
 */
export function upstreamRequestFields(
  rawFields: readonly string[],
  facts: ForwardingFacts,
  { rules, credentialFields, credentialCookie }: Removals,
  onRemoved?: (name: string, reason: RemovalReason) => void,
): RawFields {
  const nominated = nominatedByConnection(rawFields);
  const fields: RawFields = [];
  let via = "";
  if (facts.preserveHost && facts.receivedAuthority !== undefined)
    fields.push("host", facts.receivedAuthority);
  for (let i = 0; i < rawFields.length; i += 2) {
    const name = rawFields[i] as string;
    const value = rawFields[i + 1] as string;
    const { canonical, isPlain, kind } = fieldNameOf(name);
    if (nominated?.has(canonical) && !NOT_NOMINABLE.has(canonical)) {
      onRemoved?.(name, "connection-option");
      continue;
    }
    if (credentialFields.includes(canonical)) {
      onRemoved?.(name, "credential");
      continue;
    }
    const rule = rules.get(canonical);
    if (rule !== undefined) {
      // Another spelling of it is none that a proxy in front has seen to.
      if (rule !== "never" && isPlain && rule(facts.peerAddress)) fields.push(name, value);
      else onRemoved?.(name, rule === "never" ? "token-field" : "untrusted-peer");
      continue;
    }
    if (kind === "host") continue;
    if (kind === "forwarding" || kind === "request-id") {
      if (kind === "forwarding" || value !== facts.requestId) onRemoved?.(name, "forwarding");
      continue;
    }
    if (kind === "connection" || (kind === "content-length" && !(facts.hasBody && isPlain))) {
      onRemoved?.(name, "connection");
      continue;
    }
    if (kind === "via") {
      via += `${value}, `;
      continue;
    }
    if (kind === "cookie" && credentialCookie !== undefined) {
      const rest = withoutCookie(value, credentialCookie);
      if (rest !== "") fields.push(name, rest);
      if (rest !== value) onRemoved?.(name, "credential-cookie");
      continue;
    }
    fields.push(name, value);
  }
  fields.push("x-forwarded-for", facts.forwardedFor, "x-forwarded-proto", facts.scheme);
  if (facts.authority !== undefined) fields.push("x-forwarded-host", facts.authority);
  if (facts.forwarded !== undefined) fields.push("forwarded", facts.forwarded);
  fields.push("x-request-id", facts.requestId, "via", `${via}${facts.httpVersion} ${facts.pseudonym}`);
  return fields;
}

/** A Cookie field without one of its cookies; the others stay as they are. */
function withoutCookie(value: string, cookie: string): string {
  const pairs = value.split(";");
  const others = pairs.filter((pair) => pair.split("=", 1)[0]?.trim() !== cookie);
  return others.length === pairs.length ? value : others.join(";").trim();
}

/**
 * The fields of the upstream's response that go on to the client: all but the connection-specific ones, and a
 * Content-Length where there can be no content (RFC 9110 §8.6).
 *
 * @param rawFields name and value by turns, as undici or Node.js gives them
 */
export function clientResponseFields(statusCode: number, rawFields: readonly (Buffer | string)[]): RawFields {
  const hasNoContent = statusCode === 204 || statusCode < 200;
  const fields: RawFields = [];
  let nominated: ReadonlySet<string> | undefined;
  for (let i = 0; i < rawFields.length; i += 2) {
    const name = fieldTextOf(rawFields[i] as Buffer | string);
    const lowerCase = name.toLowerCase();
    const value = fieldTextOf(rawFields[i + 1] as Buffer | string);
    if (lowerCase === "connection")
      nominated = withOptions(nominated, value, (option) => option.toLowerCase());
    if (NEVER_IN_A_RESPONSE.has(lowerCase) || (hasNoContent && lowerCase === "content-length")) continue;
    fields.push(name, value);
  }
  return nominated ? withoutFields(fields, nominated) : fields;
}

/** All but those of these names, in lower case. */
function withoutFields(fields: RawFields, names: ReadonlySet<string>): RawFields {
  const isKept = (name = "") => !names.has(name.toLowerCase()) || NOT_NOMINABLE.has(name.toLowerCase());
  return fields.filter((_, index) => isKept(fields[index - (index % 2)]));
}

/** A name or value as an upstream sent it: the space behind a value, which undici keeps, is no part of it (RFC 9110 §5.5). */
export function fieldTextOf(raw: Buffer | string): string {
  const text = typeof raw === "string" ? raw : raw.toString("latin1");
  let end = text.length;
  while (end > 0 && (text[end - 1] === " " || text[end - 1] === "\t")) end--;
  return text.slice(0, end);
}

/** Field lines as an object without a prototype; those of one name, however it is written, are a list. */
export function fieldRecord(fields: RawFields): Record<string, string> {
  const record: OutgoingHttpHeaders = Object.create(null);
  const spelling = new Map<string, string>();
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const value = fields[i + 1] as string;
    const first = spelling.get(name.toLowerCase());
    if (first === undefined) {
      spelling.set(name.toLowerCase(), name);
      record[name] = value;
    } else record[first] = [record[first] as string | string[], value].flat();
  }
  // Its type knows no lists but for the names that Node.js would not join.
  return record as Record<string, string>;
}

/** The canonical names of the fields that any `Connection` line names; `undefined` where there are none. */
function nominatedByConnection(rawFields: readonly string[]): ReadonlySet<string> | undefined {
  let nominated: ReadonlySet<string> | undefined;
  for (let i = 0; i < rawFields.length; i += 2) {
    const name = rawFields[i] as string;
    if (name.length !== 10 || name.toLowerCase() !== "connection") continue;
    nominated = withOptions(nominated, rawFields[i + 1] as string, canonicalFieldName);
  }
  return nominated;
}

/** Adds what a value of `Connection` names, but for what it says of the connection itself. */
function withOptions(
  names: ReadonlySet<string> | undefined,
  value: string,
  normalise: (option: string) => string,
): ReadonlySet<string> | undefined {
  if (value === "keep-alive" || value === "close") return names;
  const options = value.split(",").map((option) => normalise(option.trim()));
  const others = options.filter((name) => name !== "close" && name !== "keep-alive" && name !== "");
  return others.length === 0 ? names : new Set([...(names ?? []), ...others]);
}
