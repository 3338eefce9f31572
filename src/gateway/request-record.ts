import type { RequestErrorCode } from "../errors.ts";
import type { TokenRequest } from "../issuer/claims-set.ts";
import type { Authentication } from "../policy/authenticate.ts";
import type { Policy } from "../policy/policy.ts";
import type { ClientRequest } from "./client/client-message.ts";
import type { RawFields } from "./fields.ts";

/**
 * What is known of one request, for whoever observes requests. It is filled while the request is under way: what has not
 * happened is `undefined`. Times are in milliseconds, of `performance.now()`.
 */
export class RequestRecord {
  readonly clientRequest: ClientRequest;
  readonly requestId: string;
  readonly receivedAt: number = performance.now();
  /** The other end of the connection, or the client that a trusted proxy names. */
  clientAddress: string | undefined;
  /** The policy that matched. */
  policy: Policy | undefined;
  /** What the authenticators of the policy came to. */
  authentication: Authentication | undefined;
  /** The `client_id` of the client that asked for a token at the token endpoint, once it is known to be one. */
  oauthClient: string | undefined;
  authenticatedAt: number | undefined;
  /** What the token was to say. */
  tokenRequest: TokenRequest | undefined;
  /** When the token was there, or it was known that there is none. */
  tokenAt: number | undefined;
  /** The token that the backend was sent. A secret. */
  jwt: string | undefined;
  /** The origin of the backend. */
  upstream: string | undefined;
  /** When the request was given to the pool of connections. */
  forwardedAt: number | undefined;
  /** When the head of the final response came. */
  upstreamRespondedAt: number | undefined;
  /** The status that the backend answered with. */
  upstreamStatus: number | undefined;
  /** The body of the request that has been read, in bytes; of a tunnel: all that came on its connection. */
  receivedBytes = 0;
  /** The body of the backend's response that was relayed, in bytes; of a tunnel: all that was sent on its connection. */
  relayedBytes = 0;
  /** The problem that it was answered with. */
  code: RequestErrorCode | undefined;
  /** Why it failed, where that is not the client's fault. For the log only. */
  cause: string | undefined;
  /** It became a WebSocket; its end is that of the connection. */
  isTunnel = false;
  /** The status of the answer; `undefined` where the client left before one. */
  status: number | undefined;
  /** The response was sent whole; of a tunnel: that it was opened. */
  isComplete = false;
  endedAt: number | undefined;
  /** `undefined` where traces are off. */
  trace: RequestTrace | undefined;

  constructor(clientRequest: ClientRequest, requestId: string) {
    this.clientRequest = clientRequest;
    this.requestId = requestId;
  }
}

/** Told of each request when its response has ended, or its client has left. It must not throw. */
export type RequestObserver = (record: RequestRecord) => void;

/** What is told of one request to whoever collects traces. Nothing of it throws. */
export interface RequestTrace {
  /** The trace that it belongs to, in 32 hex digits: that of the client, or a new one. */
  readonly traceId: string;
  /** It goes to the backend: the fields are to say whose child the backend's own work is. */
  forwarded(fields: RawFields): void;
  /** Its record is complete. */
  ended(): void;
}

/** Begins the trace of a request, in its record. It must not throw. */
export type RequestTracer = (record: RequestRecord) => RequestTrace;
