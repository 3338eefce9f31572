import type { Command } from "commander";
import { keyNeedsOf } from "../config/key-needs.ts";
import type { ParsedConfig } from "../config/parse.ts";
import { ConfigError, formatKey, formatProblem, type Problem } from "../config/problems.ts";
import { type CountersignError, reasonOf } from "../errors.ts";
import { readTlsFiles, TlsFileError } from "../gateway/listen/tls-files.ts";
import { UpstreamFileError } from "../gateway/upstream/upstream-tls.ts";
import { KeyError } from "../issuer/keys/key-error.ts";
import { readKeys } from "../issuer/keys/key-source.ts";
import { StoreUnreachable } from "../issuer/keys/store.ts";
import { openRoutes } from "../open-routes.ts";
import { AuthenticatorError } from "../policy/authenticators/open.ts";
import { ModuleError } from "../policy/module.ts";
import { type ConfigurationFlags, configOption, printWarnings, readConfiguration } from "./configuration.ts";

/** `countersign validate`: every problem of the configuration, each with its line. */
export function addValidateCommand(program: Command): Command {
  return program
    .command("validate")
    .summary("check the configuration")
    .description(
      "Prints every problem in the configuration with its file, line and column, and exits with 1 where there is one. Keys and certificates that exist are checked too; none is made.",
    )
    .addOption(configOption())
    .option("--json", "print the problems and warnings as JSON")
    .action(async (flags: ConfigurationFlags & { readonly json?: true }) => {
      const { problems, warnings, summary } = await validate(flags);
      if (problems.length > 0) process.exitCode = 1;
      if (flags.json) {
        console.log(JSON.stringify({ valid: problems.length === 0, problems, warnings }, undefined, 2));
        return;
      }
      printWarnings(warnings);
      for (const problem of problems) console.error(formatProblem(problem));
      if (problems.length === 0) console.log(summary);
    });
}

/** What is wrong with a configuration, and doubtful about it. */
export interface Findings {
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
  /** What it is, in a line, and the configuration itself; where it can be read as one. */
  readonly summary?: string;
  readonly parsed?: ParsedConfig;
}

/**
 * Checks the configuration that the flags mean, and the files that it names.
 *
 * @throws {UsageError} ERR_USAGE when there is nothing to read
 */
export async function validate(flags: ConfigurationFlags): Promise<Findings> {
  try {
    const parsed = await readConfiguration(flags);
    const { config, file, positionOf } = parsed;
    const problems: Problem[] = [];
    const warnings = [...parsed.warnings];
    const options = { needs: keyNeedsOf(config), env: process.env, now: Date.now };
    try {
      await using _ = await readKeys(config.issuer.keys, options);
    } catch (error) {
      if (!(error instanceof KeyError)) throw error;
      const problem = {
        file,
        position: positionOf(["issuer", "keys"]),
        key: "issuer.keys",
        message: error.message,
      };
      // Who checks a configuration need not be where it will run; the sidecar waits.
      if (error instanceof StoreUnreachable) warnings.push(problem);
      else problems.push(problem);
    }
    problems.push(...(await problemsOfRoutes(config, file, positionOf)));
    for (const { tls, path } of tlsListenersOf(config))
      await readTlsFiles(tls).catch((error: unknown) => {
        if (!(error instanceof TlsFileError)) throw error;
        const place = [...path, "tls", error.key];
        problems.push({ file, position: positionOf(place), key: formatKey(place), message: error.message });
      });
    const names = config.policies.map(({ name }) => name).join(", ");
    const summary = `${file} is valid; policies in order: ${names}`;
    return { problems, warnings, summary, parsed };
  } catch (error) {
    if (error instanceof ConfigError) return { problems: error.problems, warnings: [] };
    throw error;
  }
}

/** The listeners with TLS, and the way to each in the file. */
function tlsListenersOf({ listen, admin }: ParsedConfig["config"]) {
  const listeners = listen.map(({ tls }, index) => ({ tls, path: ["listen", index] }));
  return [...listeners, { tls: admin?.tls, path: ["admin"] }].flatMap(({ tls, path }) =>
    tls ? [{ tls, path: listen.length === 1 ? path.slice(0, 1) : path }] : [],
  );
}

/** What is wrong with the files that policies use. */
async function problemsOfRoutes(
  config: ParsedConfig["config"],
  file: string,
  positionOf: ParsedConfig["positionOf"],
): Promise<readonly Problem[]> {
  try {
    const { close } = await openRoutes(config, { now: Date.now, onEvent: () => {} });
    await close();
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    const path = placeOf(error, config);
    if (!path) throw error;
    const message =
      error instanceof AuthenticatorError ? reasonOf(error.cause) : (error as CountersignError).message;
    return [{ file, position: positionOf(path), key: formatKey(path), message }];
  }
}

function placeOf(error: unknown, { upstream, policies }: ParsedConfig["config"]): PropertyKey[] | undefined {
  if (error instanceof UpstreamFileError) {
    const index = policies.findIndex((policy) => policy.upstream.tls === error.tls);
    const place = error.tls === upstream.tls ? ["upstream"] : ["policies", index, "upstream"];
    return [...place, "tls", error.key];
  }
  if (error instanceof AuthenticatorError) return ["authenticators", error.authenticator];
  if (!(error instanceof ModuleError)) return undefined;
  return ["policies", policies.findIndex(({ module }) => module?.path === error.path), "module"];
}
