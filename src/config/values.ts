/**
 * The kinds of value that `sidecar.yaml` is made of, each as a zod schema whose input is what the file says and
 * whose output is what the program uses. A message says what is expected and never repeats the value.
 */

import { isIP } from "node:net";
import { z } from "zod";
import { DURATION_EXPECTED, parseDuration } from "../duration.ts";
import { canonicalFieldName } from "../gateway/fields.ts";
import type { ListenAddress } from "../gateway/listen-options.ts";
import type { JsonValue } from "../issuer/claims-set.ts";
import { compilePathPattern, type PathPattern } from "../policy/path-pattern.ts";
import { nearest } from "./problems.ts";

/** What a reading function answers: the value, or what was expected instead. */
export type Reading<T> = { readonly value: T } | { readonly expected: string };

/** A string that `read` makes into something else. */
export function text<T>(expected: string, read: (value: string) => Reading<T>) {
  return z.string({ error: expected }).transform(reader(read));
}

/** Makes a reading function into what zod's `transform` takes. */
function reader<V, T>(read: (value: V) => Reading<T>) {
  return (value: V, context: z.core.$RefinementCtx<V>): T => {
    const reading = read(value);
    if ("value" in reading) return reading.value;
    context.issues.push({ code: "custom", message: reading.expected, input: value });
    return z.NEVER;
  };
}

/** A string of at least one character. */
export const nonEmptyString = z
  .string({ error: "expected a string" })
  .min(1, "expected a string that is not empty");

/** A boolean. */
export const flag = z.boolean({ error: "expected true or false" });

/**
 * One of a few words.
 *
 * @param hint a remark on a word that is none of them
 */
export function word<const T extends readonly string[]>(
  words: T,
  hint?: (value: string) => string | undefined,
) {
  return z.enum(words, {
    error: ({ input }) => {
      const known = `expected one of ${words.join(", ")}`;
      if (typeof input !== "string") return known;
      const remark = hint?.(input);
      if (remark) return `${known}; ${remark}`;
      const meant = nearest(input, words);
      return meant ? `${known}; did you mean ${meant}?` : known;
    },
  });
}

/** `setTimeout` counts milliseconds in 31 bits. */
const MAX_TIMER_SECONDS = Math.floor(0x7fffffff / 1000);

const WHOLE_SECONDS = "expected whole seconds, at least 1";

/** Whether this would be a duration, if parts of seconds could be told. */
function isBelowSeconds(value: number | string): boolean {
  if (typeof value === "number") return value < 1 || !Number.isInteger(value);
  return /^[\d.]+ *(s|sec|second|ms|msec|millisecond)s?$/i.test(value.trim());
}

/** A duration, as whole seconds. */
export const duration = durationUpTo(Number.MAX_SAFE_INTEGER);

/** A duration that a timer can wait for, as whole seconds: at most 24.8 days. */
export const timeout = durationUpTo(MAX_TIMER_SECONDS);

/** A duration, as whole seconds, of at most `maxSeconds`. */
export function durationUpTo(maxSeconds: number) {
  const longest = maxSeconds < 86_400 ? `${maxSeconds} s` : `${Math.floor(maxSeconds / 86_400)} days`;
  const readDuration = (value: number | string): Reading<number> => {
    const seconds = parseDuration(value);
    if (seconds === undefined) return { expected: isBelowSeconds(value) ? WHOLE_SECONDS : DURATION_EXPECTED };
    return seconds > maxSeconds ? { expected: `expected at most ${longest}` } : { value: seconds };
  };
  return z.union([z.number(), z.string()], { error: DURATION_EXPECTED }).transform(reader(readDuration));
}

const LISTEN_EXPECTED =
  'expected an address such as "127.0.0.1:8080", "[::1]:8080", ":8080", "unix:/run/c.sock" or "systemd"';

/** Whoever is of the group may connect. */
export const DEFAULT_SOCKET_MODE = 0o660;

/** An address to listen on; the path of a Unix socket as it is written. */
export const listenAddress = text(LISTEN_EXPECTED, parseListenAddress);

/** Reads `host:port`, `[ipv6]:port`, `:port`, `unix:path`, `systemd` or `systemd:name`. */
export function parseListenAddress(value: string): Reading<ListenAddress> {
  const [, path] = /^unix:(.+)$/.exec(value) ?? [];
  if (path !== undefined) {
    const problem = socketPathProblem(path);
    return problem ? { expected: problem } : { value: { kind: "unix", path, mode: DEFAULT_SOCKET_MODE } };
  }
  const inherited = /^systemd(?::([\w.@-]+))?$/.exec(value);
  if (inherited) return { value: { kind: "systemd", name: inherited[1] } };
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]*)):(\d{1,5})$/.exec(value);
  const port = Number(match?.[3]);
  if (!match || port > 65535) return { expected: LISTEN_EXPECTED };
  if (match[1] !== undefined && isIP(match[1]) !== 6) return { expected: LISTEN_EXPECTED };
  return { value: { kind: "tcp", host: match[1] ?? (match[2] || undefined), port } };
}

