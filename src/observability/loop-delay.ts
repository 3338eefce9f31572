import { monitorEventLoopDelay } from "node:perf_hooks";
import { gauge, type Metric, only } from "./metric.ts";

/** How often the event loop is looked at. What Node.js measures includes this. */
const RESOLUTION_MILLISECONDS = 20;
/** What is told is of the last one to two of these, whoever asks and how often. */
const WINDOW_MILLISECONDS = 60_000;

/** In seconds. */
interface Delays {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

const NONE: Delays = { p50: 0, p99: 0, max: 0 };

/** How late the event loop of this process is. */
export class LoopDelay {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MILLISECONDS });
  #before = NONE;
  #windowBeganAt = performance.now();

  constructor() {
    this.#histogram.enable();
  }

  metrics(): readonly Metric[] {
    const now = this.#current();
    const told = (["p50", "p99", "max"] as const).map((name) =>
      gauge(
        `countersign_event_loop_delay_${name}_seconds`,
        `How late the event loop was in the last minutes: ${MEANINGS[name]}; of several processes, the latest.`,
        only(Math.max(now[name], this.#before[name])),
        "max",
      ),
    );
    if (performance.now() - this.#windowBeganAt >= WINDOW_MILLISECONDS) {
      this.#before = now;
      this.#histogram.reset();
      this.#windowBeganAt = performance.now();
    }
    return told;
  }

  close(): void {
    this.#histogram.disable();
  }

  #current(): Delays {
    if (this.#histogram.count === 0) return NONE;
    const seconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - RESOLUTION_MILLISECONDS / 1000);
    return {
      p50: seconds(this.#histogram.percentile(50)),
      p99: seconds(this.#histogram.percentile(99)),
      max: seconds(this.#histogram.max),
    };
  }
}

const MEANINGS = { p50: "the median", p99: "99 % were earlier", max: "the most" } as const;
