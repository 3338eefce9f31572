import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import type { RunningCommand } from "./command-line.ts";

/** The ids of the processes that a process has started, the oldest first. */
export function workersOf({ pid }: RunningCommand): number[] {
  try {
    return execFileSync("pgrep", ["-P", String(pid)], { encoding: "utf8" })
      .trim()
      .split("\n")
      .map(Number);
  } catch {
    // There is none.
    return [];
  }
}

/** Whether a process runs. One that has ended may still be listed, as a zombie. */
export function isAlive(pid: number): boolean {
  try {
    return !execFileSync("ps", ["-o", "stat=", "-p", String(pid)], { encoding: "utf8" }).startsWith("Z");
  } catch {
    return false;
  }
}

/** Waits until something has been printed. */
export async function printed(sidecar: RunningCommand, pattern: RegExp): Promise<void> {
  const until = performance.now() + 15_000;
  while (!pattern.test(sidecar.output().stderr)) {
    if (performance.now() > until)
      throw new Error(`${pattern} has not been printed, but\n${sidecar.output().stderr}`);
    await sleep(10);
  }
}

/** Asks a worker to stop, and waits until another one has taken its place. */
export async function replaceWorker(sidecar: RunningCommand, pid: number): Promise<void> {
  process.kill(pid, "SIGTERM");
  await printed(sidecar, new RegExp(`worker ${pid} has been replaced`));
}
