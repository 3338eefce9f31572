import type { SourceEvent } from "../../refresh.ts";
import type { ClientRequest, ClientResponse } from "../client/client-message.ts";
import { RequestBody } from "../client/message-body.ts";
import { acceptsTrailers } from "../client/response-relay.ts";
import type { RawFields } from "../fields.ts";
import type { WebSocketHandshake } from "../websocket/websocket-handshake.ts";
import { createWebSocketTunnels, type UpstreamHandshake } from "../websocket/websocket-tunnel.ts";
import { createConnector } from "./connector.ts";
import { Exchange, type ExchangeOwner, type ExchangeRecord } from "./exchange.ts";
import { createHealthCheck, type HealthCheck, type UpstreamHealth } from "./health-check.ts";
import { StallWatch, ticksOf } from "./stall-watch.ts";
import type { Transport } from "./transport.ts";
import { failureOf, TOO_MANY_WAIT, type UpstreamFailure } from "./upstream-failure.ts";
import { createHttp1Connections } from "./upstream-http1.ts";
import { createHttp2Connections } from "./upstream-http2.ts";
import { formatUpstream, type HealthCheckOptions, type UpstreamOptions } from "./upstream-options.ts";
import { openUpstreamTls, type UpstreamTls } from "./upstream-tls.ts";

/** A request that is ready to be sent on. */
export interface UpstreamRequest {
  readonly method: string;
  /** Origin-form: path and query. */
  readonly target: string;
  readonly fields: RawFields;
  /** The client's message is the body, where it has one. */
  readonly hasBody: boolean;
  /** The longest body that goes on; `undefined`: any. */
  readonly maxBodyBytes: number | undefined;
  /** Told of what comes from the backend. */
  readonly record: ExchangeRecord;
}

/** The backend, behind a pool of connections. */
export interface Upstream {
  /** Its origin, for messages; of a Unix socket `unix:/run/app.sock`. */
  readonly name: string;
  /**
   * Sends one request and relays its response, both as streams. Where that fails `onFailure` is called once;
   * the client's connection is destroyed where a part of the response had been relayed.
   */
  forward(
    clientRequest: ClientRequest,
    clientResponse: ClientResponse,
    upstreamRequest: UpstreamRequest,
    onFailure: (failure: UpstreamFailure) => void,
  ): void;
  /**
   * Sends a handshake on and opens a tunnel where the backend does; relays any other answer. Where that fails `onFailure`
   * is called once.
   */
  tunnel(
    handshake: WebSocketHandshake,
    upstreamHandshake: UpstreamHandshake,
    onFailure: (failure: UpstreamFailure) => void,
  ): void;
  /** Begins to ask the backend how it is, where that is configured. */
  startHealthCheck(): void;
  /** How the backend is; `undefined` where it is not asked. */
  health(): UpstreamHealth | undefined;
  /** Ends every connection at once, and stops watching. */
  destroy(): Promise<void>;
}

/** What {@link openUpstream} needs beside its options. */
export interface UpstreamSurroundings {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** For a client to take a piece of a response. */
  readonly sendSeconds: number;
  /** Told when its files were read again, and when it is healthy or not. */
  readonly onEvent: (event: SourceEvent) => void;
}

/**
 * Reads the files of an upstream, and opens a pool of connections to it. No connection is made before the first request.
 *
 * @throws {UpstreamFileError} ERR_UPSTREAM_FILE when a file of `tls` cannot be used
 */
