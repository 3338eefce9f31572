import type { IncomingMessage, ServerOptions, ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { RequestErrorCode } from "../../errors.ts";
import { http } from "../../node-http.ts";
import type { SourceEvent } from "../../refresh.ts";
import { keepsHttp10Connection } from "../client/connection-options.ts";
import { noteUnixSocket } from "../client/peer.ts";
import type { ClientSettings } from "../limits.ts";
import { answerProblem, type RequestProblem } from "../problem.ts";
import { requestIdOf } from "../request-id.ts";
import { DRAINING, NO_TUNNEL, REQUEST_LATE } from "../request-problems.ts";
import { asksForWebSocket, WebSocketHandshake } from "../websocket/websocket-handshake.ts";
import { ClientConnections } from "./client-connections.ts";
import { ConnectionLimit } from "./connection-limit.ts";
import { drain } from "./drain.ts";
import { Http2Connections } from "./http2-connections.ts";
import type { ListenAddress, ListenOptions } from "./listen-options.ts";
import { openAddress } from "./open-address.ts";
import { tellProtocols } from "./prior-knowledge.ts";
import { type AnswerRequest, RequestGate } from "./request-gate.ts";
import { Handshakes, tlsServerOptions } from "./tls.ts";
import { watchTlsFiles } from "./tls-reload.ts";

/** What answers what clients send. */
export interface ClientHandlers {
  readonly request: AnswerRequest;
  /** Without it a request for a WebSocket is a plain one. */
  upgrade?(handshake: WebSocketHandshake): void;
}

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
  /** Gives every request to these from now on, and those that have waited for it. */
  serve(handlers: ClientHandlers): void;
  /** What is under way now. */
  underWay(): { readonly requests: number; readonly tunnels: number };
  /**
   * Accepts no more connections, lets the requests under way end, and closes theirs behind them; then ends the tunnels.
   *
   * @param drainMilliseconds after this what is left is destroyed
   */
  close(drainMilliseconds: number): Promise<void>;
}

/** What a listener shares with others, and whom it tells. */
export interface ListenerSurroundings {
  /** Default: one of its own. */
  readonly connectionLimit?: ConnectionLimit;
  /** Told of what becomes of the files of `tls`. */
  readonly onTlsEvent?: (event: SourceEvent) => void;
  /** Told of each message that cannot be read as a request, and of each tunnel that is asked for. */
  readonly onUnreadable?: (code: RequestErrorCode) => void;
}

