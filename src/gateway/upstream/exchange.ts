import type { IncomingHttpHeaders } from "node:http";
import type { Dispatcher } from "undici";
import type { ClientRequest, ClientResponse } from "../client/client-message.ts";
import { endResponse, isGone, writePiece } from "../client/client-response.ts";
import { cutResponse } from "../client/cut-response.ts";
import { isChunkedAlone } from "../client/message-body.ts";
import { hasNoContent, sendHead, sendInterim, sendTrailers } from "../client/response-relay.ts";
import type { RequestRecord } from "../request-record.ts";
import { mayRetry } from "./retry.ts";
import type { Watched } from "./stall-watch.ts";
import type { ConnectionUse, HeadController, TransportHandler, TransportRequest } from "./transport.ts";
import {
  codeOf,
  failureOf,
  type UpstreamFailure,
  UpstreamSilent,
  WAITED_TOO_LONG,
} from "./upstream-failure.ts";

/** A media type knows no case (RFC 9110 §8.3.1). Of a repeated field, which undici gives as a list, the first counts. */
const EVENT_STREAM = /^text\/event-stream\b/i;

/** How long an exchange may wait, in ticks of the watch. */
export interface Patience {
  /** For a connection. */
  readonly pendingTicks: number;
  /** For the next piece of the response. */
  readonly bodyTicks: number;
  /** For the client to take a piece of the response. */
  readonly sendTicks: number;
}

/** Who has begun an exchange, and is told what becomes of it. */
export interface ExchangeOwner {
  readonly patience: Patience;
  /** It is to be sent once more. */
  retry(exchange: Exchange): void;
  /** Nothing more comes from the upstream, and nothing goes there. */
  settled(exchange: Exchange): void;
  /** The client has the whole response, or has gone. */
  closed(exchange: Exchange): void;
}

/** The part of a record that is filled while a request is forwarded. */
export type ExchangeRecord = Pick<
  RequestRecord,
  "forwardedAt" | "upstreamRespondedAt" | "upstreamStatus" | "receivedBytes" | "relayedBytes"
>;

/** What an exchange is between. */
export interface ExchangeParties {
  readonly clientRequest: ClientRequest;
  readonly clientResponse: ClientResponse;
  readonly request: TransportRequest;
  readonly record: ExchangeRecord;
}

/** Carries one request to the upstream and its response to the client, at the client's speed. */
export class Exchange implements TransportHandler, Watched {
  readonly request: TransportRequest;
  watchIndex = 0;
  readonly #clientRequest: ClientRequest;
  readonly #clientResponse: ClientResponse;
  readonly #record: ExchangeRecord;
  readonly #owner: ExchangeOwner;
  readonly #onFailure: (failure: UpstreamFailure) => void;
  /** It has not been dispatched: it waits for a connection to be free. */
  isWaiting = false;
  connection: ConnectionUse | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #isReused = false;
  #isAnswered = false;
  #isRetried = false;
  #isRelaying = false;
  #isEventStream = false;
  #hasContent = true;
  /** The value of Content-Length in the response; a list where there are several. */
  #contentLength: string | string[] | undefined;
  /** Nothing is read from the upstream, until the client has taken what there is. */
  #isBlocked = false;
  #isSettled = false;
  #clientIsGone = false;
  /** Since something came from the upstream, or since it has begun to wait. */
  #ticks = 0;
  /** What the client had taken of it at the last tick, more or less; and since when it is that much, while more waits. */
  #taken = 0;
  #stuckTicks = 0;

