import type { IncomingMessage } from "node:http";
import { isHttp2Request } from "./client/http2-message.ts";
import { framingProblemOf } from "./client/message-body.ts";
import type { Limits } from "./limits.ts";
import type { RequestProblem } from "./problem.ts";

/** What is wrong with the very form of a request that Node.js has let through; `undefined` where nothing is. */
export function formProblemOf(
  clientRequest: Pick<IncomingMessage, "httpVersion" | "rawHeaders" | "headers">,
  { headerBytes, headerCount, bodyBytes }: Limits,
): RequestProblem | undefined {
  const { httpVersion, rawHeaders, headers } = clientRequest;
  const isHttp2 = isHttp2Request(clientRequest);
  if (httpVersion !== "1.1" && httpVersion !== "1.0" && !isHttp2)
    return { code: "ERR_HTTP_VERSION", detail: "the request line may say HTTP/1.1 or HTTP/1.0" };
  // What comes after a parser's limit would go unseen, so that Node.js has none and they are counted here.
  if (rawHeaders.length > headerCount * 2)
    return { code: "ERR_FIELDS_TOO_LARGE", detail: `more than ${headerCount} field lines` };
  // nghttp2 counts them only once the client has taken note of the limit.
  if (isHttp2 && fieldBytes(rawHeaders) > headerBytes)
    return { code: "ERR_FIELDS_TOO_LARGE", detail: `the fields are larger than ${headerBytes} bytes` };
  const detail = framingProblemOf(clientRequest);
  if (detail !== undefined) return { code: "ERR_REQUEST_MALFORMED", detail };
  if (bodyBytes !== undefined && Number(headers["content-length"] ?? 0) > bodyBytes)
    return bodyTooLarge(bodyBytes);
  return undefined;
}

/** The size of the field lines of HTTP/2: each counts for 32 bytes more than its name and value (RFC 9113 §6.5.2). */
function fieldBytes(rawFields: readonly string[]): number {
  return rawFields.reduce((bytes, text) => bytes + text.length + 16, 0);
}

/** What is answered to a body of more than `maxBytes`. */
export function bodyTooLarge(maxBytes: number): RequestProblem {
  return { code: "ERR_BODY_TOO_LARGE", detail: `the body is larger than ${maxBytes} bytes` };
}
