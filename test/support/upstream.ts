import { openUpstream, type Upstream } from "../../src/gateway/upstream/upstream.ts";
import type { UpstreamOptions } from "../../src/gateway/upstream/upstream-options.ts";
import type { SourceEvent } from "../../src/refresh.ts";

/** What a test says of an upstream; the rest is as by default. */
export interface TestUpstreamOptions extends Partial<Omit<UpstreamOptions, "tls" | "timeouts">> {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
  readonly timeouts?: Partial<UpstreamOptions["timeouts"]>;
  readonly onEvent?: (event: SourceEvent) => void;
}

/** Opens an upstream without a sidecar in front. */
export function openTestUpstream(options: TestUpstreamOptions): Promise<Upstream> {
  const { ca, cert, key, serverName, timeouts, onEvent = () => {}, ...others } = options;
  return openUpstream(
    {
      origin: "http://localhost",
      socketPath: undefined,
      preserveHost: true,
      http2: false,
      tls: { ca, cert, key, serverName, skipVerification: false },
      connections: 128,
      pending: 1024,
      timeouts: { connectSeconds: 5, headersSeconds: 60, bodySeconds: 300, pendingSeconds: 10, ...timeouts },
      healthCheck: undefined,
      ...others,
    },
    { now: Date.now, sendSeconds: 60, onEvent },
  );
}
