import { parse, pathToRegexp, type Token } from "path-to-regexp";

/** A path pattern of the configuration, compiled. */
export interface PathPattern {
  /** As the configuration has it. */
  readonly source: string;
  /** Matches a whole decoded path, case-sensitively. */
  readonly regexp: RegExp;
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
  const repeated = keys.find(({ name }, index) => keys.findIndex((key) => key.name === name) !== index);
  if (repeated) throw new TypeError(`the name ${repeated.name} stands here twice`);
  return { source, regexp };
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
