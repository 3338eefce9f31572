import { VERSION } from "../version.ts";
import { LoopDelay } from "./loop-delay.ts";
import { counter, gauge, type Metric, only } from "./metric.ts";

/** What this process takes, and how late its event loop is. */
export class ProcessMetrics {
  readonly #loopDelay = new LoopDelay();

  metrics(): readonly Metric[] {
    const { rss, heapUsed, heapTotal } = process.memoryUsage();
    const { user, system } = process.cpuUsage();
    const startedAt = Date.now() / 1000 - process.uptime();
    return [
      gauge(
        "countersign_build_info",
        "1, with the versions of Countersign and Node.js.",
        [{ labels: { version: VERSION, node: process.versions.node }, value: 1 }],
        "max",
      ),
      gauge(
        "countersign_process_start_time_seconds",
        "When the process started, in seconds since the epoch; of several, the first.",
        only(startedAt),
        "min",
      ),
      counter(
        "countersign_process_cpu_seconds_total",
        "User and system time, of all processes.",
        only((user + system) / 1e6),
      ),
      gauge(
        "countersign_process_resident_memory_bytes",
        "Resident memory, of all processes.",
        only(rss),
        "sum",
      ),
      gauge("countersign_process_heap_used_bytes", "Heap in use, of all processes.", only(heapUsed), "sum"),
      gauge("countersign_process_heap_size_bytes", "Heap, of all processes.", only(heapTotal), "sum"),
      ...this.#loopDelay.metrics(),
    ];
  }

  close(): void {
    this.#loopDelay.close();
  }
}
