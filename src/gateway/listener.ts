import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerOptions, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { CountersignError, reasonOf } from "../errors.ts";
import { ClientConnections } from "./connections.ts";
import type { ClientSettings } from "./limits.ts";
import { formatAddress, type ListenAddress, type ListenOptions } from "./listen-options.ts";
import type { RequestProblem } from "./problem.ts";
import { Handshakes, secureContextOf, tlsServerOptions } from "./tls.ts";
import { readTlsFiles } from "./tls-files.ts";

/** The clients' side of the sidecar. */
export interface Listener {
  /**
   * Opens the address; with TLS its files are read first.
   *
   * @returns the address, with the port that was taken where any was asked for
   * @throws {ListenError} ERR_LISTEN when the address cannot be used
   * @throws {TlsFileError} ERR_LISTEN when a file of `tls` cannot be used
   */
  listen(): Promise<ListenAddress>;
  /** Gives every request to `handle` from now on. */
  serve(handle: (clientRequest: IncomingMessage, clientResponse: ServerResponse) => void): void;
  /**
   * Accepts no more connections, lets the requests under way end, and closes theirs behind them.
   *
   * @param drainMilliseconds after this what is left is destroyed
   */
  close(drainMilliseconds: number): Promise<void>;
}

/** An address that cannot be listened on. */
export class ListenError extends CountersignError {
  constructor(address: ListenAddress, cause: NodeJS.ErrnoException) {
    super(
      "ERR_LISTEN",
      `cannot listen on ${formatAddress(address)}: ${LISTEN_PROBLEMS[cause.code ?? ""] ?? reasonOf(cause)}`,
      {
        cause,
      },
    );
  }
}

const LISTEN_PROBLEMS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program uses this port; stop it, or choose another port",
  EACCES: "this port needs a privilege that the process lacks; choose a port above 1023",
  EADDRNOTAVAIL: "this machine has no such address",
  ENOTFOUND: "the host name is not known",
};

/** The limit of all field lines together. Node.js answers 431 above it. */
const MAX_FIELD_BYTES = 16 * 1024;

/** Creates an HTTP/1.1 listener that does not listen yet. */
export function createListener(
  { address, tls }: ListenOptions,
  { timeouts: { headersSeconds, requestSeconds, keepAliveSeconds } }: ClientSettings,
): Listener {
  const connections = new ClientConnections();
  const upgrades = new WeakSet<IncomingMessage>();
  const httpOptions: ServerOptions = {
    headersTimeout: headersSeconds * 1000,
    requestTimeout: requestSeconds * 1000,
    keepAliveTimeout: keepAliveSeconds * 1000,
    connectionsCheckingInterval: 1000,
    maxHeaderSize: MAX_FIELD_BYTES,
    noDelay: true,
    insecureHTTPParser: false,
    // The request path refuses a request without Host itself, with a problem.
    requireHostHeader: false,
    // No protocol is tunnelled: a request to upgrade is a plain one (RFC 9110 §7.8 lets a server ignore it).
    shouldUpgradeCallback(clientRequest) {
      upgrades.add(clientRequest);
      return false;
    },
  };
  const tlsServer = tls && createHttpsServer({ ...httpOptions, ...tlsServerOptions(tls, headersSeconds) });
  const server = tlsServer ?? createServer(httpOptions);
  // All lines are kept, so that the request path counts them itself: past this limit Node.js drops them unsaid.
  server.maxHeadersCount = 0;
  const handshakes = tlsServer && new Handshakes(tlsServer);
  // Requests come on what the handshake makes of a connection.
  server.on(tlsServer ? "secureConnection" : "connection", (socket: Socket) => connections.add(socket));
  // What the parser refuses never becomes a request.
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    // Nobody is there to be answered.
    if (error.code === "ECONNRESET") socket.destroy();
    else connections.refuse(socket as Socket, problemOf(error.code));
  });
  server.on("connect", (_request, socket) => connections.refuse(socket as Socket, NO_TUNNEL));

  return {
    async listen() {
      if (tls) tlsServer?.setSecureContext(secureContextOf(await readTlsFiles(tls)));
      server.listen(address);
      try {
        await once(server, "listening");
      } catch (cause) {
        throw new ListenError(address, cause as NodeJS.ErrnoException);
      }
      return address.kind === "tcp" ? { ...address, port: (server.address() as AddressInfo).port } : address;
    },

    serve(handle) {
      const handleUnlessEnding = (clientRequest: IncomingMessage, clientResponse: ServerResponse) => {
        if (!connections.accept(clientRequest, clientResponse)) return;
        // Behind a request to upgrade that is not upgraded Node.js drops what has arrived already, so that the rest of a
        // request could look like a whole one.
        if (upgrades.has(clientRequest)) connections.endAfter(clientRequest, clientResponse);
        handle(clientRequest, clientResponse);
      };
      server.on("request", handleUnlessEnding);
      // The request path sends "100 Continue" itself, when the request is really forwarded, and ignores what else is expected.
      server.on("checkContinue", handleUnlessEnding);
      server.on("checkExpectation", handleUnlessEnding);
    },

    async close(drainMilliseconds) {
      if (!server.listening) return;
      connections.endAll();
      handshakes?.end();
      const closed = once(server, "close");
      server.close();
      const deadline = setTimeout(() => connections.destroy(), drainMilliseconds);
      // A connection that was busy when the server closed stays open when it falls idle: close those too.
      const idle = setInterval(() => server.closeIdleConnections(), 100);
      await closed;
      clearTimeout(deadline);
      clearInterval(idle);
    },
  };
}

const NO_TUNNEL: RequestProblem = {
  code: "ERR_METHOD_NOT_ALLOWED",
  detail: "this is no tunnelling proxy",
  fields: { allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" },
};

function problemOf(code: string | undefined): RequestProblem {
  if (code === "HPE_HEADER_OVERFLOW")
    return { code: "ERR_FIELDS_TOO_LARGE", detail: `the fields are larger than ${MAX_FIELD_BYTES} bytes` };
  if (code === "ERR_HTTP_REQUEST_TIMEOUT")
    return { code: "ERR_REQUEST_TIMEOUT", detail: "the request did not arrive in time" };
  return { code: "ERR_REQUEST_MALFORMED", detail: "this is not a valid HTTP/1.1 request" };
}
