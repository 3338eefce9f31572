import { resolve } from "node:path";
import { z } from "zod";
import { formatDuration } from "../duration.ts";
import type { UpstreamOptions } from "../gateway/upstream/upstream-options.ts";
import { upstreamUrl } from "./addresses.ts";
import { clientTlsSection } from "./client-tls-section.ts";
import { originFormPath } from "./http-values.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, section } from "./section.ts";
import { flag, timeout, wholeNumber } from "./values.ts";

const DEFAULTS: Pick<UpstreamOptions, "preserveHost" | "connections" | "pending" | "timeouts"> = {
  preserveHost: true,
  connections: 128,
  pending: 1024,
  timeouts: { connectSeconds: 5, headersSeconds: 60, bodySeconds: 300, pendingSeconds: 10 },
};

/** What a duration is that is not said. */
function durationDefault(key: keyof typeof DEFAULTS.timeouts): string {
  return `Default: \`${formatDuration(DEFAULTS.timeouts[key])}\`.`;
}

const timeouts = section({
  connect: timeout
    .describe(`For a connection to be accepted; then 504. ${durationDefault("connectSeconds")}`)
    .optional(),
  headers: timeout
    .describe(
      `From the end of the request to the response's headers; then 504. ${durationDefault("headersSeconds")}`,
    )
    .optional(),
  body: timeout
    .describe(
      `Between two pieces of a response's body; then the connection is cut. Not for responses of the type \`text/event-stream\`, nor in a WebSocket. ${durationDefault("bodySeconds")}`,
    )
    .optional(),
  pending: timeout
    .describe(`For a connection to be free; then 503. ${durationDefault("pendingSeconds")}`)
    .optional(),
});

const tls = clientTlsSection({
  name: "backend",
  host: "the URL's host",
  danger: "read and change everything",
});

const healthCheck = section({
  path: originFormPath.describe("What is asked for with GET; 200 to 399 is healthy."),
  interval: timeout.prefault("10s").describe("Between two checks."),
  timeout: timeout.prefault("2s").describe("For an answer."),
});

const shape = {
  url: upstreamUrl.describe(
    "Scheme, host and port of the backend, or `unix:` and the path of its socket. No path, as a request keeps the path that the client sent.",
  ),
  preserveHost: flag
    .describe(`Whether the backend sees the client's \`Host\`. Default: \`${DEFAULTS.preserveHost}\`.`)
    .optional(),
  http2: flag
    .describe("Speaks HTTP/2: by ALPN over https, else with prior knowledge. Default: `false`.")
    .optional(),
  tls: tls.describe("For https: how the backend is known, and known to it.").optional(),
  connections: wholeNumber(1, 65_535)
    .describe(
      `Connections to the backend at once, at most; further requests wait. WebSockets are not counted. Default: \`${DEFAULTS.connections}\`.`,
    )
    .optional(),
  pending: wholeNumber(0, 1_000_000)
    .describe(
      `Requests that wait for a connection at once, at most; then 503. Default: \`${DEFAULTS.pending}\`.`,
    )
    .optional(),
  timeouts: timeouts.describe("How long the backend may take.").optional(),
  healthCheck: healthCheck.describe("Asks the backend how it is; `/readyz` tells it.").optional(),
};

const map = section(shape).superRefine(({ url, tls } = {} as never, context) => {
  if (tls !== undefined && url !== undefined && !url.origin?.startsWith("https:"))
    context.addIssue({ code: "custom", path: ["tls"], message: "has no effect: the URL is not https" });
}, EVEN_WITH_PROBLEMS_INSIDE);

/** `upstream` in the file, at the top or in a policy. */
export const upstreamSection = z.union([upstreamUrl.transform((url): UpstreamSection => ({ url })), map], {
  error: 'expected a URL such as "http://127.0.0.1:9000", or a map with the key url',
});

/** What `upstream` says. */
export type UpstreamSection = z.output<typeof map>;

/**
 * An upstream, complete.
 *
 * @param defaults what it does not say: the upstream at the top, for that of a policy. How a backend is spoken to
 *   (`http2`, `tls`, `healthCheck`) is never another's.
 * @param baseDirectory what relative paths start from
 */
export function upstreamOptionsOf(
  { url, preserveHost, http2 = false, tls, connections, pending, timeouts, healthCheck }: UpstreamSection,
  baseDirectory: string,
  defaults: typeof DEFAULTS = DEFAULTS,
): UpstreamOptions {
  const { ca, cert, key } = tls ?? {};
  const file = (path: string | undefined) => (path === undefined ? undefined : resolve(baseDirectory, path));
  return {
    origin: url.origin,
    socketPath: file(url.socketPath),
    preserveHost: preserveHost ?? defaults.preserveHost,
    http2,
    tls: {
      ca: file(ca),
      cert: file(cert),
      key: file(key),
      serverName: tls?.serverName,
      skipVerification: tls?.dangerouslySkipVerification ?? false,
    },
    connections: connections ?? defaults.connections,
    pending: pending ?? defaults.pending,
    timeouts: {
      connectSeconds: timeouts?.connect ?? defaults.timeouts.connectSeconds,
      headersSeconds: timeouts?.headers ?? defaults.timeouts.headersSeconds,
      bodySeconds: timeouts?.body ?? defaults.timeouts.bodySeconds,
      pendingSeconds: timeouts?.pending ?? defaults.timeouts.pendingSeconds,
    },
    healthCheck: healthCheck && {
      path: healthCheck.path,
      intervalSeconds: healthCheck.interval,
      timeoutSeconds: healthCheck.timeout,
    },
  };
}
