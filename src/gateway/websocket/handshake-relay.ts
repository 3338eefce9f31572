import { hash } from "node:crypto";
import type { ClientRequest, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { errors } from "undici";
import { endConnection } from "../client/client-response.ts";
import { isChunkedAlone } from "../client/message-body.ts";
import { clientResponseFields, fieldRecord } from "../fields.ts";
import type { RequestRecord } from "../request-record.ts";
import type { WebSocketHandshake } from "./websocket-handshake.ts";

/** How long a handshake may take, in seconds. */
export interface HandshakeTimeouts {
  /** From the connection to the fields of the answer. */
  readonly headersSeconds: number;
  /** Between two pieces of an answer that is no switch of protocols. */
  readonly bodySeconds: number;
  /** For the client to take a piece of such an answer. */
  readonly sendSeconds: number;
}

/** The part of a record that is filled while a handshake is sent on. */
export type HandshakeRecord = Pick<
  RequestRecord,
  "forwardedAt" | "upstreamRespondedAt" | "upstreamStatus" | "isTunnel"
>;

/** What a relay needs beside the handshake. */
export interface HandshakeRelayOptions {
  readonly timeouts: HandshakeTimeouts;
  /** What ends when the backend is given up: requests that wait for their answer, and tunnels. */
  readonly live: Set<ClientRequest | Duplex>;
  readonly record: HandshakeRecord;
  /** Called once at most. */
  readonly onFailure: (cause: Error) => void;
}

/** A tunnel may be silent for as long as it likes; a peer that is gone without a word is found out. */
const KEEP_ALIVE_DELAY_MILLISECONDS = 60_000;

/**
 * Carries the answer to one handshake to the client, in place of what http-proxy-3 would do: that takes any switch of
 * protocols for the right one, and any other response for well framed.
 */
export class HandshakeRelay {
  readonly #handshake: WebSocketHandshake;
  readonly #upstreamRequest: ClientRequest;
  readonly #options: HandshakeRelayOptions;
  /** What http-proxy-3 does on a switch of protocols: writes its fields, and pipes both ways. */
  readonly #open: (response: IncomingMessage, upstreamSocket: Duplex, head: Buffer) => void;
  #deadline: NodeJS.Timeout | undefined;
  #isSettled = false;

  /** @param upstreamRequest as http-proxy-3 has just begun it; what it listens to is taken over */
  constructor(handshake: WebSocketHandshake, upstreamRequest: ClientRequest, options: HandshakeRelayOptions) {
    const [open] = upstreamRequest.listeners("upgrade");
    for (const event of ["upgrade", "response", "error"]) upstreamRequest.removeAllListeners(event);
    this.#handshake = handshake;
    this.#upstreamRequest = upstreamRequest;
    this.#options = options;
    this.#open = open as (...answer: unknown[]) => void;
    upstreamRequest.on("upgrade", (response, socket, head) => this.#switchProtocols(response, socket, head));
    upstreamRequest.on("response", (response) => this.#relay(response));
    upstreamRequest.on("error", (error) => this.#fail(error));
    // Whether it was answered or has left: nobody waits for the upstream any more.
    handshake.clientResponse.once("close", () => {
      this.#settle();
      upstreamRequest.destroy();
    });
    const { timeouts, live } = options;
    live.add(upstreamRequest);
    // By now the connection is open.
    upstreamRequest.once("socket", () =>
      this.#expect(timeouts.headersSeconds, new errors.HeadersTimeoutError()),
    );
  }

  /** Something has to happen in this time. */
  #expect(seconds: number, cause: Error): void {
    clearTimeout(this.#deadline);
    if (this.#isSettled) return;
    this.#deadline = setTimeout(() => this.#fail(cause), seconds * 1000);
  }

  #settle(): void {
    this.#isSettled = true;
    clearTimeout(this.#deadline);
    this.#options.live.delete(this.#upstreamRequest);
  }

  #fail(cause: Error): void {
    if (this.#isSettled) return;
    this.#settle();
    const { clientResponse } = this.#handshake;
    // A cut response must not look like one that ended.
    if (clientResponse.headersSent) clientResponse.destroy();
    this.#options.onFailure(cause);
  }

  #noteAnswer({ statusCode }: IncomingMessage): void {
    this.#options.record.upstreamRespondedAt = performance.now();
    this.#options.record.upstreamStatus = statusCode;
  }

  /** Any answer but a switch of protocols is a response like that to a plain request. */
  #relay(response: IncomingMessage): void {
    this.#noteAnswer(response);
    const { clientResponse } = this.#handshake;
    const problem = responseProblemOf(response);
    if (problem !== undefined) {
      this.#fail(new Error(problem));
      return;
    }
    // The client has been told already that it sent too much.
    if (clientResponse.headersSent) return;
    clientResponse.writeHead(
      response.statusCode as number,
      clientResponseFields(response.statusCode as number, response.rawHeaders),
    );
    const { bodySeconds, sendSeconds } = this.#options.timeouts;
    const expectMore = () => this.#expect(bodySeconds, new errors.BodyTimeoutError());
    // A response that waits for its client is not late; but the client may be.
    const expectClient = () => {
      clearTimeout(this.#deadline);
      this.#deadline = setTimeout(() => clientResponse.destroy(), sendSeconds * 1000);
    };
    expectMore();
    response.on("data", () => this.#deadline?.refresh());
    response.on("pause", expectClient);
    clientResponse.on("drain", expectMore);
    response.on("end", () => {
      this.#settle();
      expectClient();
    });
    response.on("error", (error) => this.#fail(error));
    response.pipe(clientResponse);
  }

  #switchProtocols(response: IncomingMessage, upstreamSocket: Duplex, head: Buffer): void {
    this.#noteAnswer(response);
    const { clientRequest, clientResponse } = this.#handshake;
    const problem = switchProblemOf(response, clientRequest);
    if (problem !== undefined) this.#fail(new Error(problem));
    if (this.#isSettled || clientResponse.headersSent) {
      upstreamSocket.destroy();
      return;
    }
    this.#settle();
    this.#options.record.isTunnel = true;
    const clientSocket = this.#handshake.switchProtocols(() => {
      endSide(clientSocket);
      endSide(upstreamSocket as Socket);
    });
    const fields = clientResponseFields(101, response.rawHeaders);
    response.headers = fieldRecord(["connection", "Upgrade", "upgrade", "websocket", ...fields]);
    // The bytes of a field are Latin-1 to Node.js. http-proxy-3 would write them as UTF-8.
    clientSocket.setDefaultEncoding("latin1");
    this.#open(response, upstreamSocket, head);
    this.#options.live.add(upstreamSocket);
    upstreamSocket.once("close", () => this.#options.live.delete(upstreamSocket));
    tie(clientSocket, upstreamSocket as Socket);
    tie(upstreamSocket as Socket, clientSocket);
  }
}

/** What is wrong with a response; `undefined` where it can be relayed. */
function responseProblemOf({ statusCode = 0, headers }: IncomingMessage): string | undefined {
  if (statusCode < 200) return `the upstream answered ${statusCode} and did not say to which protocol`;
  const coding = headers["transfer-encoding"];
  if (coding === undefined || isChunkedAlone(coding)) return undefined;
  return `the transfer coding ${coding} is not known here`;
}

/** What is wrong with a switch of protocols; `undefined` where it is the one that was asked for (RFC 6455 §4.1). */
function switchProblemOf({ headers }: IncomingMessage, clientRequest: IncomingMessage): string | undefined {
  if (headers.upgrade?.toLowerCase() !== "websocket") return "the upstream switched to another protocol";
  const key = clientRequest.headers["sec-websocket-key"];
  const accept = hash("sha1", `${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`, "base64");
  return headers["sec-websocket-accept"] === accept
    ? undefined
    : "the upstream took another Sec-WebSocket-Key";
}

/** A side that has sent its last byte may go on reading; one that breaks off ends the other, which http-proxy-3 leaves open. */
function tie(side: Socket, other: Socket): void {
  side.allowHalfOpen = true;
  side.setKeepAlive(true, KEEP_ALIVE_DELAY_MILLISECONDS);
  side.once("close", () => {
    if (!side.readableEnded || !side.writableFinished) other.destroy();
  });
}

/** What still comes from the other side must not be written behind the end. */
function endSide(side: Socket): void {
  side.unpipe();
  endConnection(side);
}
