import type { ClientResponse } from "../gateway/client/client-message.ts";
import { beginResponse, writePiece } from "../gateway/client/client-response.ts";
import type { ReadinessSource } from "./readiness.ts";

/** Answers `/livez`: whoever can answer lives, whether or not it is ready. */
export function answerLiveness(clientResponse: ClientResponse): void {
  answerJson(clientResponse, 200, { status: "live" });
}

/** Answers `/readyz`: 200 where every check is ready, else 503, and each check with what is wrong. */
export function answerReadiness(clientResponse: ClientResponse, readiness: ReadinessSource): void {
  const checks = readiness();
  const isReady = checks.every((check) => check.isReady);
  answerJson(clientResponse, isReady ? 200 : 503, {
    status: isReady ? "ready" : "not ready",
    checks: Object.fromEntries(checks.map(({ name, isReady: ready, reason }) => [name, { ready, reason }])),
  });
}

/** Answers with JSON that nobody keeps. */
export function answerJson(clientResponse: ClientResponse, status: number, body: object): void {
  const text = `${JSON.stringify(body)}\n`;
  beginResponse(clientResponse, status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  if (clientResponse.req.method !== "HEAD") writePiece(clientResponse, text);
  clientResponse.end();
}
