import type { OriginHealth } from "../gateway/upstream/health-check.ts";
import { gauge, type Metric, only } from "./metric.ts";

/** What is under way, at one moment. */
export interface TrafficFacts {
  /** Connections of clients. */
  readonly connections: number;
  /** How many there may be. */
  readonly connectionLimit: number;
  /** Requests that have no whole answer yet. */
  readonly requests: number;
  /** WebSockets. */
  readonly tunnels: number;
  /** The backends that are asked how they are. */
  readonly upstreams: readonly OriginHealth[];
}

/** What is to be known of clients and backends as they are now. */
export function trafficMetrics(facts: TrafficFacts): readonly Metric[] {
  return [
    gauge(
      "countersign_connections_open",
      "Connections of clients, WebSockets among them.",
      only(facts.connections),
      "sum",
    ),
    gauge(
      "countersign_connections_limit",
      "limits.connections, of all processes.",
      only(facts.connectionLimit),
      "sum",
    ),
    gauge(
      "countersign_requests_in_flight",
      "Requests without their whole answer.",
      only(facts.requests),
      "sum",
    ),
    gauge("countersign_websockets_open", "WebSockets that are open.", only(facts.tunnels), "sum"),
    gauge(
      "countersign_upstream_healthy",
      "1 where a backend answered its last health check well, 0 where it did not; of several processes, the worst.",
      facts.upstreams
        .filter(({ state }) => state !== "unknown")
        .map(({ origin, state }) => ({ labels: { upstream: origin }, value: Number(state === "healthy") })),
      "min",
    ),
  ];
}
