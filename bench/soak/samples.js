import { readdirSync } from "node:fs";
import { residentMegabytes } from "../processes.js";
import { pause } from "./pause.js";

const EVERY_MILLISECONDS = 1000;

/**
 * Looks at a process every second until `signal` is aborted; `sample` gets what it looks like.
 *
 * @param now seconds since the begin of what is measured
 */
export async function runSamples({ pid, scrapes, now, signal, sample }) {
  while (!signal.aborted) {
    sample({ at: now(), ...sampleOf(pid, scrapes.last) });
    await pause(EVERY_MILLISECONDS, signal);
  }
}

/** What Linux tells of a process, and what it told of itself last. */
export function sampleOf(pid, scrape) {
  return {
    residentMegabytes: residentMegabytes(pid),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    heapMegabytes: scrape.total("countersign_process_heap_used_bytes") / 2 ** 20,
    loopDelayMilliseconds: scrape.total("countersign_event_loop_delay_p99_seconds") * 1000,
    connections: scrape.total("countersign_connections_open"),
    webSockets: scrape.total("countersign_websockets_open"),
    requestsInFlight: scrape.total("countersign_requests_in_flight"),
    cpuSeconds: scrape.total("countersign_process_cpu_seconds_total"),
    requests: scrape.total("countersign_requests_total"),
  };
}
