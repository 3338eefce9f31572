import { constants, Http2ServerRequest, Http2ServerResponse } from "node:http2";
import type { ClientRequest, ClientResponse } from "./client-message.ts";
import type { RawFields } from "./fields.ts";
import type { Refusal } from "./problem.ts";

/** Whether a request came as a stream of HTTP/2; the version that the request line of HTTP/1 claims is no proof. */
export function isHttp2Request(clientRequest: object): clientRequest is Http2ServerRequest {
  return clientRequest instanceof Http2ServerRequest;
}

/** Whether a response goes out on a stream of HTTP/2. */
export function isHttp2Response(clientResponse: ClientResponse): clientResponse is Http2ServerResponse {
  return clientResponse instanceof Http2ServerResponse;
}

/** The field lines of a request: as they came, but of an HTTP/2 one as HTTP/1.1 would have them. */
export function receivedFieldsOf(clientRequest: ClientRequest): RawFields | Refusal {
  return isHttp2Request(clientRequest) ? fieldsOfStream(clientRequest.rawHeaders) : clientRequest.rawHeaders;
}

/**
 * Takes the pseudo fields out, makes Host of `:authority` (RFC 9113 §8.3.1), and joins the pieces of Cookie (§8.2.3).
 * Connection-specific fields, repeated pseudo fields and all else that RFC 9113 §8 calls malformed never come this far:
 * nghttp2 resets such a stream.
 */
function fieldsOfStream(rawHeaders: readonly string[]): RawFields | Refusal {
  const fields: RawFields = [];
  let authority: string | undefined;
  let host: string | undefined;
  let cookie = -1;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    const value = rawHeaders[i + 1] as string;
    if (name === ":authority") authority = value;
    else if (name === ":scheme" && value !== "http" && value !== "https")
      return refused("ERR_TARGET_INVALID", "the scheme is neither http nor https");
    else if (name === ":path" && !value.startsWith("/") && value !== "*")
      return refused("ERR_TARGET_INVALID", "the request target is no path");
    else if (name.startsWith(":")) continue;
    else if (name === "host") {
      if (host !== undefined) return refused("ERR_HOST_INVALID", "there is more than one Host field");
      host = value;
    } else if (name === "cookie" && cookie !== -1) fields[cookie] += `; ${value}`;
    else {
      if (name === "cookie") cookie = fields.length + 1;
      fields.push(name, value);
    }
  }
  if (authority !== undefined && host !== undefined && authority.toLowerCase() !== host.toLowerCase())
    return refused("ERR_HOST_INVALID", "the Host field differs from :authority");
  const named = authority ?? host;
  if (named !== undefined) fields.unshift("host", named);
  return fields;
}

function refused(code: "ERR_TARGET_INVALID" | "ERR_HOST_INVALID", detail: string): Refusal {
  return { kind: "refused", code, detail };
}

/**
 * Ends a stream whose request has not been read to its end: once the response has been sent whole the client is told
 * that nobody wants the rest, and that this is no error (RFC 9113 §8.1).
 */
export function endStream(clientResponse: Http2ServerResponse): void {
  clientResponse.end();
  clientResponse.stream.close(constants.NGHTTP2_NO_ERROR);
}
