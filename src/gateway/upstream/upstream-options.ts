/** Where requests go, and how long that may take. Durations are in seconds. */
export interface UpstreamOptions {
  /** Scheme, host and port, such as `http://127.0.0.1:9000`; of a Unix socket `http://localhost`. */
  readonly origin: string;
  /** The absolute path of a Unix socket that is connected to instead; `undefined`: TCP. */
  readonly socketPath: string | undefined;
  readonly preserveHost: boolean;
  /** HTTP/2: by ALPN over https, else with prior knowledge (RFC 9113 §3.3). */
  readonly http2: boolean;
  /** For https alone. */
  readonly tls: UpstreamTlsOptions;
  /** How many connections are open at once, at most. */
  readonly connections: number;
  /** How many requests wait for a connection at once, at most. */
  readonly pending: number;
  readonly timeouts: {
    readonly connectSeconds: number;
    /** From the end of the request to the response's fields. */
    readonly headersSeconds: number;
    /** Between two pieces of a response's body. */
    readonly bodySeconds: number;
    /** For a connection to be free. */
    readonly pendingSeconds: number;
  };
  /** `undefined`: the backend is not asked how it is. */
  readonly healthCheck: HealthCheckOptions | undefined;
}

/** How a backend proves who it is, and Countersign to the backend. Files are PEM, their paths absolute. */
export interface UpstreamTlsOptions {
  /** CAs; `undefined`: those that Node.js brings. */
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** The name in the backend's certificate; `undefined`: the host of the origin. */
  readonly serverName: string | undefined;
  readonly skipVerification: boolean;
}

/** How a backend is asked how it is. */
export interface HealthCheckOptions {
  /** Origin-form. */
  readonly path: string;
  readonly intervalSeconds: number;
  readonly timeoutSeconds: number;
}

/** An upstream as messages name it: its origin, or `unix:` and the path of its socket. */
export function formatUpstream({
  origin,
  socketPath,
}: Pick<UpstreamOptions, "origin" | "socketPath">): string {
  return socketPath === undefined ? origin : `unix:${socketPath}`;
}
