import { parse, pathToRegexp, type Token } from "path-to-regexp";

/** A path pattern of the configuration, compiled. */
export interface PathPattern {
  /** As the configuration has it. */
  readonly source: string;
  /** Matches a whole decoded path, case-sensitively. */
  readonly regexp: RegExp;
  /** The names in the pattern, each once. */
  readonly names: readonly string[];
  /** The name of each group of the expression. One comes again for each combination of optional parts that has it. */
  readonly groups: readonly string[];
  /** The segments at the start that are the same in every path which matches. */
  readonly fixedSegments: readonly string[];
}

/**
 * Compiles a pattern such as `/orders/:id`, `/files/*rest` or `/reports{/:year}`. A wildcard at the end also
 * matches nothing, so that `/*rest` is every path. A slash at the end counts: `/orders` is not `/orders/`.
 *
 * @throws {TypeError} when the pattern cannot be read
 */
export function compilePathPattern(source: string): PathPattern {
  if (/%(?![0-9A-Fa-f]{2})/.test(source)) throw new TypeError("a % without two hexadecimal digits behind it");
  const { tokens } = parse(source, { encodePath: decodePath });
  const last = tokens.at(-1);
  const total: Token[] =
    last?.type === "wildcard" ? [...tokens.slice(0, -1), { type: "group", tokens: [last] }] : [...tokens];
  const { regexp, keys } = pathToRegexp(
    { tokens: total, originalPath: source },
    { sensitive: true, trailing: false },
  );
  const names = namesIn(tokens);
  const repeated = names.find((name, index) => names.indexOf(name) !== index);
  if (repeated !== undefined) throw new TypeError(`the name ${repeated} stands here twice`);
  const groups = keys.map(({ name }) => name);
  return { source, regexp, names, groups, fixedSegments: fixedSegmentsOf(tokens) };
}

function namesIn(tokens: readonly Token[]): string[] {
  return tokens.flatMap((token) => {
    if (token.type === "group") return namesIn(token.tokens);
    return token.type === "text" ? [] : [token.name];
  });
}

/** The segments before the first thing that varies; one that is cut there may go on, and so is none of them. */
function fixedSegmentsOf(tokens: readonly Token[]): string[] {
  const [first, second] = tokens;
  if (first?.type !== "text") return [];
  const segments = first.value.split("/").slice(1);
  return second === undefined ? segments : segments.slice(0, -1);
}

/** The value that `name` has in a path which the pattern matches; `undefined` where it has none. */
export function paramOf({ regexp, groups }: PathPattern, path: string, name: string): string | undefined {
  const found = regexp.exec(path)?.slice(1);
  return found?.find((value, index) => value !== undefined && groups[index] === name);
}

/**
 * Percent-decodes a path for matching. An encoded slash or backslash stays encoded, in upper case: decoded, it would be
 * taken for a separator.
 *
 * @throws {URIError} when the bytes are not UTF-8
 */
export function decodePath(path: string): string {
  return path.replaceAll(/(?:%[0-9A-Fa-f]{2})+/g, (encoded) =>
    encoded
      .split(/(%2f|%5c)/i)
      .map((part) => (/^%(?:2f|5c)$/i.test(part) ? part.toUpperCase() : decodeURIComponent(part)))
      .join(""),
  );
}
