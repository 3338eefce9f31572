import type { RequestErrorCode } from "../../errors.ts";
import { http } from "../../node-http.ts";
import type { RawFields } from "../fields.ts";
import type { Refusal } from "../problem.ts";
import type { ClientRequest } from "./client-message.ts";
import { isHttp2Request } from "./http2-message.ts";

/** The field lines of a request: as they came, but of an HTTP/2 one as HTTP/1.1 would have them. */
export function receivedFieldsOf(clientRequest: ClientRequest): RawFields | Refusal {
  return isHttp2Request(clientRequest) ? fieldsOfStream(clientRequest.rawHeaders) : clientRequest.rawHeaders;
}

/**
 * Takes the pseudo fields out, makes Host of `:authority` (RFC 9113 §8.3.1), and joins the pieces of Cookie (§8.2.3).
 * Connection-specific fields, repeated pseudo fields, a path that is none and all else that RFC 9113 §8 calls malformed
 * never come this far: nghttp2 resets such a stream, and drops a field whose name or value cannot be one.
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
    // Of other schemes nghttp2 takes a path of any form.
    else if (name === ":scheme" && value !== "http" && value !== "https")
      return refused("ERR_TARGET_INVALID", "the scheme is neither http nor https");
    // "get" is none, but some backend may take it for GET.
    else if (name === ":method" && !KNOWN_METHODS.has(value))
      return refused("ERR_REQUEST_MALFORMED", "this method is not known here");
    else if (name.startsWith(":")) continue;
    else if (name === "host") host = value;
    else if (name === "cookie" && cookie !== -1) fields[cookie] += `; ${value}`;
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

/** Those that can come with HTTP/1.1. */
const KNOWN_METHODS: ReadonlySet<string> = new Set(http.METHODS);

function refused(code: RequestErrorCode, detail: string): Refusal {
  return { kind: "refused", code, detail };
}
