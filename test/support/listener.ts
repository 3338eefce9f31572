import type { Limits } from "../../src/gateway/limits.ts";
import type { ListenAddress, ListenOptions } from "../../src/gateway/listen/listen-options.ts";
import { createListener, type Listener } from "../../src/gateway/listen/listener.ts";

const LIMITS: Limits = {
  headerBytes: 16 * 1024,
  headerCount: 200,
  bodyBytes: undefined,
  connections: 10_000,
  streams: 100,
};

export const TIMEOUTS = { headersSeconds: 15, requestSeconds: 300, sendSeconds: 60, keepAliveSeconds: 75 };

/** A listener on a port of its own that does not listen yet. */
export function createTestListener({
  address = { kind: "tcp", host: "127.0.0.1", port: 0 },
  tls = undefined,
  http2 = false,
}: Partial<ListenOptions> = {}): Listener {
  return createListener({ address, tls, http2 }, { limits: LIMITS, timeouts: TIMEOUTS });
}

/** The port of an address that is one. */
export function portOf(address: ListenAddress): number {
  if (address.kind !== "tcp") throw new Error("this is no port");
  return address.port;
}