/** Creates a listener that does not listen yet. */
export function createListener(
  { address, tls, http2: speaksHttp2 }: ListenOptions,
  settings: ClientSettings,
  { connectionLimit, onTlsEvent = () => {}, onUnreadable = () => {} }: ListenerSurroundings = {},
): Listener {
  const { limits, timeouts } = settings;
  const limit = connectionLimit ?? new ConnectionLimit(limits.connections);
  const connections = new ClientConnections(limits.streams);
  const http2 = speaksHttp2 ? new Http2Connections(settings) : undefined;
  // A connection may come as soon as the address is open, and what answers its requests later.
  const gate = new RequestGate();
  gate.shut();
  let handlers: ClientHandlers | undefined;
  const upgrades = new WeakSet<IncomingMessage>();
  const httpOptions: ServerOptions = {
    ...httpOptionsOf(settings),
    // Only a WebSocket is tunnelled, and not before the responses that are owed; any other request to upgrade is a plain one.
    shouldUpgradeCallback(clientRequest) {
      if (asksForWebSocket(clientRequest) && connections.isIdle(clientRequest.socket)) return true;
      upgrades.add(clientRequest);
      return false;
    },
  };
  const tlsServer =
    tls &&
    createHttpsServer({ ...httpOptions, ...tlsServerOptions(tls, timeouts.headersSeconds, speaksHttp2) });
  const server = tlsServer ?? http.createServer(httpOptions);
  const handshakes = tlsServer && new Handshakes(tlsServer);
  let tlsFiles: { close(): void } | undefined;
  // That of a socket which was passed is known once it is open. Connections of the other kind come before its mode is set.
  let isUnix = address.kind === "unix";
  // All lines are kept, so that the request path counts them itself: past this limit Node.js drops them unsaid.
  server.maxHeadersCount = 0;
  server.prependListener("connection", (socket: Socket) => limit.add(socket));

  const refuse = (socket: Socket, problem: RequestProblem) => {
    onUnreadable(problem.code);
    connections.refuse(socket, problem);
  };

  // Requests come on what the handshake makes of a connection.
  const accepted = tlsServer ? "secureConnection" : "connection";
  // Node.js has put what speaks HTTP/1 there.
  const [speakHttp1] = server.listeners(accepted).slice(-1) as [(socket: Socket) => void];
  server.off(accepted, speakHttp1);
  const protocols = {
    http1: (socket: Socket) => speakHttp1.call(server, socket),
    http2(socket: Socket) {
      connections.handOver(socket);
      http2?.take(socket);
    },
    silent: (socket: Socket) => refuse(socket, REQUEST_LATE),
  };
  server.on(accepted, (socket: Socket) => {
    if (isUnix) noteUnixSocket(socket);
    connections.add(socket);
    limit.admit(socket);
    if (!http2) protocols.http1(socket);
    else if (!tlsServer) tellProtocols(socket, timeouts.headersSeconds * 1000, protocols);
    else if ((socket as TLSSocket).alpnProtocol === "h2") protocols.http2(socket);
    else protocols.http1(socket);
  });

  // What the parser refuses never becomes a request.
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    // Nobody is there to be answered.
    if (error.code === "ECONNRESET") socket.destroy();
    else refuse(socket as Socket, problemOf(error.code, limits.headerBytes));
  });
  server.on("connect", (_request, socket) => refuse(socket as Socket, NO_TUNNEL));

  const answer: AnswerRequest = (clientRequest, clientResponse) =>
    handlers?.request(clientRequest, clientResponse);
  const handleUnlessEnding = (clientRequest: IncomingMessage, clientResponse: ServerResponse) => {
    if (!connections.accept(clientRequest, clientResponse)) return;
    // Behind a request to upgrade that is not upgraded Node.js drops what has arrived already, so that the rest of a
    // request could look like a whole one.
    const isUpgrade = upgrades.has(clientRequest);
    const isLast = clientRequest.httpVersionMinor === 0 && !keepsHttp10Connection(clientRequest);
    if (isUpgrade || isLast) connections.endAfter(clientRequest, clientResponse);
    gate.pass(clientRequest, clientResponse, answer);
  };
  server.on("request", handleUnlessEnding);
  // The request path sends "100 Continue" itself, when the request is really forwarded, and ignores what else is expected.
  server.on("checkContinue", handleUnlessEnding);
  server.on("checkExpectation", handleUnlessEnding);
  server.on("upgrade", (clientRequest, stream, head) => {
    const socket = stream as Socket;
    const handshake = new WebSocketHandshake(clientRequest, socket, head, (end) =>
      connections.becomeTunnel(socket, end),
    );
    const { clientResponse } = handshake;
    if (!connections.accept(clientRequest, clientResponse)) return;
    if (connections.isDraining) {
      const requestId = requestIdOf(clientRequest.headers["x-request-id"]);
      return answerProblem(clientResponse, DRAINING, requestId);
    }
    gate.pass(clientRequest, clientResponse, () => {
      if (handlers?.upgrade) handlers.upgrade(handshake);
      else answer(clientRequest, clientResponse);
    });
  });
  http2?.serve((clientRequest, clientResponse) => gate.pass(clientRequest, clientResponse, answer));

  return {
    async listen() {
      if (tls && tlsServer) tlsFiles = await watchTlsFiles(tls, tlsServer, onTlsEvent);
      try {
        const opened = await openAddress(server, address);
        isUnix = opened.kind !== "tcp";
        return opened;
      } catch (error) {
        tlsFiles?.close();
        throw error;
      }
    },

    serve(next) {
      handlers = next;
      gate.open();
    },

    underWay() {
      const { requests, tunnels } = connections.underWay;
      return { requests: requests + (http2?.streamCount ?? 0), tunnels };
    },

    async close(drainMilliseconds) {
      tlsFiles?.close();
      if (server.listening) await drain({ server, gate, connections, http2, handshakes }, drainMilliseconds);
    },
  };
}

function httpOptionsOf({ limits, timeouts }: ClientSettings): ServerOptions {
  return {
    headersTimeout: timeouts.headersSeconds * 1000,
    requestTimeout: timeouts.requestSeconds * 1000,
    keepAliveTimeout: timeouts.keepAliveSeconds * 1000,
    connectionsCheckingInterval: 1000,
    maxHeaderSize: limits.headerBytes,
    noDelay: true,
    insecureHTTPParser: false,
    // The request path refuses a request without Host itself, with a problem.
    requireHostHeader: false,
  };
}

/** What is answered to bytes that the parser refuses, by the code of its error. */
function problemOf(code: string | undefined, headerBytes: number): RequestProblem {
  if (code === "HPE_HEADER_OVERFLOW")
    return {
      code: "ERR_FIELDS_TOO_LARGE",
      detail: `the request line and the fields are larger than ${headerBytes} bytes`,
    };
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return REQUEST_LATE;
  return { code: "ERR_REQUEST_MALFORMED", detail: "this is not a valid HTTP/1.1 request" };
}
