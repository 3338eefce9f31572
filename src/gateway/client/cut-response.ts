import { TLSSocket } from "node:tls";
import type { ClientRequest, ClientResponse } from "./client-message.ts";
import { isHttp2Response } from "./http2-message.ts";

/**
 * Ends an exchange so that a response which was cut does not look like one that ended: an HTTP/2 stream by a reset
 * (RFC 9113 §5.4.2), an HTTP/1 connection by its end in the middle. An HTTP/1.0 client takes the end of the connection
 * for the end of the response, unless it is a reset.
 */
export function cutResponse(clientRequest: ClientRequest, clientResponse: ClientResponse): void {
  if (isHttp2Response(clientResponse)) {
    // With the code INTERNAL_ERROR. Its method `close` would end the response first, as if it were whole.
    clientResponse.stream.destroy(new Error("the response was cut"));
    return;
  }
  // One that still waits for those before it has no connection yet: destroyed, it would never end.
  if (!clientResponse.socket) {
    clientResponse.once("socket", () => cutResponse(clientRequest, clientResponse));
    return;
  }
  const { httpVersion, socket } = clientRequest;
  // TLS cannot be reset, and says by the missing close_notify that it was cut (RFC 8446 §6.1).
  if (httpVersion === "1.0" && !(socket instanceof TLSSocket)) socket.resetAndDestroy();
  else clientResponse.destroy();
}
