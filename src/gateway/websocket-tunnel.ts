import { Agent, type ClientRequest, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { ProxyServer } from "http-proxy-3";
import { errors } from "undici";
import { fieldRecord, type RawFields } from "./fields.ts";
import { HandshakeRelay } from "./handshake-relay.ts";
import type { WebSocketHandshake } from "./websocket-handshake.ts";

/** Where tunnels lead, and how long a handshake may take. Durations are in seconds. */
export interface WebSocketTunnelOptions {
  /** Scheme, host and port. */
  readonly origin: string;
  readonly timeouts: {
    readonly connectSeconds: number;
    /** From the connection to the fields of the answer. */
    readonly headersSeconds: number;
    /** Between two pieces of an answer that is no switch of protocols. */
    readonly bodySeconds: number;
  };
}

/** A handshake that is ready to be sent on. */
export interface UpstreamHandshake {
  /** Origin-form: path and query. */
  readonly target: string;
  /** Without those of the connection. */
  readonly fields: RawFields;
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

/** Opens nothing yet. Each tunnel has a connection of its own. */
export function createWebSocketTunnels({ origin, timeouts }: WebSocketTunnelOptions): WebSocketTunnels {
  const { protocol, hostname, port } = new URL(origin);
  const proxy = new ProxyServer({
    target: { protocol, host: hostname, hostname, port: Number(port || 80) },
    agent: new Agent(),
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
      proxy.ws(messageOf(upstreamHandshake, socket), socket, NOTHING, () => {});
      new HandshakeRelay(handshake, upstreamRequest, { timeouts, live, onFailure });
    },
    destroy() {
      for (const end of live) end.destroy(new errors.ClientDestroyedError());
    },
  };
}

/** The request as http-proxy-3 sees it: nothing that was taken out is within its reach. */
function messageOf({ target, fields }: UpstreamHandshake, socket: Socket): IncomingMessage {
  const message = new IncomingMessage(socket);
  message.method = "GET";
  message.url = target;
  message.httpVersion = "1.1";
  message.headers = fieldRecord([...fields, "connection", "Upgrade", "upgrade", "websocket"]);
  return message;
}
