/** How much one client, or all of them, may ask for. */
export interface Limits {
  /** The request line and all fields together, without what stands between names and values. */
  readonly headerBytes: number;
  /** Field lines of a request. */
  readonly headerCount: number;
  /** The body of a request; `undefined`: any. */
  readonly bodyBytes: number | undefined;
  /** Connections of clients at once. */
  readonly connections: number;
  /** Requests at once on one connection, as streams of HTTP/2 or pipelined. */
  readonly streams: number;
}

/** How long a client may take. In seconds. */
export interface ClientTimeouts {
  /** For the request's fields, and before them for the TLS handshake. */
  readonly headersSeconds: number;
  /** For the whole request. */
  readonly requestSeconds: number;
  /** For a piece of a response to be taken. */
  readonly sendSeconds: number;
  /** How long a connection stays open without a request. */
  readonly keepAliveSeconds: number;
}

/** What holds for clients. */
export interface ClientSettings {
  readonly limits: Limits;
  readonly timeouts: ClientTimeouts;
}
