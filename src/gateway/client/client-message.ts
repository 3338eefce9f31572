import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";

/** A client's request, of HTTP/1 or HTTP/2. */
export type ClientRequest = IncomingMessage | Http2ServerRequest;

/** The response to a {@link ClientRequest}. */
export type ClientResponse = ServerResponse | Http2ServerResponse;
