import type { Command } from "commander";
import {
  adminOption,
  type ConfigurationFlags,
  configOption,
  listenOption,
  printWarnings,
  readConfiguration,
  upstreamOption,
} from "./configuration.ts";
import { closeOnSignal, describeRunning, startSidecar } from "./running.ts";

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
    .action(async (flags: ConfigurationFlags) => {
      const { config, warnings } = await readConfiguration(flags, { upstreamIsEnough: true });
      printWarnings(warnings);
      const { sidecar, running } = await startSidecar(config);
      console.error(describeRunning(config, running));
      await closeOnSignal(() => sidecar.close());
    });
}
