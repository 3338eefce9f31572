import type { IncomingMessage } from "node:http";
import { isIPv4, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Peer, PeerCertificate } from "../policy/caller-request.ts";

/** A peer whose address is not known any more, because its connection has ended. */
const UNKNOWN_ADDRESS = "unknown";

/** The other end of a request's connection; to be asked for when the request comes, as all is gone with the connection. */
export function peerOf({ socket }: IncomingMessage): Peer {
  const certificate = certificateOf(socket);
  return { address: plainAddress(socket.remoteAddress ?? UNKNOWN_ADDRESS), certificate: () => certificate };
}

/** An IPv4 client of a listener for IPv6 comes as `::ffff:192.0.2.1` (RFC 4291 §2.5.5.2). */
function plainAddress(address: string): string {
  const [, embedded = ""] = /^::ffff:([\d.]+)$/i.exec(address) ?? [];
  return isIPv4(embedded) ? embedded : address;
}

/** By connection: a certificate that is read again for each request would be another object each time. */
const certificates = new WeakMap<TLSSocket, PeerCertificate | undefined>();

function certificateOf(socket: Socket): PeerCertificate | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  // It stays the same, as renegotiation is off.
  if (certificates.has(socket)) return certificates.get(socket);
  const certificate = socket.getPeerX509Certificate();
  const found = certificate && { certificate, isTrusted: socket.authorized };
  certificates.set(socket, found);
  return found;
}
