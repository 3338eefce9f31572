import type { RequestErrorCode } from "../errors.ts";

/** Kinds of ambiguous path that `allowInPath` can let through. */
export const AMBIGUITIES = ["encodedSlash", "encodedBackslash", "emptySegment", "pathParameters"] as const;
export type Ambiguity = (typeof AMBIGUITIES)[number];

/** A request target that every reader understands alike. */
export interface Target {
  /** The origin-form that is forwarded, byte for byte what the client sent: path and query (RFC 9112 §3.2.1). */
  readonly originForm: string;
  /**
   * The path as a backend may read it, for matching: percent-decoded (but for slashes and backslashes, where they
   * are allowed), path parameters and empty segments taken out.
   */
  readonly decodedPath: string;
  /** Host and port of an absolute-form target, which count instead of the Host field (RFC 9112 §3.2.2). */
  readonly authority: string | undefined;
}

/** What became of a request target. */
export type TargetOutcome =
  | { readonly kind: "target"; readonly target: Target }
  | { readonly kind: "refused"; readonly code: RequestErrorCode; readonly detail: string };

const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)(.*)$/i;
/** A path that has nothing to decode and nothing to doubt: the fast way for nearly every request. */
const PLAIN_PATH = /^(?:\/(?!\.)[A-Za-z0-9\-._~!$&'()*+,=:@]+)*\/?$/;
/** What no URI may hold raw: controls, space, bytes beyond ASCII, a fragment, a backslash (RFC 3986 §2). */
const NOT_IN_A_TARGET = /[^\x21-\x7e]|[#\\]/;

/**
 * Reads a request target (RFC 9112 §3.2). Origin-form and absolute-form are taken; a path that two readers could
 * take for two different ones is refused, so that the policy and the backend never see different things.
 */
export function parseTarget(requestTarget: string, allowed: readonly Ambiguity[]): TargetOutcome {
  let originForm = requestTarget;
  let authority: string | undefined;
  if (!originForm.startsWith("/")) {
    const absolute = ABSOLUTE_FORM.exec(requestTarget);
    if (!absolute)
      return refused("ERR_TARGET_INVALID", "the request target is neither a path nor an http URL");
    authority = absolute[1] as string;
    const rest = absolute[2] as string;
    originForm = rest.startsWith("/") ? rest : `/${rest}`;
  }
  if (NOT_IN_A_TARGET.test(originForm))
    return refused("ERR_TARGET_INVALID", "the request target holds a character that a URI cannot hold");

  const queryStart = originForm.indexOf("?");
  const path = queryStart === -1 ? originForm : originForm.slice(0, queryStart);
  if (PLAIN_PATH.test(path)) return { kind: "target", target: { originForm, decodedPath: path, authority } };

  const decoded = decodeCarefully(path, allowed);
  if (decoded.kind === "refused") return decoded;
  return { kind: "target", target: { originForm, decodedPath: decoded.path, authority } };
}

function refused(code: RequestErrorCode, detail: string) {
  return { kind: "refused", code, detail } as const;
}

function ambiguous(what: string) {
  return refused(
    "ERR_TARGET_AMBIGUOUS",
    `the path holds ${what}, which two readers may understand differently`,
  );
}

type DecodedPath = { readonly kind: "path"; readonly path: string } | ReturnType<typeof refused>;

/** How often a path may turn out to be encoded again before it is refused unread. */
const MAX_ENCODINGS = 5;

function decodeCarefully(path: string, allowed: readonly Ambiguity[]): DecodedPath {
  if (/%(?![0-9A-Fa-f]{2})/.test(path)) return refused("ERR_TARGET_INVALID", "the path holds a stray %");
  if (!isUtf8(path))
    return refused("ERR_TARGET_INVALID", "the path holds percent-encoded bytes that are not UTF-8");

  const found = new Set<Ambiguity>();
  if (path.includes("//")) found.add("emptySegment");
  if (path.includes(";")) found.add("pathParameters");
  let text = path;
  for (let encodings = 0; /%[0-9A-Fa-f]{2}/.test(text); encodings++) {
    if (encodings === MAX_ENCODINGS) return ambiguous("a text that was percent-encoded many times");
    if (/%2f/i.test(text)) found.add("encodedSlash");
    if (/%5c/i.test(text)) found.add("encodedBackslash");
    text = decodeBytes(text);
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\x00-\x1f\x7f]/.test(text)) return ambiguous("an encoded control character");
  if (text.split(/[/\\]/).some(isDotSegment)) return ambiguous("a dot segment");
  for (const kind of found) if (!allowed.includes(kind)) return ambiguous(DESCRIPTIONS[kind]);

  const decoded = path
    .replaceAll(/;[^/]*/g, "")
    .replaceAll(/\/{2,}/g, "/")
    .replaceAll(/(?:%[0-9A-Fa-f]{2})+/g, decodeButSeparators);
  return { kind: "path", path: decoded };
}

const DESCRIPTIONS: Readonly<Record<Ambiguity, string>> = {
  encodedSlash: "an encoded slash",
  encodedBackslash: "an encoded backslash",
  emptySegment: "an empty segment (//)",
  pathParameters: "a path parameter (;)",
};

function isDotSegment(segment: string): boolean {
  const name = segment.split(";", 1)[0];
  return name === "." || name === "..";
}

function isUtf8(path: string): boolean {
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false;
  }
}

/** One byte a character: enough to see what a further decoding would bring to light. */
function decodeBytes(text: string): string {
  return text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

function decodeButSeparators(encoded: string): string {
  return encoded
    .split(/(%2f|%5c)/i)
    .map((part) => (/^%(?:2f|5c)$/i.test(part) ? part.toUpperCase() : decodeURIComponent(part)))
    .join("");
}
