import { z } from "zod";
import type { ClientTimeouts, Limits } from "../gateway/limits.ts";
import { section } from "./section.ts";
import { size, timeout, wholeNumber } from "./values.ts";

/** `timeouts` in the file. */
export const timeoutsSection = section({
  headers: timeout
    .prefault("15s")
    .describe("For a client to send a request's headers; then 408. Before them, for its TLS handshake."),
  request: timeout.prefault("5m").describe("For a client to send a whole request; then 408."),
  send: timeout
    .prefault("60s")
    .describe(
      "How long a response may wait for a client that takes none of it; then its connection is cut, and the backend's request ended.",
    ),
  keepAlive: timeout.prefault("75s").describe("How long a client's connection stays open without a request."),
  notReady: timeout
    .prefault("5s")
    .describe(
      "How long `/readyz` says that the sidecar stops, before it does. For nothing where `admin` is `false`.",
    ),
  drain: timeout
    .prefault("30s")
    .describe(
      "How long requests under way may take when the sidecar stops. WebSockets are closed behind them.",
    ),
});

const BODY_EXPECTED = 'expected a number of bytes, a size such as "10MiB", or "unlimited"';

/** `limits` in the file. */
export const limitsSection = section({
  headerBytes: size(1024, 1024 * 1024)
    .prefault("16KiB")
    .describe(
      "The request line and the headers of a request together; then 431, and with HTTP/2 a reset of the stream. From 1 KiB to 1 MiB.",
    ),
  headerCount: wholeNumber(1, 10_000).default(200).describe("Header lines of a request; then 431."),
  bodyBytes: z
    .union([z.literal("unlimited"), size(0, Number.MAX_SAFE_INTEGER, BODY_EXPECTED)], {
      error: BODY_EXPECTED,
    })
    .prefault("unlimited")
    .describe(
      "The body of a request; then 413. A body that does not say its length is cut off at the limit: the backend gets its beginning, and no end.",
    ),
  connections: wholeNumber(1, 1_000_000)
    .default(10_000)
    .describe(
      "Connections of clients at once, over all addresses of `listen`; above it 503, but for the issuer's documents.",
    ),
  streams: wholeNumber(1, 10_000)
    .default(100)
    .describe("Requests under way at once on one connection, with HTTP/2 or pipelined."),
});

/** What `timeouts` says. */
export function clientTimeoutsOf(
  timeouts: z.output<typeof timeoutsSection>,
): ClientTimeouts & { readonly notReadySeconds: number; readonly drainSeconds: number } {
  return {
    // They are a part of the request, and Node.js accepts no longer time for the part.
    headersSeconds: Math.min(timeouts.headers, timeouts.request),
    requestSeconds: timeouts.request,
    sendSeconds: timeouts.send,
    keepAliveSeconds: timeouts.keepAlive,
    notReadySeconds: timeouts.notReady,
    drainSeconds: timeouts.drain,
  };
}

/** What `limits` says. */
export function limitsOf({ bodyBytes, ...limits }: z.output<typeof limitsSection>): Limits {
  return { ...limits, bodyBytes: bodyBytes === "unlimited" ? undefined : bodyBytes };
}
