import { availableParallelism } from "node:os";
import type { Command } from "commander";
import type { ParsedConfig } from "../config/parse.ts";
import { createLog, type Log } from "../observability/log.ts";
import {
  adminOption,
  type ConfigurationFlags,
  configOption,
  findConfigurationFile,
  issuerOnlyOption,
  listenOption,
  logFormatOption,
  logLevelOption,
  readConfiguration,
  upstreamOption,
  workersOption,
} from "./configuration.ts";
import { reportFailure } from "./failure.ts";
import { logProcessWarnings, logWarnings } from "./log-events.ts";
import { type ReloadOptions, reloadOnChange } from "./reloading.ts";
import { closeOnSignal, describeStop, endingOnSignal, notReadySecondsOf } from "./stop-signals.ts";
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
    .addOption(issuerOnlyOption())
    .addOption(logLevelOption())
    .addOption(logFormatOption())
    .action(async (flags: ConfigurationFlags) => {
      // Whoever reloads a service does not wait until it has started, and by itself the signal ends the process.
      process.on("SIGHUP", () => {});
      const read = () => readConfiguration(flags, { upstreamIsEnough: true });
      const parsed = await read();
      const log = createLog(parsed.config.log);
      logWarnings(log, parsed.warnings);
      try {
        await serve(parsed, { file: findConfigurationFile(flags), text: parsed.source.text, read }, log);
      } catch (error) {
        process.exitCode = reportFailure(error, log);
      }
    });
}

async function serve(
  parsed: ParsedConfig,
  origin: Pick<ReloadOptions, "file" | "text" | "read">,
  log: Log,
): Promise<void> {
  const workers = parsed.config.workers === "auto" ? availableParallelism() : parsed.config.workers;
  if (workers > 1) return runWorkers(parsed, workers, origin, log);
  // Not needed, and so not loaded, where other processes answer the requests.
  const { describeRunning, startSidecar } = await import("./running.ts");
  const { sidecar, running, config, reload } = await endingOnSignal(() => startSidecar(parsed.config, log));
  logProcessWarnings(log);
  // Whoever reads that it runs may send a signal at once.
  const closed = closeOnSignal(
    (signal) => sidecar.close({ notReadySeconds: notReadySecondsOf(config(), signal) }),
    log,
    (signal) => describeStop(config(), signal),
  );
  await reloadOnChange({ ...origin, log, apply: (load) => reload(async () => (await load()).config) });
  const { text, message, fields } = describeRunning(parsed.config, running);
  log.announce(text, message, fields);
  await closed;
}