export async function openUpstream(
  options: UpstreamOptions,
  { now, sendSeconds, onEvent }: UpstreamSurroundings,
): Promise<Upstream> {
  const { timeouts, pending } = options;
  const tls = await openUpstreamTls(options.tls, onEvent);
  const watch = new StallWatch();
  const waiting = new Set<Exchange>();
  const transport = createTransport(options, tls, admit);
  const tunnels = createWebSocketTunnels(
    { origin: options.origin, timeouts: { ...timeouts, sendSeconds } },
    connectorOf(options, tls, false),
  );
  const healthCheck = options.healthCheck && createHealthCheckOf(options, tls, { now, onEvent });

  const owner: ExchangeOwner = {
    patience: {
      pendingTicks: ticksOf(timeouts.pendingSeconds),
      bodyTicks: ticksOf(timeouts.bodySeconds),
      sendTicks: ticksOf(sendSeconds),
    },
    retry(exchange) {
      // Not within the failure, where the connection that has failed could still be taken.
      setImmediate(() => {
        if (exchange.isAbandoned) return exchange.drop();
        transport.release(exchange);
        if (transport.hasRoom()) return transport.dispatch(exchange.request, exchange);
        // A backend that refuses streams has no room for it now: as for a new one, another request has to end first.
        exchange.isWaiting = true;
        waiting.add(exchange);
      });
    },
    settled(exchange) {
      if (waiting.delete(exchange)) return;
      transport.release(exchange);
      if (waiting.size > 0) admit();
    },
    closed: (exchange) => watch.delete(exchange),
  };

  /** Sends what has waited, in order, for as long as there is room. */
  function admit(): void {
    for (const exchange of waiting) {
      if (!transport.hasRoom()) return;
      waiting.delete(exchange);
      exchange.isWaiting = false;
      transport.dispatch(exchange.request, exchange);
    }
  }

  return {
    name: formatUpstream(options),
    forward(clientRequest, clientResponse, upstreamRequest, onFailure) {
      const { method, target, fields, hasBody, maxBodyBytes, record } = upstreamRequest;
      const hasRoom = waiting.size === 0 && transport.hasRoom();
      if (!hasRoom && waiting.size >= pending) return onFailure(TOO_MANY_WAIT);
      const request = {
        method,
        target,
        fields,
        body: hasBody ? new RequestBody(clientRequest, maxBodyBytes, record) : null,
        acceptsTrailers: options.http2 && acceptsTrailers(clientRequest),
      };
      record.forwardedAt = performance.now();
      const exchange = new Exchange({ clientRequest, clientResponse, request, record }, owner, onFailure);
      watch.add(exchange);
      if (hasRoom) return transport.dispatch(request, exchange);
      exchange.isWaiting = true;
      waiting.add(exchange);
    },
    tunnel(handshake, upstreamHandshake, onFailure) {
      tunnels.open(handshake, upstreamHandshake, (cause) => onFailure(failureOf(cause)));
    },
    startHealthCheck: () => healthCheck?.start(),
    health: () => healthCheck?.health(),
    async destroy() {
      tls.close();
      watch.close();
      tunnels.destroy();
      await healthCheck?.close();
      await transport.destroy();
    },
  };
}

/** Its connections are its own: one that is busy with requests says nothing about how the backend is. */
function createHealthCheckOf(
  options: UpstreamOptions,
  tls: UpstreamTls,
  surroundings: Omit<UpstreamSurroundings, "sendSeconds">,
): HealthCheck {
  const transport = createTransport({ ...options, connections: 1 }, tls, () => {});
  return createHealthCheck(
    formatUpstream(options),
    options.healthCheck as HealthCheckOptions,
    transport,
    surroundings,
  );
}

function createTransport(options: UpstreamOptions, tls: UpstreamTls, onRoom: () => void): Transport {
  const http1 = createHttp1Connections(options, connectorOf(options, tls, false));
  if (!options.http2) return http1;
  return createHttp2Connections(options, {
    connect: connectorOf(options, tls, true),
    fallback: http1,
    onRoom,
  });
}

/** New connections are made with what the files say now, and those under way go on. */
function connectorOf(options: UpstreamOptions, tls: UpstreamTls, offersHttp2: boolean) {
  let material = tls.current();
  let connect = createConnector(options, material, offersHttp2);
  return (done: Parameters<typeof connect>[0]) => {
    if (tls.current() !== material) {
      material = tls.current();
      connect = createConnector(options, material, offersHttp2);
    }
    connect(done);
  };
}
