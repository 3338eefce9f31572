import type { Refusal } from "./problem.ts";

/** Whom a request is for. */
export type HostOutcome =
  /** Host and port as the client wrote them; `undefined` where an HTTP/1.0 client named none. */
  { readonly kind: "host"; readonly authority: string | undefined } | Refusal;

/**
 * Host and optional port (RFC 3986 §3.2.2): a name or IPv4 address, or an IPv6 address in brackets. No user name, and no
 * label that is empty: two dots at the end would be a name that no policy knows, and that a backend may take for one.
 */
const AUTHORITY = /^(?:[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*\.?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

/** Whether a text is a host with an optional port. */
export function isAuthority(text: string): boolean {
  return AUTHORITY.test(text);
}

/**
 * Reads whom a request is for. Two Host fields, one that is no host, and none in HTTP/1.1 are refused (RFC 9112 §3.2).
 *
 * @param httpVersion such as "1.1"
 * @param targetAuthority the authority of an absolute-form target, which counts instead of the Host field
 */
export function parseHost(
  rawFields: readonly string[],
  httpVersion: string,
  targetAuthority: string | undefined,
): HostOutcome {
  let authority: string | undefined;
  for (let i = 0; i < rawFields.length; i += 2) {
    const name = rawFields[i] as string;
    if (name.length !== 4 || name.toLowerCase() !== "host") continue;
    if (authority !== undefined) return refused("there is more than one Host field");
    authority = rawFields[i + 1] as string;
    if (!isAuthority(authority)) return refused("the Host field is not a host name with an optional port");
  }
  if (authority === undefined && httpVersion !== "1.0") return refused("there is no Host field");
  if (targetAuthority === undefined) return { kind: "host", authority };
  return isAuthority(targetAuthority)
    ? { kind: "host", authority: targetAuthority }
    : refused("the request target names no valid host");
}

function refused(detail: string): Refusal {
  return { kind: "refused", code: "ERR_HOST_INVALID", detail };
}

/** The host alone, for matching: lower-case, without port and without a dot at its end; "" where there is none. */
export function hostOf(authority: string | undefined): string {
  return authority === undefined ? "" : authority.toLowerCase().replace(/:\d+$/, "").replace(/\.$/, "");
}
