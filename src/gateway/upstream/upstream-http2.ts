import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { errors } from "undici";
import type { Connect } from "./connector.ts";
import type { ConnectionUse, Transport, TransportHandler, TransportRequest } from "./transport.ts";
import { Http2Exchange } from "./upstream-http2-stream.ts";
import type { UpstreamOptions } from "./upstream-options.ts";

/** Streams at once on a connection whose backend has not said how many, and the most that are asked for of any. */
const MAX_STREAMS = 100;

/** A connection without a request is closed after that time; the end of an HTTP/2 connection loses no request. */
const IDLE_CONNECTION_MILLISECONDS = 60_000;

/** A backend that has chosen HTTP/1.1 may be replaced by one that speaks HTTP/2: it is asked again after that time. */
const FALLBACK_MILLISECONDS = 60_000;

/** How much of a response may be under way: on one stream, and on the whole connection. */
const STREAM_WINDOW_BYTES = 256 * 1024;
const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;

/** What {@link createHttp2Connections} needs beside the upstream. */
export interface Http2Parts {
  readonly connect: Connect;
  /** Where the backend has chosen HTTP/1.1 in the TLS handshake. */
  readonly fallback: Transport;
  /** Told where further requests may be sent, because the backend takes more at once. */
  readonly onRoom: () => void;
}

/**
 * Opens HTTP/2 connections to one origin, each with many requests at once. No connection is made before the first request.
 *
 * @see RFC 9113
 */
export function createHttp2Connections(
  { origin, connections: maxConnections, timeouts }: UpstreamOptions,
  { connect, fallback, onRoom }: Http2Parts,
): Transport {
  const { protocol, host } = new URL(origin);
  const isTls = protocol === "https:";
  const connections = new Set<Connection>();
  let isDestroyed = false;
  /** Until when the backend is not asked for HTTP/2 again, as `performance.now()` counts. */
  let fallbackUntil = 0;
  const onFallback = new Set<TransportHandler>();

  class Connection implements ConnectionUse {
    #session: ClientHttp2Session | undefined;
    #maxStreams = MAX_STREAMS;
    #streams = 0;
    #requests = 0;
    #waiting: [TransportRequest, TransportHandler][] = [];

    constructor() {
      connections.add(this);
      connect((error, socket) => {
        if (isDestroyed) {
          socket?.destroy();
          return;
        }
        if (error) this.#fail(error);
        else if (isTls && (socket as TLSSocket).alpnProtocol !== "h2") this.#fallBack(socket as Socket);
        else this.#open(socket as Socket);
      });
    }

    get hasRoom(): boolean {
      return this.#streams < this.#maxStreams;
    }

    begin(): boolean {
      this.#requests += 1;
      return this.#requests > 1;
    }

    add(request: TransportRequest, handler: TransportHandler): void {
      this.#streams += 1;
      if (this.#session) this.#begin(this.#session, request, handler);
      else this.#waiting.push([request, handler]);
    }

    destroy(): void {
      this.#fail(new errors.ClientDestroyedError());
      this.#session?.destroy();
    }

    #open(socket: Socket): void {
      const options = {
        createConnection: () => socket,
        peerMaxConcurrentStreams: MAX_STREAMS,
        maxHeaderListPairs: 1000,
        // A field goes on as often as it came, as it does over HTTP/1.1.
        strictSingleValueFields: false,
        settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES },
      };
      const session = connectHttp2(origin, options);
      this.#session = session;
      session.on("connect", () => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
      session.on("remoteSettings", ({ maxConcurrentStreams = MAX_STREAMS }) => {
        this.#maxStreams = Math.min(maxConcurrentStreams, MAX_STREAMS);
        onRoom();
      });
      // Each request hears of it by its stream.
      session.on("error", () => {});
      session.on("goaway", () => this.#retire());
      session.on("close", () => this.#retire());
      session.setTimeout(IDLE_CONNECTION_MILLISECONDS, () => {
        if (this.#streams === 0) this.#retire();
      });
      for (const [request, handler] of this.#waiting.splice(0)) this.#begin(session, request, handler);
    }

    #begin(session: ClientHttp2Session, request: TransportRequest, handler: TransportHandler): void {
      handler.connection = this;
      const { method, target, fields } = request;
      const hostAt = fields.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === "host");
      const authority = hostAt === -1 ? host : (fields[hostAt + 1] as string);
      const pseudoFields = [":method", method, ":scheme", isTls ? "https" : "http"];
      pseudoFields.push(":authority", authority, ":path", target);
      const exchange = new Http2Exchange(request, handler, timeouts.headersSeconds * 1000, () =>
        this.#retire(),
      );
      exchange.begin(session, pseudoFields, () => {
        this.#streams -= 1;
        onRoom();
      });
    }

    /** Takes no further request, and closes behind those that are under way. */
    #retire(): void {
      connections.delete(this);
      if (this.#session?.closed === false) this.#session.close();
    }

    #fail(error: Error): void {
      connections.delete(this);
      for (const [, handler] of this.#waiting.splice(0)) handler.onResponseError?.(null as never, error);
    }

    #fallBack(socket: Socket): void {
      connections.delete(this);
      socket.destroy();
      fallbackUntil = performance.now() + FALLBACK_MILLISECONDS;
      for (const [request, handler] of this.#waiting.splice(0)) dispatchToFallback(request, handler);
    }
  }

  function dispatchToFallback(request: TransportRequest, handler: TransportHandler): void {
    onFallback.add(handler);
    fallback.dispatch(request, handler);
  }

  function usesFallback(): boolean {
    return fallbackUntil !== 0 && performance.now() < fallbackUntil;
  }

  function connectionWithRoom(): Connection | undefined {
    for (const connection of connections) if (connection.hasRoom) return connection;
    return undefined;
  }

  return {
    hasRoom() {
      if (usesFallback()) return fallback.hasRoom();
      return connectionWithRoom() !== undefined || connections.size < maxConnections;
    },
    dispatch(request, handler) {
      if (isDestroyed)
        return void handler.onResponseError?.(null as never, new errors.ClientDestroyedError());
      if (usesFallback()) return dispatchToFallback(request, handler);
      (connectionWithRoom() ?? new Connection()).add(request, handler);
    },
    release(handler) {
      if (onFallback.delete(handler)) fallback.release(handler);
    },
    async destroy() {
      isDestroyed = true;
      for (const connection of [...connections]) connection.destroy();
      await fallback.destroy();
    },
  };
}
