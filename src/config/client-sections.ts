import { z } from "zod";
import type { ClientTimeouts, Limits } from "../gateway/limits.ts";
import { section } from "./section.ts";
import { size, timeout, wholeNumber } from "./values.ts";

/** `timeouts` in the file. */
export const timeoutsSection = section({
  headers: timeout.default(15).describe("For a client to send a request's fields."),
  request: timeout.default(300).describe("For a client to send a whole request."),
  send: timeout.default(60).describe("How long a response may wait for a client that takes none of it."),
  keepAlive: timeout.default(75).describe("How long a client's connection stays open without a request."),
  notReady: timeout
    .default(5)
    .describe(
      "How long /readyz says that the sidecar stops, before it does. For nothing where admin is false.",
    ),
  drain: timeout.default(30).describe("How long requests under way may take to end when the sidecar stops."),
});

const BODY_EXPECTED = 'expected a number of bytes, a size such as "10MiB", or "unlimited"';

/** `limits` in the file. */
export const limitsSection = section({
  headerBytes: size(1024, 1024 * 1024)
    .default(16 * 1024)
    .describe("The request line and all fields of a request together."),
  headerCount: wholeNumber(1, 10_000).default(200).describe("Field lines of a request."),
  bodyBytes: z
    .union([z.literal("unlimited"), size(0, Number.MAX_SAFE_INTEGER, BODY_EXPECTED)], {
      error: BODY_EXPECTED,
    })
    .default("unlimited")
    .describe("The body of a request."),
  connections: wholeNumber(1, 1_000_000).default(10_000).describe("Connections of clients at once."),
  streams: wholeNumber(1, 10_000)
    .default(100)
    .describe("Requests of a client at once on one connection, with HTTP/2 or pipelined."),
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
