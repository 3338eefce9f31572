import type { ClientResponse } from "../gateway/client/client-message.ts";
import { beginResponse, isGone, writePiece } from "../gateway/client/client-response.ts";
import { answerProblem } from "../gateway/problem.ts";

/** The text format of Prometheus. */
const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/**
 * Answers `/metrics`. It never throws.
 *
 * @param read gives the text; where it rejects, the answer is 503: numbers of a part would look like a fall
 */
export async function answerMetrics(
  clientResponse: ClientResponse,
  read: () => Promise<string>,
): Promise<void> {
  let text: string;
  try {
    text = await read();
  } catch {
    const detail = "what all processes have counted cannot be had now";
    return answerProblem(clientResponse, { code: "ERR_METRICS_UNAVAILABLE", detail }, undefined);
  }
  if (isGone(clientResponse) || clientResponse.headersSent) return;
  beginResponse(clientResponse, 200, {
    "content-type": CONTENT_TYPE,
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  if (clientResponse.req.method !== "HEAD") writePiece(clientResponse, text);
  clientResponse.end();
}
