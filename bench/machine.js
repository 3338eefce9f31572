import { cpus, loadavg, release } from "node:os";
import { backendProgram } from "./backend.js";
import { loadProgram } from "./load.js";
import { isPinned } from "./processes.js";

/** What the figures depend on, for whoever compares them with their own. */
export function machineOf({ rounds, isQuick }) {
  return {
    node: process.version,
    system: `${process.platform} ${release()}`,
    processors: `${cpus().length} × ${cpus()[0]?.model}`,
    // Of the last minute, before anything was started.
    loadAverage: Number(loadavg()[0].toFixed(2)),
    backend: backendProgram,
    load: loadProgram,
    isPinned,
    rounds,
    isQuick,
  };
}
