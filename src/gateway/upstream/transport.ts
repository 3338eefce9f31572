import type { Dispatcher } from "undici";
import type { RequestBody } from "../client/message-body.ts";
import type { RawFields } from "../fields.ts";

/** A request that is ready to be sent on. */
export interface TransportRequest {
  readonly method: string;
  /** Origin-form: path and query. */
  readonly target: string;
  readonly fields: RawFields;
  readonly body: RequestBody | null;
  /** Whether the client keeps the trailers of a response (RFC 9110 §10.1.4). */
  readonly acceptsTrailers: boolean;
}

/** Requests and responses of one backend, over connections of one version of HTTP. */
export interface Transport {
  /** Whether a request can be sent now; if not, one of those under way has to end first. */
  hasRoom(): boolean;
  /** Sends a request, and gives its response to `handler`, which is told of every failure too. */
  dispatch(request: TransportRequest, handler: TransportHandler): void;
  /** To be called once the request of this handler has ended, however it did. */
  release(handler: TransportHandler): void;
  /** Ends every connection at once. */
  destroy(): Promise<void>;
}

/** Who is told of a response, as undici tells it. */
export interface TransportHandler extends Dispatcher.DispatchHandler {
  /** Set by the transport before the request begins. */
  connection: ConnectionUse | undefined;
  /** The first byte of a response has come. */
  onResponseStarted(): void;
}

/** How a response is relayed where it is known that nothing follows its fields. */
export interface HeadController extends Dispatcher.DispatchController {
  /** The fields are the whole response. */
  readonly isHeadAlone?: boolean;
}

/** The connection that a request is on. */
export interface ConnectionUse {
  /** To be called as a request begins: whether another has been on its connection. */
  begin(): boolean;
}
