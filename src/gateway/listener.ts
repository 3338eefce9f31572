import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { CountersignError, reasonOf } from "../errors.ts";
import { type RequestProblem, rawProblem } from "./problem.ts";

/** Where to listen. */
export interface ListenAddress {
  /** A name or IP address without brackets; `undefined` is every address of the machine. */
  readonly host: string | undefined;
  /** 0 takes any free port. */
  readonly port: number;
}

/** How long a client may take. In seconds. */
export interface ListenerTimeouts {
  /** For the request's fields. */
  readonly headersSeconds: number;
  /** For the whole request. */
  readonly requestSeconds: number;
  /** How long a connection stays open without a request. */
  readonly keepAliveSeconds: number;
}

/** The clients' side of the sidecar. */
export interface Listener {
  /**
   * Opens the address.
   *
   * @throws {ListenError} ERR_LISTEN when the address cannot be used
   */
  listen(address: ListenAddress): Promise<AddressInfo>;
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

/** An address as it stands in a URL: IPv6 in brackets, and no host as `*`. */
export function formatAddress({ host, port }: ListenAddress): string {
  if (host === undefined) return `*:${port}`;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The limit of all field lines together. Node.js answers 431 above it. */
const MAX_FIELD_BYTES = 16 * 1024;

/** Creates an HTTP/1.1 listener that does not listen yet. */
export function createListener({
  headersSeconds,
  requestSeconds,
  keepAliveSeconds,
}: ListenerTimeouts): Listener {
  const server = createServer({
    headersTimeout: headersSeconds * 1000,
    requestTimeout: requestSeconds * 1000,
    keepAliveTimeout: keepAliveSeconds * 1000,
    connectionsCheckingInterval: 1000,
    maxHeaderSize: MAX_FIELD_BYTES,
    noDelay: true,
    insecureHTTPParser: false,
    // No protocol is tunnelled: a request to upgrade is a plain one (RFC 9110 §7.8 lets a server ignore it).
    shouldUpgradeCallback: () => false,
  });
  // All lines are kept, so that the request path counts them itself: past this limit Node.js drops them unsaid.
  server.maxHeadersCount = 0;
  server.on("clientError", answerBrokenRequest);
  server.on("connect", refuseTunnel);

  let draining = false;
  return {
    async listen({ host, port }) {
      server.listen(host === undefined ? { port } : { host, port });
      try {
        await once(server, "listening");
      } catch (cause) {
        throw new ListenError({ host, port }, cause as NodeJS.ErrnoException);
      }
      return server.address() as AddressInfo;
    },

    serve(handle) {
      const handleWhileOpen = (clientRequest: IncomingMessage, clientResponse: ServerResponse) => {
        if (draining) clientResponse.setHeader("connection", "close");
        handle(clientRequest, clientResponse);
      };
      server.on("request", handleWhileOpen);
      // The request path sends "100 Continue" itself, when the request is really forwarded.
      server.on("checkContinue", handleWhileOpen);
    },

    async close(drainMilliseconds) {
      draining = true;
      if (!server.listening) return;
      await closeWithin(server, drainMilliseconds);
    },
  };
}

async function closeWithin(server: Server, drainMilliseconds: number): Promise<void> {
  const closed = once(server, "close");
  server.close();
  const deadline = setTimeout(() => server.closeAllConnections(), drainMilliseconds);
  // A connection that was busy when the server closed stays open when it falls idle: close those too.
  const idle = setInterval(() => server.closeIdleConnections(), 100);
  await closed;
  clearTimeout(deadline);
  clearInterval(idle);
}

/** What the parser refuses never becomes a request: it is answered here, and the connection closed. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
  // Nobody is there to be answered, or a response is already under way.
  if (error.code === "ECONNRESET" || !socket.writable || (socket as Socket).bytesWritten > 0) {
    socket.destroy(error);
    return;
  }
  socket.end(rawProblem(problemOf(error.code)));
}

function problemOf(code: string | undefined): RequestProblem {
  if (code === "HPE_HEADER_OVERFLOW")
    return { code: "ERR_FIELDS_TOO_LARGE", detail: `the fields are larger than ${MAX_FIELD_BYTES} bytes` };
  if (code === "ERR_HTTP_REQUEST_TIMEOUT")
    return { code: "ERR_REQUEST_TIMEOUT", detail: "the request did not arrive in time" };
  return { code: "ERR_REQUEST_MALFORMED", detail: "this is not a valid HTTP/1.1 request" };
}

function refuseTunnel(_request: IncomingMessage, socket: Duplex): void {
  const problem = { code: "ERR_METHOD_NOT_ALLOWED", detail: "this is no tunnelling proxy" } as const;
  socket.on("error", () => socket.destroy());
  socket.end(rawProblem(problem, { allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" }));
}