/** The system holds the path of a socket in 108 bytes, with a zero behind it (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

function socketPathProblem(path: string): string | undefined {
  if (path.startsWith("//")) return 'expected a path such as "unix:/run/c.sock", with one slash';
  if (path.includes("\0")) return "expected a path without NUL";
  return Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES
    ? `expected a path of at most ${MAX_SOCKET_PATH_BYTES} bytes`
    : undefined;
}

/** The permissions of a socket file. */
export const socketMode = text('expected permissions such as "0660", in quotes', (value) =>
  /^0?[0-7]{3}$/.test(value)
    ? { value: Number.parseInt(value, 8) }
    : { expected: 'expected permissions such as "0660"' },
);

const UPSTREAM_EXPECTED = 'expected a URL such as "http://127.0.0.1:9000"';

/** Where a backend is: an origin, and for a Unix socket the path of it, as it is written. */
export interface UpstreamUrl {
  readonly origin: string;
  readonly socketPath: string | undefined;
}

/** Where requests are forwarded to. */
export const upstreamUrl = text(UPSTREAM_EXPECTED, parseUpstreamUrl);

/** Reads the origin of an upstream, or `unix:path`. */
export function parseUpstreamUrl(value: string): Reading<UpstreamUrl> {
  const [, socketPath] = /^unix:(.+)$/.exec(value) ?? [];
  if (socketPath !== undefined) {
    const problem = socketPathProblem(socketPath);
    return problem ? { expected: problem } : { value: { origin: "http://localhost", socketPath } };
  }
  const url = httpUrl(value);
  if (!url) return { expected: UPSTREAM_EXPECTED };
  if (url.pathname !== "/" || url.search || url.hash)
    return { expected: "expected a URL without a path: a request keeps the path that the client sent" };
  if (url.username || url.password) return { expected: "expected a URL without a user name or password" };
  if (url.port === "0") return { expected: "expected a port from 1 to 65535" };
  return { value: { origin: url.origin, socketPath: undefined } };
}

/** A path that can be asked for, with a query or without. */
export const originFormPath = text('expected a path such as "/healthz"', (value) =>
  /^\/[\x21-\x22\x24-\x7e]*$/.test(value) && !value.startsWith("//")
    ? { value }
    : { expected: 'expected a path such as "/healthz"' },
);

/** A whole number between two others. */
export function wholeNumber(min: number, max: number) {
  return z
    .int({ error: "expected a whole number" })
    .min(min, `expected at least ${min}`)
    .max(max, `expected at most ${max}`);
}

const MAX_WORKERS = 256;
const WORKERS_EXPECTED = 'expected a number of processes, or "auto" for one a core';

/** How many processes answer requests. */
export const workerCount = z.union([z.literal("auto"), wholeNumber(1, MAX_WORKERS)], {
  error: WORKERS_EXPECTED,
});

/** Reads what {@link workerCount} takes from a text. */
export function parseWorkerCount(value: string): Reading<number | "auto"> {
  const checked = workerCount.safeParse(/^\d+$/.test(value) ? Number(value) : value);
  return checked.success
    ? { value: checked.data }
    : { expected: checked.error.issues[0]?.message ?? WORKERS_EXPECTED };
}

const SIZE_EXPECTED = 'expected a number of bytes, or a size such as "16KiB"';
const BYTES_BY_UNIT = new Map([
  ["b", 1],
  ["kb", 1000],
  ["mb", 1000 ** 2],
  ["gb", 1000 ** 3],
  ["kib", 1024],
  ["mib", 1024 ** 2],
  ["gib", 1024 ** 3],
]);

/** A size, as whole bytes. */
export function size(minBytes: number, maxBytes: number, expected = SIZE_EXPECTED) {
  const readSize = (value: number | string): Reading<number> => {
    const bytes = parseSize(value);
    if (bytes === undefined || !Number.isSafeInteger(bytes) || bytes < 0) return { expected };
    if (bytes < minBytes) return { expected: `expected at least ${minBytes} bytes` };
    return bytes > maxBytes ? { expected: `expected at most ${maxBytes} bytes` } : { value: bytes };
  };
  return z.union([z.number(), z.string()], { error: expected }).transform(reader(readSize));
}

function parseSize(value: number | string): number | undefined {
  if (typeof value === "number") return value;
  const [, number, unit = "b"] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]+)?$/.exec(value) ?? [];
  const bytes = BYTES_BY_UNIT.get(unit.toLowerCase());
  return number === undefined || bytes === undefined ? undefined : Number(number) * bytes;
}

const BASE_URL_EXPECTED = 'expected a URL such as "https://api.example.com"';

