import { hash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { type ClientOptions, type ServerOptions, WebSocket, WebSocketServer } from "ws";

/** A real server of WebSockets. */
export interface WebSocketBackend extends AsyncDisposable {
  readonly url: string;
  /** Those that became a WebSocket, in order. */
  readonly handshakes: IncomingMessage[];
  readonly server: WebSocketServer;
  /** The next one that is opened. */
  connected(): Promise<WebSocket>;
  /** How many TCP connections there have been. */
  connections(): number;
}

/**
 * Starts a server that sends every message back.
 *
 * @param options of `ws`; with `verifyClient` it can refuse
 */
export async function startWebSocketBackend(options: ServerOptions = {}): Promise<WebSocketBackend> {
  const http = createServer((_request, response) => void response.end("plain"));
  const server = new WebSocketServer({ ...options, server: http });
  const handshakes: IncomingMessage[] = [];
  let connections = 0;
  http.on("connection", () => connections++);
  server.on("connection", (socket, request) => {
    handshakes.push(request);
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.on("error", () => {});
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  const { port } = http.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    handshakes,
    server,
    connections: () => connections,
    async connected() {
      const [socket] = (await once(server, "connection")) as [WebSocket];
      return socket;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of server.clients) socket.terminate();
      server.close();
      http.closeAllConnections();
      if (!http.listening) return;
      http.close();
      await once(http, "close");
    },
  };
}

/** Opens a WebSocket to a sidecar. */
export async function openWebSocket(
  url: string,
  { protocols = [], ...options }: ClientOptions & { readonly protocols?: string[] } = {},
): Promise<WebSocket> {
  const socket = new WebSocket(url.replace(/^http/, "ws"), protocols, options);
  await once(socket, "open");
  return socket;
}

/** What a sidecar answers to a handshake that it refuses. */
export async function refusedWebSocket(
  url: string,
  options: ClientOptions = {},
): Promise<{ readonly response: IncomingMessage; readonly body: string }> {
  const socket = new WebSocket(url.replace(/^http/, "ws"), options);
  const [, response] = (await once(socket, "unexpected-response")) as [unknown, IncomingMessage];
  let body = "";
  for await (const piece of response) body += piece;
  return { response, body };
}

/** The next message, as text. */
export async function nextMessage(socket: WebSocket): Promise<string> {
  const [data] = (await once(socket, "message")) as [Buffer];
  return data.toString();
}

/** The key of every raw handshake here, of RFC 6455 §1.3. */
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";

/** A handshake in bytes, with further field lines. */
export function rawHandshake(path: string, ...lines: readonly string[]): string {
  const own = ["Host: a", "Upgrade: websocket", `Sec-WebSocket-Key: ${KEY}`, "Sec-WebSocket-Version: 13"];
  const connection = lines.some((line) => /^connection:/i.test(line)) ? [] : ["Connection: Upgrade"];
  return `GET ${path} HTTP/1.1\r\n${[...own, ...connection, ...lines].join("\r\n")}\r\n\r\n`;
}

/** The field lines of the answer that opens a WebSocket. */
export const SWITCH_LINES = [
  "Upgrade: websocket",
  "Connection: Upgrade",
  `Sec-WebSocket-Accept: ${hash("sha1", `${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`, "base64")}`,
];

/** The answer that opens a WebSocket, in bytes. */
export function rawSwitch(...lines: readonly string[]): string {
  return `HTTP/1.1 101 Switching Protocols\r\n${[...SWITCH_LINES, ...lines].join("\r\n")}\r\n\r\n`;
}
