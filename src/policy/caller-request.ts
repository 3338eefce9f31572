import type { X509Certificate } from "node:crypto";

/** What authenticators see of a request. */
export interface CallerRequest {
  /** Field lines as Node.js holds them raw: name, value, name, value, … */
  readonly rawFields: readonly string[];
  /** Path and query, as the client sent them. */
  readonly target: string;
  readonly peer: Peer;
}

/** The address of every peer of a Unix socket. */
export const UNIX_PEER = "unix";

/** The other end of the connection that a request came on. */
export interface Peer {
  /** Its IP address, an IPv4 address always in its own form; {@link UNIX_PEER} on a Unix socket. */
  readonly address: string;
  /** The certificate that it showed in the TLS handshake; `undefined` where it showed none. */
  certificate(): PeerCertificate | undefined;
}

/** A certificate that a client has proved to own. */
export interface PeerCertificate {
  readonly certificate: X509Certificate;
  /** Whether it leads to a CA that the listener trusts. */
  readonly isTrusted: boolean;
}

/**
 * The values of a field, one a line.
 *
 * @param name in lower case; other spellings than upper and lower case do not count
 */
export function fieldValues(rawFields: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i < rawFields.length; i += 2) {
    const field = rawFields[i] as string;
    if (field.length === name.length && field.toLowerCase() === name) values.push(rawFields[i + 1] as string);
  }
  return values;
}
