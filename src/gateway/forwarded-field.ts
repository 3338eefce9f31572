/** One hop in a `Forwarded` field. */
export interface ForwardedElement {
  /** Values by parameter in lower case, without their quotes. */
  readonly parameters: ReadonlyMap<string, string>;
  /** As it was written. */
  readonly text: string;
}

/** One parameter: a token, and a token or quoted string; then what comes next (RFC 7239 §4, RFC 9110 §5.6). */
const PARAMETER =
  /[ \t]*([\w!#$%&'*+.^`|~-]+)=(?:([\w!#$%&'*+.^`|~-]+)|"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*)")[ \t]*(?=[;,]|$)/y;
const SEPARATOR = /[ \t]*([;,])/y;

/**
 * Reads one line of `Forwarded` (RFC 7239 §4), strictly: a quote that one program takes for the end of a value, and the next
 * one not, would move hops from one to the other. Spaces around `;` are let through.
 *
 * @returns `undefined` where the line is malformed
 */
export function parseForwarded(line: string): ForwardedElement[] | undefined {
  const elements: ForwardedElement[] = [];
  let parameters = new Map<string, string>();
  let start = 0;
  let position = 0;
  const endElement = () => {
    // An empty element of a list is none (RFC 9110 §5.6.1.2).
    if (parameters.size > 0) elements.push({ parameters, text: line.slice(start, position).trim() });
    parameters = new Map();
  };
  while (position < line.length) {
    SEPARATOR.lastIndex = position;
    const separator = SEPARATOR.exec(line);
    if (separator) {
      if (separator[1] === ",") {
        endElement();
        start = SEPARATOR.lastIndex;
      }
      position = SEPARATOR.lastIndex;
      continue;
    }
    PARAMETER.lastIndex = position;
    const parameter = PARAMETER.exec(line);
    // Spaces at the end of the line.
    if (!parameter && line.slice(position).trim() === "") break;
    if (!parameter) return undefined;
    const [, name = "", token, quoted] = parameter;
    const key = name.toLowerCase();
    if (parameters.has(key)) return undefined;
    parameters.set(key, token ?? (quoted as string).replaceAll(/\\(.)/g, "$1"));
    position = PARAMETER.lastIndex;
  }
  endElement();
  return elements;
}

/**
 * The element with which a proxy adds a hop of its own.
 *
 * @param address of the peer; "unknown" where it has none
 * @param authority what the request names in `Host`
 */
export function forwardedElement(address: string, scheme: string, authority: string | undefined): string {
  const node = address.includes(":") ? `"[${address}]"` : address;
  const host = authority === undefined ? "" : `;host=${quotedIfNeeded(authority)}`;
  return `for=${node};proto=${scheme}${host}`;
}

/** A port or an IPv6 address makes an authority no token. */
function quotedIfNeeded(authority: string): string {
  return /[:[]/.test(authority) ? `"${authority}"` : authority;
}
