import type { Http2Session } from "node:http2";
import { isIPv4, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { type Peer, type PeerCertificate, UNIX_PEER } from "../../policy/caller-request.ts";
import type { ClientRequest } from "./client-message.ts";
import { isHttp2Request } from "./http2-message.ts";

/** What is said of an address that nobody knows (RFC 7239 §6.2), such as that of a connection which has ended. */
export const UNKNOWN_ADDRESS = "unknown";

/** The other end of a request's connection; to be asked for when the request comes, as all is gone with the connection. */
export function peerOf(clientRequest: ClientRequest): Peer {
  const socket = connectionOf(clientRequest);
  if (!socket) return { address: UNKNOWN_ADDRESS, certificate: () => undefined };
  const certificate = certificateOf(socket);
  return { address: addressOf(socket), certificate: () => certificate };
}

/** The connection of a request; `undefined` where that of an HTTP/2 stream has ended. */
export function connectionOf(clientRequest: ClientRequest): Socket | undefined {
  if (!isHttp2Request(clientRequest)) return clientRequest.socket;
  const { session } = clientRequest.stream;
  return session && socketOfSession.get(session);
}

/** A session itself shows its socket behind a proxy, and a stream behind another one. */
const socketOfSession = new WeakMap<Http2Session, Socket>();

/** Notes which connection a session of HTTP/2 speaks on. */
export function noteSession(session: Http2Session, socket: Socket): void {
  socketOfSession.set(session, socket);
}

const unixSockets = new WeakSet<Socket>();

/** Notes that a connection came over a Unix socket: without an address it could also be one that has ended. */
export function noteUnixSocket(socket: Socket): void {
  unixSockets.add(socket);
}

function addressOf(socket: Socket): string {
  const { remoteAddress } = socket;
  if (remoteAddress !== undefined) return plainAddress(remoteAddress);
  return unixSockets.has(socket) ? UNIX_PEER : UNKNOWN_ADDRESS;
}

/** The scheme of the URLs that lead to a request's connection. */
export function connectionSchemeOf(clientRequest: ClientRequest): "http" | "https" {
  return connectionOf(clientRequest) instanceof TLSSocket ? "https" : "http";
}

/** An IPv4 client of a listener for IPv6 comes as `::ffff:192.0.2.1` (RFC 4291 §2.5.5.2). */
export function plainAddress(address: string): string {
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
