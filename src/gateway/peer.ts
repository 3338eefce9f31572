import type { IncomingMessage } from "node:http";
import type { Peer } from "../policy/caller-request.ts";

/** The other end of a request's connection. */
export function peerOf({ socket }: IncomingMessage): Peer {
  return {
    // Without the prefix that a socket for IPv4 and IPv6 puts before an IPv4 address (RFC 4291 §2.5.5.2).
    address: (socket.remoteAddress ?? "unknown").replace(/^::ffff:/, ""),
    certificate: () => undefined,
  };
}
