import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import type { TokenObserver } from "../issuer/tokens.ts";
import { COMPUTING_SECONDS, Durations, histogram } from "./durations.ts";
import { counter, type Metric } from "./metric.ts";

/** Counts tokens as they are made, and found again. */
export class TokenMetrics implements TokenObserver {
  #signed = 0;
  #reused = 0;
  readonly #signing = new Map<SigningAlgorithm, Durations>();

  reused(): void {
    this.#reused++;
  }

  signed(algorithm: SigningAlgorithm, milliseconds: number): void {
    this.#signed++;
    let durations = this.#signing.get(algorithm);
    if (!durations) {
      durations = new Durations(COMPUTING_SECONDS);
      this.#signing.set(algorithm, durations);
    }
    durations.add(milliseconds);
  }

  /** @param refused how many requests have got no token */
  metrics(refused: number): readonly Metric[] {
    const counts = { signed: this.#signed, reused: this.#reused, refused };
    return [
      counter(
        "countersign_tokens_total",
        "Tokens that were signed, that were found to be made already, and requests refused for lack of one.",
        Object.entries(counts).map(([outcome, value]) => ({ labels: { outcome }, value })),
      ),
      histogram(
        "countersign_signing_duration_seconds",
        "For one signature; of the slow algorithms with the wait for a thread.",
        [...this.#signing].map(([algorithm, durations]) => [{ algorithm }, durations]),
      ),
    ];
  }
}
