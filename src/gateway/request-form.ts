import type { IncomingMessage } from "node:http";
import { isHttp2Request } from "./http2-message.ts";
import type { Limits } from "./limits.ts";
import { framingProblemOf } from "./message-body.ts";
import type { RequestProblem } from "./problem.ts";

/** What is wrong with the very form of a request that Node.js has let through; `undefined` where nothing is. */
export function formProblemOf(
  clientRequest: Pick<IncomingMessage, "httpVersion" | "rawHeaders" | "headers">,
  { headerCount, bodyBytes }: Limits,
): RequestProblem | undefined {
  const { httpVersion, rawHeaders, headers } = clientRequest;
  if (httpVersion !== "1.1" && httpVersion !== "1.0" && !isHttp2Request(clientRequest))
    return { code: "ERR_HTTP_VERSION", detail: "the request line may say HTTP/1.1 or HTTP/1.0" };
  // What comes after a parser's limit would go unseen, so that Node.js has none and they are counted here.
  if (rawHeaders.length > headerCount * 2)
    return { code: "ERR_FIELDS_TOO_LARGE", detail: `more than ${headerCount} field lines` };
  const detail = framingProblemOf(clientRequest);
  if (detail !== undefined) return { code: "ERR_REQUEST_MALFORMED", detail };
  if (bodyBytes !== undefined && Number(headers["content-length"] ?? 0) > bodyBytes)
    return bodyTooLarge(bodyBytes);
  return undefined;
}

/** What is answered to a body of more than `maxBytes`. */
export function bodyTooLarge(maxBytes: number): RequestProblem {
  return { code: "ERR_BODY_TOO_LARGE", detail: `the body is larger than ${maxBytes} bytes` };
}
