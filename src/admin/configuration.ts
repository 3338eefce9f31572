import cluster from "node:cluster";

/** What is known of the configuration in use, and of what was to take its place. */
export interface ConfigurationStatus {
  /** When the one in use was loaded, in milliseconds since the epoch. */
  readonly loadedAt: number;
  /** When one was last tried. */
  readonly triedAt: number;
  /** Why that one is not in use; `undefined` where it is. */
  readonly problem: string | undefined;
  /** The keys that have changed since the start and have no effect before a restart. */
  readonly needsRestart: readonly string[];
  /** The one in use, without secrets. */
  readonly describe: () => unknown;
}

/** The body of `/config`. */
export function configurationBody({
  loadedAt,
  triedAt,
  problem,
  needsRestart,
  describe,
}: ConfigurationStatus): object {
  return {
    pid: reloadingProcess(),
    loadedAt: new Date(loadedAt).toISOString(),
    triedAt: new Date(triedAt).toISOString(),
    problem,
    needsRestart,
    configuration: describe(),
  };
}

/** The process that reads the configuration again on SIGHUP; `undefined` where it would end by it. */
function reloadingProcess(): number | undefined {
  if (process.listenerCount("SIGHUP") === 0) return undefined;
  return cluster.isWorker ? process.ppid : process.pid;
}