/** An http or https URL that other URLs are made from: no query, no fragment, no slash at the end. */
export const baseUrl = text(BASE_URL_EXPECTED, (value) => {
  const url = httpUrl(value);
  if (!url) return { expected: BASE_URL_EXPECTED };
  if (url.username || url.password || url.search || url.hash || /[?#]/.test(value))
    return { expected: "expected a URL without user name, query and fragment" };
  if (value.endsWith("/")) return { expected: "expected a URL without a slash at its end" };
  return { value };
});

/** An http or https URL, or `undefined`. */
export function httpUrl(value: string): URL | undefined {
  if (!/^https?:\/\/[^\s\\]+$/i.test(value) || !URL.canParse(value)) return undefined;
  return new URL(value);
}

/** The path that the issuer's endpoints stand under. */
export const basePath = text('expected a path such as "/__issuer"', (value) => {
  if (/^(?:\/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*)+$/.test(value)) return { value };
  return {
    expected:
      value === "/"
        ? "expected a path below /: everything under it is answered by the issuer and never forwarded"
        : 'expected a path such as "/__issuer": plain segments, no slash at its end',
  };
});

/** A token (RFC 9110 §5.6.2). */
export const FIELD_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;

const NOT_FOR_A_TOKEN =
  /^(?:host|content-.*|transfer-encoding|connection|keep-alive|proxy-connection|proxy-authorization|te|trailer|upgrade|expect|via|http2-settings|forwarded|date|x-forwarded-.*|x-request-id|x-real-ip|cookie|accept|accept-.*|user-agent|range|if-.*|origin|referer)$/;

/** The name of the field that carries the token. */
export const headerName = text('expected a field name such as "Authorization"', (value) => {
  if (!FIELD_NAME.test(value))
    return { expected: 'expected a field name such as "Authorization": letters, digits and hyphens' };
  // Every spelling of this name is taken out of a request, so Content_Length would take out Content-Length.
  if (NOT_FOR_A_TOKEN.test(canonicalFieldName(value)))
    return { expected: "expected another field name: this one has a meaning that the token would destroy" };
  return { value };
});

/** What stands before the token. */
export const tokenPrefix = text('expected a prefix such as "Bearer", or "" for none', (value) => {
  if (/^[\x21-\x7e]+(?: [\x21-\x7e]+)*$|^$/.test(value)) return { value };
  return { expected: "expected visible ASCII characters, without a space at either end" };
});

/** A pattern for paths. */
export const pathPattern = text<PathPattern>('expected a pattern such as "/orders/:id"', (value) => {
  if (!value.startsWith("/"))
    return { expected: 'expected a pattern that begins with "/", such as "/orders/:id"' };
  if (value.includes("?"))
    return { expected: "expected a pattern of the path alone: a query cannot be matched" };
  const unmatchable = unmatchablePart(value);
  if (unmatchable) return { expected: `expected a pattern that a request can match: ${unmatchable}` };
  try {
    return { value: compilePathPattern(value) };
  } catch (error) {
    const reason = (error as Error).message.replace(/; visit .*$/s, "").replace(/: \/.*$/s, "");
    return {
      expected: `expected a pattern such as "/orders/:id" or "/files/*rest": ${reason}`,
    };
  }
});

/** What a path never holds when it is compared, because it was refused or taken out before. */
function unmatchablePart(pattern: string): string | undefined {
  if (pattern.includes("//"))
    return "an empty segment (//) is refused, or taken out where allowInPath lists it";
  if (pattern.includes(";"))
    return "a path parameter (;) is refused, or taken out where allowInPath lists it; an encoded semicolon is %3B";
  const segments = pattern.replaceAll(/[{}\\]/g, "").split("/");
  if (segments.some((segment) => /^(?:\.|%2e){1,2}$/i.test(segment)))
    return "a path with a . or .. segment is always refused";
  return undefined;
}

/** A request method (RFC 9110 §9.1). */
export const method = text("expected a method such as GET", (value) => {
  if (/^[A-Z][A-Z0-9_-]*$/.test(value)) return { value };
  const upperCase = value.toUpperCase();
  const hint = /^[A-Z]+$/.test(upperCase) ? `; methods are case-sensitive: did you mean ${upperCase}?` : "";
  return { expected: `expected a method such as GET${hint}` };
});

/** A host name to match, in lower case. */
export const hostPattern = text(
  'expected a host name such as "api.example.com" or "*.example.com"',
  (value) => {
    const host = value.toLowerCase().replace(/\.$/, "");
    if (/^(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$|^\[[0-9a-f:.]+\]$/.test(host)) return { value: host };
    const port = /:\d+$/.test(host) ? "; ports are not compared: leave the port out" : "";
    return { expected: `expected a host name such as "api.example.com" or "*.example.com"${port}` };
  },
);

/** The name of a policy. */
export const policyName = text('expected a name such as "orders"', (value) =>
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(value)
    ? { value }
    : { expected: "expected a name of at most 64 letters, digits, dots, hyphens and underscores" },
);

/** The name of an environment variable. */
export const variableName = text("expected the name of an environment variable", (value) =>
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(value)
    ? { value }
    : { expected: "expected the name of an environment variable: letters, digits and underscores" },
);

/** Any JSON value. */
export const jsonValue: z.ZodType<JsonValue> = z.json();
