import { availableParallelism } from "node:os";
import type { Command } from "commander";
import {
  adminOption,
  type ConfigurationFlags,
  configOption,
  listenOption,
  printWarnings,
  readConfiguration,
  upstreamOption,
  workersOption,
} from "./configuration.ts";
import { describeRunning, startSidecar } from "./running.ts";
import { closeOnSignal, describeStop, notReadySecondsOf } from "./stop-signals.ts";
import { runWorkers } from "./workers.ts";

/** `countersign serve`: runs the sidecar until a signal. */
export function addServeCommand(program: Command): Command {
  return program
    .command("serve")
    .summary("run the sidecar")
    .description(
      "Runs the sidecar until SIGTERM or SIGINT. The configuration file is optional where --upstream is given.",
    )
    .addOption(configOption())
    .addOption(upstreamOption())
    .addOption(listenOption())
    .addOption(adminOption())
    .addOption(workersOption())
    .action(async (flags: ConfigurationFlags) => {
      const parsed = await readConfiguration(flags, { upstreamIsEnough: true });
      const { config, warnings } = parsed;
      printWarnings(warnings);
      const workers = config.workers === "auto" ? availableParallelism() : config.workers;
      if (workers > 1) return runWorkers(parsed, workers);
      const { sidecar, running } = await startSidecar(config);
      // Whoever reads that it runs may send a signal at once.
      const closed = closeOnSignal(
        (signal) => sidecar.close({ notReadySeconds: notReadySecondsOf(config, signal) }),
        (signal) => describeStop(config, signal),
      );
      console.error(describeRunning(config, running));
      await closed;
    });
}
