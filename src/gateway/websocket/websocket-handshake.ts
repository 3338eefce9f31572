import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { http } from "../../node-http.ts";
import { announceEnd, endConnection } from "../client/client-response.ts";
import { namesConnectionOption } from "../client/connection-options.ts";
import { hasBody } from "../client/message-body.ts";
import { answerProblem } from "../problem.ts";

/** 16 bytes in Base64 (RFC 6455 §4.1). */
const KEY = /^[A-Za-z0-9+/]{22}==$/;

/** A client waits for the answer before it sends more (RFC 6455 §4.1); what comes ahead all the same is kept up to here. */
const MAX_EARLY_BYTES = 64 * 1024;

/**
 * Whether a request asks for a WebSocket, and for nothing else. Two protocols, an unknown one or a body make it a plain
 * request: a server may ignore `Upgrade` (RFC 9110 §7.8).
 *
 * @see RFC 6455 §4.2.1
 */
export function asksForWebSocket(clientRequest: IncomingMessage): boolean {
  const { method, httpVersion, headers } = clientRequest;
  return (
    method === "GET" &&
    httpVersion === "1.1" &&
    headers.upgrade?.toLowerCase() === "websocket" &&
    namesConnectionOption(clientRequest, "upgrade") &&
    KEY.test(headers["sec-websocket-key"] ?? "") &&
    !hasBody(clientRequest)
  );
}

/**
 * The client's end of a handshake. Node.js has let the connection go: until it is known what becomes of the request, what
 * the client sends is kept here, and that it leaves is noticed.
 */
export class WebSocketHandshake {
  readonly clientRequest: IncomingMessage;
  /** For every answer but the switch of protocols. The connection closes after it. */
  readonly clientResponse: ServerResponse;
  readonly #socket: Socket;
  readonly #onSwitched: (end: () => void) => void;
  readonly #early: Buffer[] = [];
  #earlyBytes = 0;

  /**
   * @param head what came behind the request at once
   * @param onSwitched told of the switch of protocols, with what ends the tunnel
   */
  constructor(
    clientRequest: IncomingMessage,
    socket: Socket,
    head: Buffer,
    onSwitched: (end: () => void) => void,
  ) {
    this.clientRequest = clientRequest;
    this.clientResponse = new http.ServerResponse(clientRequest);
    this.#socket = socket;
    this.#onSwitched = onSwitched;
    this.clientResponse.assignSocket(socket);
    announceEnd(this.clientResponse);
    this.clientResponse.once("finish", () => endConnection(socket));
    socket.on("drain", this.#passDrain).on("end", this.#leave).on("data", this.#keep);
    this.#keep(head);
  }

  /**
   * Ends HTTP on this connection, which begins with what was sent ahead.
   *
   * @param end ends the tunnel that begins now
   */
  switchProtocols(end: () => void): Socket {
    const socket = this.#socket;
    socket.off("drain", this.#passDrain).off("end", this.#leave).off("data", this.#keep);
    this.clientResponse.detachSocket(socket);
    if (this.#earlyBytes > 0) socket.unshift(Buffer.concat(this.#early));
    this.#onSwitched(end);
    return socket;
  }

  readonly #keep = (bytes: Buffer): void => {
    if (this.clientResponse.headersSent) return;
    this.#early.push(bytes);
    this.#earlyBytes += bytes.length;
    if (this.#earlyBytes <= MAX_EARLY_BYTES) return;
    const detail = `more than ${MAX_EARLY_BYTES} bytes came before the WebSocket was open`;
    answerProblem(this.clientResponse, { code: "ERR_REQUEST_MALFORMED", detail }, undefined);
  };

  /** Without a WebSocket there is nothing that a client which has ended its side could do. */
  readonly #leave = (): void => {
    if (!this.clientResponse.writableEnded) this.#socket.destroy();
  };

  /** As the HTTP server does for responses of its own. */
  readonly #passDrain = (): void => {
    this.clientResponse.emit("drain");
  };
}
