import type { ClientRequest, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { ProxyServer } from "http-proxy-3";
import { errors } from "undici";
import { http } from "../../node-http.ts";
import { fieldRecord, type RawFields } from "../fields.ts";
import type { Connect } from "../upstream/connector.ts";
import { type HandshakeRecord, HandshakeRelay, type HandshakeTimeouts } from "./handshake-relay.ts";
import type { WebSocketHandshake } from "./websocket-handshake.ts";

/** A handshake that is ready to be sent on. */
export interface UpstreamHandshake {
  /** Origin-form: path and query. */
  readonly target: string;
  /** Without those of the connection. */
  readonly fields: RawFields;
  /** Told of what comes from the backend. */
  readonly record: HandshakeRecord;
}

/** The tunnels to one backend. */
export interface WebSocketTunnels {
  /**
   * Sends a handshake on. Where the backend switches protocols, bytes go both ways until both sides have ended; any other
   * answer is relayed as a response. Where it fails before, or that response does, `onFailure` is called once.
   */
  open(
    handshake: WebSocketHandshake,
    upstreamHandshake: UpstreamHandshake,
    onFailure: (cause: Error) => void,
  ): void;
  /** Ends every tunnel at once, and every handshake. */
  destroy(): void;
}

const NOTHING = Buffer.alloc(0);

/** Has each connection made as those of plain requests are. */
class ConnectingAgent extends http.Agent {
  readonly #connect: Connect;

  constructor(connect: Connect) {
    super();
    this.#connect = connect;
  }

  override createConnection(
    _options: unknown,
    done: (error: Error | null, socket: Duplex) => void,
  ): undefined {
    this.#connect((error, socket) => done(error, socket as Duplex));
  }
}

/**
 * Opens nothing yet. Each tunnel has a connection of its own.
 *
 * @param origin what a handshake without Host is for
 * @param connect opens a connection
 */
export function createWebSocketTunnels(
  { origin, timeouts }: { readonly origin: string; readonly timeouts: HandshakeTimeouts },
  connect: Connect,
): WebSocketTunnels {
  const { host } = new URL(origin);
  const proxy = new ProxyServer({
    // Where that is and whether TLS is spoken there is left to `connect`.
    target: { protocol: "http:", host: "localhost", hostname: "localhost", port: 80 },
    agent: new ConnectingAgent(connect),
    // It would parse and join paths, and so change some: the path is set below, byte for byte.
    toProxy: true,
    ignorePath: true,
    prependPath: false,
  });
  // Of the client's connection: that it has closed is what counts.
  proxy.on("error", () => {});
  let upstreamRequest: ClientRequest;
  proxy.on("proxyReqWs", (begun, { url = "" }) => {
    begun.path = url;
    upstreamRequest = begun;
  });
  const live = new Set<ClientRequest | Duplex>();

  return {
    open(handshake, upstreamHandshake, onFailure) {
      const { socket } = handshake.clientRequest;
      proxy.ws(messageOf(upstreamHandshake, host, socket), socket, NOTHING, () => {});
      const { record } = upstreamHandshake;
      record.forwardedAt = performance.now();
      new HandshakeRelay(handshake, upstreamRequest, { timeouts, live, record, onFailure });
    },
    destroy() {
      for (const end of live) end.destroy(new errors.ClientDestroyedError());
    },
  };
}

/** The request as http-proxy-3 sees it: nothing that was taken out is within its reach. */
function messageOf({ target, fields }: UpstreamHandshake, host: string, socket: Socket): IncomingMessage {
  const message = new http.IncomingMessage(socket);
  message.method = "GET";
  message.url = target;
  message.httpVersion = "1.1";
  message.headers = { host, ...fieldRecord([...fields, "connection", "Upgrade", "upgrade", "websocket"]) };
  return message;
}
