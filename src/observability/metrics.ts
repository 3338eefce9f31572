import type { RequestRecord } from "../gateway/request-record.ts";
import { type IdentityFileFacts, identityFileMetrics } from "./identity-file-metrics.ts";
import { KeyAnswers } from "./key-answers.ts";
import { type KeyFacts, keyMetrics } from "./key-metrics.ts";
import { counter, type Metric, only } from "./metric.ts";
import { ProcessMetrics } from "./process-metrics.ts";
import { ReloadMetrics } from "./reload-metrics.ts";
import { RequestMetrics } from "./request-metrics.ts";
import { TokenMetrics } from "./token-metrics.ts";
import { type TrafficFacts, trafficMetrics } from "./traffic-metrics.ts";
import { workerMetrics } from "./worker-metrics.ts";

/** What is looked at only when somebody asks. */
export interface SidecarFacts {
  readonly keys: KeyFacts;
  readonly identityFiles: IdentityFileFacts;
  readonly traffic: TrafficFacts;
  readonly droppedLogLines: number;
}

/** Everything that is counted of one sidecar. */
export class SidecarMetrics {
  readonly requests = new RequestMetrics();
  readonly tokens = new TokenMetrics();
  readonly reloads: ReloadMetrics;
  readonly #keyAnswers = new KeyAnswers();
  readonly #process = new ProcessMetrics();

  /** @param now milliseconds since the epoch */
  constructor(now: () => number) {
    this.reloads = new ReloadMetrics(now);
  }

  /** Counts a request that has ended. */
  addRequest(record: RequestRecord): void {
    this.requests.add(record);
    this.#keyAnswers.add(record);
  }

  /** All metrics of this process. */
  read({ keys, identityFiles, traffic, droppedLogLines }: SidecarFacts): readonly Metric[] {
    return [
      ...this.requests.metrics(),
      ...this.tokens.metrics(this.requests.tokensRefused),
      ...this.#keyAnswers.metrics([...new Set(keys.keys.map(({ kid }) => kid))]),
      ...keyMetrics(keys),
      ...identityFileMetrics(identityFiles),
      ...trafficMetrics(traffic),
      ...this.reloads.metrics(),
      ...workerMetrics(1, 0),
      counter(
        "countersign_log_lines_dropped_total",
        "Lines of the log that nobody read in time.",
        only(droppedLogLines),
      ),
      ...this.#process.metrics(),
    ];
  }

  close(): void {
    this.#process.close();
  }
}
