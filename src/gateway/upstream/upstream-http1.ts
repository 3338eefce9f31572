import { Client, Pool } from "undici";
import type { Connect } from "./connector.ts";
import type { Transport, TransportHandler } from "./transport.ts";
import type { UpstreamOptions } from "./upstream-options.ts";

/** Backends often drop an idle connection after 5 s; undici drops it first, or when the backend's Keep-Alive says. */
const IDLE_CONNECTION_MILLISECONDS = 4000;

/** Opens a pool of HTTP/1.1 connections to one origin. No connection is made before the first request. */
export function createHttp1Connections(
  { origin, connections, timeouts, tls }: UpstreamOptions,
  connect: Connect,
): Transport {
  let used = 0;
  const pool = new Pool(origin, {
    connections,
    factory: (origin, options) => new Connection(origin, options as Client.Options, connect),
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: IDLE_CONNECTION_MILLISECONDS,
    headersTimeout: timeouts.headersSeconds * 1000,
    // Counted by whoever relays the response: only its fields say whether it is a stream of events.
    bodyTimeout: 0,
  });
  // undici would take another name for another certificate, and the client's Host field for the name.
  const servername = origin.startsWith("https:") ? (tls.serverName ?? new URL(origin).hostname) : undefined;
  return {
    hasRoom: () => used < connections,
    dispatch({ method, target, fields, body }, handler) {
      used += 1;
      pool.dispatch(
        { method, path: target, headers: fields, body, ...(servername && { servername }) },
        handler,
      );
    },
    release() {
      used -= 1;
    },
    destroy: () => pool.destroy(),
  };
}

/** One connection at a time, with one request on it at a time. */
class Connection extends Client {
  /** Requests on the connection that is open. */
  #requests = 0;

  constructor(origin: URL, options: Client.Options, connect: Connect) {
    super(origin, {
      ...options,
      connect: (_target, done) =>
        connect((error, socket) => {
          this.#requests = 0;
          if (error) done(error, null);
          else done(null, socket as NonNullable<typeof socket>);
        }),
    });
  }

  override dispatch(options: Parameters<Client["dispatch"]>[0], handler: TransportHandler): boolean {
    handler.connection = this;
    return super.dispatch(options, handler);
  }

  /** To be called as a request begins: whether another has been on its connection. */
  begin(): boolean {
    this.#requests += 1;
    return this.#requests > 1;
  }
}
