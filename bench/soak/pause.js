import { setTimeout } from "node:timers/promises";

/** Waits so long, or until `signal` is aborted. */
export async function pause(milliseconds, signal) {
  await setTimeout(milliseconds, undefined, { signal }).catch(() => {});
}
