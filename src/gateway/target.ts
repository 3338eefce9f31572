import type { RequestErrorCode } from "../errors.ts";
import { decodePath } from "../policy/path-pattern.ts";
import type { Refusal } from "./problem.ts";

/** Kinds of ambiguous path that `allowInPath` can let through. */
export const AMBIGUITIES = ["encodedSlash", "encodedBackslash", "emptySegment", "pathParameters"] as const;

/** One of {@link AMBIGUITIES}. */
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
  /** The same as the most lenient backend would read it: decoded until nothing is encoded, and every separator a slash. */
  readonly lenientPath: string;
  /** Host and port of an absolute-form target, which count instead of the Host field (RFC 9112 §3.2.2). */
  readonly authority: string | undefined;
}

/** What became of a request target. */
export type TargetOutcome = { readonly kind: "target"; readonly target: Target } | Refusal;

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
  if (PLAIN_PATH.test(path))
    return { kind: "target", target: { originForm, decodedPath: path, lenientPath: path, authority } };

  const views = viewsOf(path, allowed);
  if (views.kind === "refused") return views;
  const { decodedPath, lenientPath } = views;
  return { kind: "target", target: { originForm, decodedPath, lenientPath, authority } };
}

function refused(code: RequestErrorCode, detail: string): Refusal {
  return { kind: "refused", code, detail };
}

function ambiguous(what: string): Refusal {
  return refused(
    "ERR_TARGET_AMBIGUOUS",
    `the path holds ${what}, which two readers may understand differently`,
  );
}

type Views = ({ readonly kind: "views" } & Pick<Target, "decodedPath" | "lenientPath">) | Refusal;

/** How often a path may turn out to be encoded again before it is refused unread. */
const MAX_ENCODINGS = 5;

function viewsOf(path: string, allowed: readonly Ambiguity[]): Views {
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

  return {
    kind: "views",
    decodedPath: decodePath(simplify(path)),
    lenientPath: simplify(utf8Of(text).replaceAll("\\", "/")),
  };
}

/** Takes path parameters and empty segments out. */
function simplify(path: string): string {
  return path.replaceAll(/;[^/]*/g, "").replaceAll(/\/{2,}/g, "/");
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

/** Reads one byte a character as UTF-8. */
function utf8Of(bytes: string): string {
  return Buffer.from(bytes, "latin1").toString("utf8");
}

/** One byte a character: enough to see what a further decoding would bring to light. */
function decodeBytes(text: string): string {
  return text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