  constructor(
    { clientRequest, clientResponse, request, record }: ExchangeParties,
    owner: ExchangeOwner,
    onFailure: (failure: UpstreamFailure) => void,
  ) {
    this.#clientRequest = clientRequest;
    this.#clientResponse = clientResponse;
    this.request = request;
    this.#record = record;
    this.#owner = owner;
    this.#onFailure = onFailure;
    // Also where the client was answered otherwise: nobody waits for the upstream any more.
    clientResponse.on("close", () => {
      this.#owner.closed(this);
      if (this.#isSettled) return;
      this.#clientIsGone = true;
      if (this.isWaiting) this.#settle();
      else this.#controller?.abort(new ClientGone());
    });
  }

  /** Whether it is of no use to send it (again), because nobody waits for it. */
  get isAbandoned(): boolean {
    return this.#clientIsGone;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    this.#isReused = this.connection?.begin() ?? false;
    if (this.#clientIsGone) controller.abort(new ClientGone());
  }

  onResponseStarted(): void {
    this.#isAnswered = true;
  }

  onResponseStart(
    controller: HeadController,
    statusCode: number,
    headers: IncomingHttpHeaders,
    statusMessage = "",
  ): void {
    this.#ticks = 0;
    // The client has been told already that the rest of its request cannot be read.
    if (this.#clientResponse.headersSent) {
      controller.abort(new ClientGone());
      return;
    }
    const rawFields = controller.rawHeaders as Buffer[];
    // The final one follows (RFC 9110 §15.2).
    if (statusCode < 200) {
      sendInterim(this.#clientRequest, this.#clientResponse, statusCode, rawFields);
      return;
    }
    const { "transfer-encoding": transferEncoding, "content-type": contentType } = headers;
    this.#contentLength = headers["content-length"];
    if (transferEncoding !== undefined && !isChunkedAlone(transferEncoding)) {
      controller.abort(new Error(`the transfer coding ${transferEncoding} is not known here`));
      return;
    }
    this.#record.upstreamRespondedAt = performance.now();
    this.#record.upstreamStatus = statusCode;
    // A stream of events may be silent for as long as nothing happens.
    this.#isEventStream = EVENT_STREAM.test(String(contentType));
    this.#hasContent = !hasNoContent(statusCode);
    const isAlone = controller.isHeadAlone ?? false;
    sendHead(this.#clientRequest, this.#clientResponse, { statusCode, statusMessage, rawFields, isAlone });
    this.#isRelaying = true;
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#ticks = 0;
    this.#record.relayedBytes += chunk.length;
    if (this.#hasContent && !writePiece(this.#clientResponse, chunk)) {
      this.#isBlocked = true;
      controller.pause();
      this.#clientResponse.once("drain", () => {
        this.#isBlocked = false;
        controller.resume();
      });
    }
  }

  onResponseEnd({ rawTrailers }: Dispatcher.DispatchController): void {
    this.#settle();
    if (rawTrailers) sendTrailers(this.#clientRequest, this.#clientResponse, rawTrailers as Buffer[]);
    endResponse(this.#clientResponse);
  }

  onResponseError(_controller: Dispatcher.DispatchController, cause: Error): void {
    if (this.#isSettled) return;
    if (cause instanceof ClientGone || this.#clientRequest.errored || isGone(this.#clientResponse)) {
      this.#settle();
      return;
    }
    if (this.#isWhole(cause)) {
      this.#settle();
      endResponse(this.#clientResponse);
      return;
    }
    if (this.#mayRetry(cause)) {
      this.#isRetried = true;
      this.#controller = undefined;
      this.connection = undefined;
      this.#owner.retry(this);
      return;
    }
    this.#fail(failureOf(cause));
  }

  /** It was dispatched, found nobody waiting, and so was not sent; or it will never be. */
  drop(): void {
    this.#settle();
  }

  tick(): void {
    if (this.#isRelaying && this.#clientTakesNothing()) {
      // Whatever is under way to it is given up with the connection.
      cutResponse(this.#clientRequest, this.#clientResponse);
      return;
    }
    if (this.#isSettled) return;
    if (this.isWaiting) {
      this.#ticks += 1;
      if (this.#ticks >= this.#owner.patience.pendingTicks) this.#fail(WAITED_TOO_LONG);
    } else if (this.#isRelaying && !this.#isEventStream && !this.#isBlocked) {
      this.#ticks += 1;
      if (this.#ticks >= this.#owner.patience.bodyTicks) this.#controller?.abort(new UpstreamSilent());
    }
  }

  /** Whether bytes wait for the client, and it has taken none of them for too long. */
  #clientTakesNothing(): boolean {
    const { writableLength, socket } = this.#clientResponse;
    const taken = this.#record.relayedBytes - writableLength;
    // One that waits behind another response on its connection has no connection yet.
    const isStuck = writableLength > 0 && taken === this.#taken && socket;
    this.#taken = taken;
    this.#stuckTicks = isStuck ? this.#stuckTicks + 1 : 0;
    return this.#stuckTicks >= this.#owner.patience.sendTicks;
  }

  /**
   * Whether a response whose length is said to be wrong has come whole. undici takes a space behind the number, which is no
   * part of it (RFC 9110 §5.5), for one digit more.
   */
  #isWhole(cause: Error): boolean {
    if (codeOf(cause) !== "UND_ERR_RES_CONTENT_LENGTH_MISMATCH" || !this.#isRelaying) return false;
    const [, length] = /^(\d+) +$/.exec(String(this.#contentLength)) ?? [];
    return Number(length) === this.#record.relayedBytes;
  }

  #mayRetry(cause: Error): boolean {
    const { method, body } = this.request;
    if (this.#isRetried || this.#clientResponse.headersSent || body?.destroyed) return false;
    const progress = {
      method,
      hasBody: body !== null,
      isBodyRead: body?.readableDidRead ?? false,
      isBegun: this.#controller !== undefined,
      isReused: this.#isReused,
      isAnswered: this.#isAnswered,
    };
    return mayRetry(progress, cause);
  }

  #fail(failure: UpstreamFailure): void {
    this.#settle();
    if (this.#clientResponse.headersSent) cutResponse(this.#clientRequest, this.#clientResponse);
    this.#onFailure(failure);
  }

  #settle(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#owner.settled(this);
  }
}

/** Why an exchange was given up: nobody waits for its response. */
class ClientGone extends Error {
  constructor() {
    super("the client has gone away");
  }
}
