import type { IncomingMessage } from "node:http";
import { isHttp2Request } from "./http2-message.ts";
import { framingProblemOf } from "./message-body.ts";
import type { RequestProblem } from "./problem.ts";

/** More lines than this and the request is refused: what comes after a parser's limit would go unseen. */
const MAX_FIELD_LINES = 200;

/** What is wrong with the very form of a request that Node.js has let through; `undefined` where nothing is. */
export function formProblemOf(
  clientRequest: Pick<IncomingMessage, "httpVersion" | "rawHeaders" | "headers">,
): RequestProblem | undefined {
  const { httpVersion, rawHeaders } = clientRequest;
  if (httpVersion !== "1.1" && httpVersion !== "1.0" && !isHttp2Request(clientRequest))
    return { code: "ERR_HTTP_VERSION", detail: "the request line may say HTTP/1.1 or HTTP/1.0" };
  if (rawHeaders.length > MAX_FIELD_LINES * 2)
    return { code: "ERR_FIELDS_TOO_LARGE", detail: `more than ${MAX_FIELD_LINES} field lines` };
  const detail = framingProblemOf(clientRequest);
  return detail === undefined ? undefined : { code: "ERR_REQUEST_MALFORMED", detail };
}
