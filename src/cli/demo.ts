import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { CountersignError, reasonOf } from "../errors.ts";
import type { TcpAddress } from "../gateway/listen/listen-options.ts";
import { createLog } from "../observability/log.ts";
import { PACKAGE_FOLDER } from "../package-folder.ts";
import {
  adminOption,
  type ConfigurationFlags,
  checkFlags,
  configOption,
  listenOption,
  logFormatOption,
  logLevelOption,
  readConfiguration,
  upstreamOption,
} from "./configuration.ts";
import { startDemoBackend, type TokenField } from "./demo-backend.ts";
import { logWarnings } from "./log-events.ts";
import { reloadOnChange } from "./reloading.ts";
import { describeRunning, startSidecar } from "./running.ts";
import { closeOnSignal } from "./stop-signals.ts";

const EXAMPLE_FILE = join(PACKAGE_FOLDER, "sidecar.example.yaml");

/** `countersign demo`: a backend that verifies its tokens, and a sidecar in front of it. */
export function addDemoCommand(program: Command): Command {
  return program
    .command("demo")
    .summary("run a sidecar and a backend that verifies")
    .description(
      "Starts a small backend at the configured upstream, and the sidecar in front of it. The backend answers with the request that it got and with the verified claims of its token. Without -c the example configuration is used; its keys go to ./keys.",
    )
    .addOption(configOption("the example"))
    .addOption(upstreamOption())
    .addOption(listenOption())
    .addOption(adminOption())
    .addOption(logLevelOption())
    .addOption(logFormatOption())
    .action(async (flags: Omit<ConfigurationFlags, "workers">) => {
      const read = () => readDemoConfiguration(flags);
      const parsed = await read();
      const log = createLog(parsed.config.log);
      logWarnings(log, parsed.warnings);
      const address = backendAddressOf(parsed.config);
      const { sidecar, running, config, reload } = await startSidecar(parsed.config, log);
      const options = { address, issuer: running.issuer.url, tokenFields: () => tokenFieldsOf(config()) };
      const backend = await startDemoBackend(options).catch(async (error: unknown) => {
        await sidecar.close();
        throw backendError(parsed.config, error);
      });
      const closed = closeOnSignal(async () => {
        await sidecar.close();
        await backend.close();
      }, log);
      await reloadOnChange({
        file: parsed.file,
        text: parsed.source.text,
        read,
        log,
        apply: (load) => reload(async () => (await load()).config),
      });
      const { text, message, fields } = describeRunning(parsed.config, running);
      log.announce(
        `${text}\n\nThe demo backend verifies each token. Try it:\n  curl ${running.url}/orders/42\n`,
        message,
        fields,
      );
      await closed;
    });
}

function readDemoConfiguration(flags: Omit<ConfigurationFlags, "workers">) {
  if (flags.config !== undefined) return readConfiguration(flags);
  checkFlags(flags);
  const file = existsSync("sidecar.example.yaml") ? "sidecar.example.yaml" : EXAMPLE_FILE;
  return loadConfig({ ...flags, file, baseDirectory: process.cwd() });
}

/** The demo backend is for this machine alone. */
function backendAddressOf({ upstream }: Config): TcpAddress {
  const { hostname, port } = new URL(upstream.origin);
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  if (!/^(?:127(?:\.\d+){3}|::1|localhost)$/.test(host))
    throw new CountersignError(
      "ERR_DEMO",
      `the demo backend stands at the upstream, so that must be a loopback address and not ${upstream.origin}; to use a backend of your own, run: countersign serve`,
    );
  return { kind: "tcp", host, port: port === "" ? 80 : Number(port) };
}

function tokenFieldsOf({ policies }: Config): TokenField[] {
  return policies.flatMap(({ token }) => (token === "none" ? [] : [token]));
}

function backendError({ upstream }: Config, error: unknown): CountersignError {
  const inUse = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
  const reason = inUse
    ? "another program uses this port; stop it, or choose another one with --upstream"
    : reasonOf(error);
  return new CountersignError("ERR_DEMO", `the demo backend cannot listen on ${upstream.origin}: ${reason}`, {
    cause: error,
  });
}
