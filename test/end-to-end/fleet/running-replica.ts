import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { scrapeOf } from "../../support/metrics.ts";
import type { CuttableLink } from "./cuttable-link.ts";
import type { ReplicaAddresses, ReplicaSettings } from "./replica.ts";

/** One of a fleet, whether it runs or not. */
export interface Replica {
  readonly index: number;
  /** Its way to Redis. */
  readonly link: CuttableLink;
  /** `undefined` while it does not run. */
  addresses(): ReplicaAddresses | undefined;
  pid(): number | undefined;
  /** Resolves when it answers. */
  start(): Promise<void>;
  /** Ends it as the kernel does that runs out of memory. */
  kill(): Promise<void>;
  setSkew(seconds: number): void;
  /** How far its clock is ahead of that of Redis, as it knows; in seconds. */
  clockAheadSeconds(): Promise<number>;
  isReady(): Promise<boolean>;
}

const PROGRAM = fileURLToPath(new URL("replica.ts", import.meta.url));

/** A replica that does not run yet. */
export function createReplica(
  index: number,
  link: CuttableLink,
  settings: Omit<ReplicaSettings, "skewSeconds">,
): Replica {
  let skewSeconds = 0;
  let child: ChildProcess | undefined;
  let addresses: ReplicaAddresses | undefined;

  async function adminPage(path: string): Promise<{ readonly status: number; readonly text: string }> {
    const response = await fetch(`${addresses?.adminUrl}${path}`);
    return { status: response.status, text: await response.text() };
  }

  return {
    index,
    link,
    addresses: () => addresses,
    pid: () => child?.pid,
    async start() {
      const argument = JSON.stringify({ ...settings, skewSeconds } satisfies ReplicaSettings);
      const started = fork(PROGRAM, [argument], { execArgv: [] });
      child = started;
      const exited = once(started, "exit").then(([code]) => {
        throw new Error(`replica ${index} ended with ${code} at its start`);
      });
      [addresses] = await Promise.race([once(started, "message"), exited]);
      exited.catch(() => {});
    },
    async kill() {
      addresses = undefined;
      if (!child || child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
    setSkew(seconds) {
      skewSeconds = seconds;
      child?.send(seconds);
    },
    async clockAheadSeconds() {
      const { text } = await adminPage("/metrics");
      return -scrapeOf(text).total("countersign_key_ring_clock_offset_seconds");
    },
    isReady: async () => addresses !== undefined && (await adminPage("/readyz")).status === 200,
  };
}
