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
    // The process that hears SIGHUP.
    pid: cluster.isWorker ? process.ppid : process.pid,
    loadedAt: new Date(loadedAt).toISOString(),
    triedAt: new Date(triedAt).toISOString(),
    problem,
    needsRestart,
    configuration: describe(),
  };
}
