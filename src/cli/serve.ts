import { availableParallelism } from "node:os";
import type { Command } from "commander";
import {
  adminOption,
  type ConfigurationFlags,
  configOption,
  findConfigurationFile,
  listenOption,
  printWarnings,
  readConfiguration,
  upstreamOption,
  workersOption,
} from "./configuration.ts";
import { reloadOnChange } from "./reloading.ts";
import { describeRunning, startSidecar } from "./running.ts";
import { closeOnSignal, describeStop, notReadySecondsOf } from "./stop-signals.ts";
import { runWorkers } from "./workers.ts";

/** `countersign serve`: runs the sidecar until a signal. */
export function addServeCommand(program: Command): Command {
  return program
    .command("serve")
    .summary("run the sidecar")
    .description(
      "Runs the sidecar until SIGTERM or SIGINT. A change of the configuration file takes effect at once, and SIGHUP has it read again. The configuration file is optional where --upstream is given.",
    )
    .addOption(configOption())
    .addOption(upstreamOption())
    .addOption(listenOption())
    .addOption(adminOption())
    .addOption(workersOption())
    .action(async (flags: ConfigurationFlags) => {
      const read = () => readConfiguration(flags, { upstreamIsEnough: true });
      const parsed = await read();
      const file = findConfigurationFile(flags);
      printWarnings(parsed.warnings);
      const workers = parsed.config.workers === "auto" ? availableParallelism() : parsed.config.workers;
      if (workers > 1) return runWorkers(parsed, workers, { file, read });
      const { sidecar, running, config, reload } = await startSidecar(parsed.config);
      // Whoever reads that it runs may send a signal at once.
      const closed = closeOnSignal(
        (signal) => sidecar.close({ notReadySeconds: notReadySecondsOf(config(), signal) }),
        (signal) => describeStop(config(), signal),
      );
      await reloadOnChange({ file, read, apply: (load) => reload(async () => (await load()).config) });
      console.error(describeRunning(parsed.config, running));
      await closed;
    });
}
