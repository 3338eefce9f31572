import { constants } from "node:crypto";
import type { Server } from "node:https";
import type { Socket } from "node:net";
import type { SecureContextOptions, TlsOptions as ServerTlsOptions, TLSSocket } from "node:tls";
import { type RequestProblem, rawProblem } from "../problem.ts";
import type { TlsMaterial, TlsOptions } from "./tls-files.ts";

/** How a server speaks TLS, but for its certificate, which comes with {@link secureContextOf}. */
export function tlsServerOptions(
  { clientCertificate }: TlsOptions,
  handshakeSeconds: number,
  speaksHttp2: boolean,
): ServerTlsOptions {
  return {
    handshakeTimeout: handshakeSeconds * 1000,
    // A client may begin to speak only what is named here (RFC 7301 §3.2).
    ALPNProtocols: speaksHttp2 ? ["h2", "http/1.1"] : ["http/1.1"],
    requestCert: clientCertificate !== "none",
    rejectUnauthorized: clientCertificate === "required",
  };
}

/** The certificate of a server, and what it takes from clients: TLS 1.2 (RFC 5246) and 1.3 (RFC 8446). */
export function secureContextOf({ cert, key, ca }: TlsMaterial): SecureContextOptions {
  return {
    cert,
    key,
    // Without it Node.js would trust every public CA for client certificates.
    ca: ca ?? [],
    // Said aloud, because a flag of Node.js can lower its own default (RFC 8996: older ones must not be used).
    minVersion: "TLSv1.2",
    ciphers: TLS12_CIPHERS,
    // Who the client is may not change under its requests: what its certificate says is read once.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  };
}

/**
 * Of TLS 1.2 those with forward secrecy and authenticated encryption, as HTTP/2 demands (RFC 9113 §9.2.2); the client's
 * own order counts. TLS 1.3 has no others, and its list stays as it is.
 */
const TLS12_CIPHERS = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"]
  .flatMap((cipher) => [`ECDHE-ECDSA-${cipher}`, `ECDHE-RSA-${cipher}`])
  .join(":");

/** Knows the connections of a TLS server whose handshake goes on, which the HTTP server itself does not. */
export class Handshakes {
  readonly #connections = new Set<Socket>();
  readonly #secured = new Set<TLSSocket>();

  constructor(server: Server) {
    keep(server, "connection", this.#connections);
    keep(server, "secureConnection", this.#secured);
    server.on("tlsClientError", (error: NodeJS.ErrnoException, socket) => {
      // Clients of a Unix socket cannot be told apart by their addresses.
      if (error.code === "ERR_SSL_HTTP_REQUEST" && socket.remotePort !== undefined)
        answerInClear(this.#connections, clientEndOf(socket));
    });
  }

  /** Destroys the connections that have no TLS yet, and so no request. */
  end(): void {
    const secured = new Set([...this.#secured].map(clientEndOf));
    for (const socket of this.#connections) if (!secured.has(clientEndOf(socket))) socket.destroy();
  }
}

/** What came in clear on a TLS port is answered in clear, so that whoever sent it can read why. */
function answerInClear(connections: Iterable<Socket>, clientEnd: string): void {
  for (const socket of connections) if (clientEndOf(socket) === clientEnd) socket.end(rawProblem(NO_TLS));
}

const NO_TLS: RequestProblem = {
  code: "ERR_REQUEST_MALFORMED",
  detail: "this port speaks https; send the request with https://",
};

function keep<T extends Socket>(server: Server, event: string, sockets: Set<T>): void {
  server.on(event, (socket: T) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
}

/** What a connection and its TLS have in common. */
function clientEndOf({ remoteAddress, remotePort, localAddress }: Socket): string {
  return JSON.stringify([remoteAddress, remotePort, localAddress]);
}
