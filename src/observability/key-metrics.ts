import type { KeySet, KeyStatus } from "../issuer/keys/key-set.ts";
import type { SharedRingStatus } from "../issuer/keys/reliance.ts";
import type { KeyNeed } from "../issuer/keys/ring.ts";
import { gauge, type Labels, type Metric, type MetricValue, only } from "./metric.ts";

/** The keys of an issuer, at one moment. */
export interface KeyFacts {
  readonly keys: readonly KeyStatus[];
  readonly current: KeySet;
  readonly needs: readonly KeyNeed[];
  /** Whether their source cannot be read or written. */
  readonly hasProblem: boolean;
  /** `undefined` where no replicas share them. */
  readonly sharing: SharedRingStatus | undefined;
}

/** What is to be known of the keys. Times are in seconds since the epoch. */
export function keyMetrics({ keys, current, needs, hasProblem, sharing }: KeyFacts): readonly Metric[] {
  const times = (timeOf: (key: KeyStatus) => number | undefined): MetricValue[] =>
    keys.flatMap((key) => {
      const milliseconds = timeOf(key);
      return milliseconds === undefined
        ? []
        : [{ labels: { kid: key.kid, ...kindOf(key) }, value: milliseconds / 1000 }];
    });
  const missing = needs.filter(({ purpose, algorithm }) => !current.activeKey(purpose, algorithm));
  return [
    gauge(
      "countersign_keys",
      "Keys in the ring, by what they are for and what they are now.",
      countsByKind(keys),
      "max",
    ),
    gauge(
      "countersign_keys_missing",
      "Keys that should sign and are not there.",
      only(missing.length),
      "max",
    ),
    gauge(
      "countersign_keys_problem",
      "1 while the source of the keys cannot be read, written or asked; those in memory go on.",
      only(Number(hasProblem)),
      "max",
    ),
    gauge(
      "countersign_key_created_timestamp_seconds",
      "When a key was made; its age is the time since.",
      times(({ createdAt }) => createdAt),
      "min",
    ),
    gauge(
      "countersign_key_next_transition_timestamp_seconds",
      "When a key becomes something else, or its successor is due; a time that has passed is overdue.",
      times(({ nextTransitionAt }) => nextTransitionAt),
      "min",
    ),
    ...(sharing ? sharingMetrics(sharing) : []),
  ];
}

function sharingMetrics({ reliableUntil, clockAhead }: SharedRingStatus): readonly Metric[] {
  return [
    gauge(
      "countersign_key_ring_reliable_until_timestamp_seconds",
      "Until when the keys are used without reading the shared ring again; then the sidecar is not ready.",
      only(reliableUntil / 1000),
      "min",
    ),
    gauge(
      "countersign_key_ring_clock_offset_seconds",
      "How far the clock of the shared ring's store is ahead of this machine's.",
      only(clockAhead / 1000),
      "max",
    ),
  ];
}

function kindOf({ purpose, algorithm, state }: KeyStatus): Labels {
  return { purpose: purpose ?? "", algorithm, state };
}

function countsByKind(keys: readonly KeyStatus[]): MetricValue[] {
  const counts = new Map<string, { labels: Labels; value: number }>();
  for (const key of keys) {
    const labels = kindOf(key);
    const identity = JSON.stringify(labels);
    const count = counts.get(identity) ?? { labels, value: 0 };
    count.value++;
    counts.set(identity, count);
  }
  return [...counts.values()];
}
