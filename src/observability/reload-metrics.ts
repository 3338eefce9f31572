import { counter, gauge, type Metric, only } from "./metric.ts";

/**
 * Counts what became of configurations. Of several processes only the first one counts, which gives each configuration to
 * all the others.
 */
export class ReloadMetrics {
  readonly #now: () => number;
  #succeeded = 0;
  #failed = 0;
  #lastSucceeded = true;
  #lastSuccessAt: number;

  /** @param now milliseconds since the epoch */
  constructor(now: () => number) {
    this.#now = now;
    this.#lastSuccessAt = now();
  }

  succeeded(): void {
    this.#succeeded++;
    this.#lastSucceeded = true;
    this.#lastSuccessAt = this.#now();
  }

  failed(): void {
    this.#failed++;
    this.#lastSucceeded = false;
  }

  metrics(): readonly Metric[] {
    return [
      counter(
        "countersign_config_reloads_total",
        "Configurations that were read while the sidecar ran, and whether they took the place of the one before.",
        [
          { labels: { outcome: "success" }, value: this.#succeeded },
          { labels: { outcome: "failure" }, value: this.#failed },
        ],
        "first",
      ),
      gauge(
        "countersign_config_last_reload_successful",
        "0 while the configuration that was read last cannot be used, and the one before goes on.",
        only(Number(this.#lastSucceeded)),
        "first",
      ),
      gauge(
        "countersign_config_last_reload_success_timestamp_seconds",
        "When the configuration in use was read.",
        only(this.#lastSuccessAt / 1000),
        "first",
      ),
    ];
  }
}
