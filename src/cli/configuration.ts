import { existsSync } from "node:fs";
import { Option } from "commander";
import { parseListenAddress, parseUpstreamUrl } from "../config/addresses.ts";
import { loadConfig } from "../config/load.ts";
import { type ParsedConfig, parseConfig } from "../config/parse.ts";
import { formatProblem, type Problem } from "../config/problems.ts";
import { parseWorkerCount, type Reading } from "../config/values.ts";
import { SIGNING_ALGORITHMS } from "../issuer/algorithms.ts";
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from "../observability/log-options.ts";
import { UsageError } from "./usage-error.ts";

/** The options of every command that reads the configuration. */
export interface ConfigurationFlags {
  readonly config?: string;
  readonly upstream?: string;
  readonly listen?: string;
  readonly admin?: string;
  readonly workers?: string;
  readonly issuerOnly?: true;
  readonly logLevel?: LogLevel;
  readonly logFormat?: LogFormat;
}

/** `-c FILE` */
export function configOption(defaults = "$COUNTERSIGN_CONFIG, then ./sidecar.yaml"): Option {
  return new Option("-c, --config <file>", `the configuration (default: ${defaults})`);
}

/** `--upstream URL` */
export function upstreamOption(): Option {
  return new Option("--upstream <url>", "the backend, such as http://127.0.0.1:9000; overrides the file");
}

/** `--listen ADDR` */
export function listenOption(): Option {
  return new Option(
    "--listen <address>",
    "where clients connect, such as 127.0.0.1:8080; overrides the file",
  );
}

/** `--admin ADDR` */
export function adminOption(): Option {
  return new Option(
    "--admin <address>",
    "where operators connect, such as 127.0.0.1:8081, or false; overrides the file",
  );
}

/** `--workers N` */
export function workersOption(): Option {
  return new Option(
    "--workers <number>",
    "how many processes answer requests, or auto for one a core; overrides the file",
  );
}

/** `--issuer-only` */
export function issuerOnlyOption(): Option {
  return new Option(
    "--issuer-only",
    "serve the issuer's endpoints and forward nothing: every other request is answered 404",
  );
}

/** `--log-level L` */
export function logLevelOption(): Option {
  return new Option(
    "--log-level <level>",
    "what is logged: all from this level up; overrides the file",
  ).choices(LOG_LEVELS);
}

/** `--log-format F` */
export function logFormatOption(): Option {
  return new Option(
    "--log-format <format>",
    "one JSON object a line, or text; auto is text on a terminal; overrides the file",
  ).choices(LOG_FORMATS);
}

/** `--algorithm ALG` */
export function algorithmOption(description: string): Option {
  return new Option("--algorithm <alg>", description).choices(SIGNING_ALGORITHMS);
}

const DEFAULT_FILE = "sidecar.yaml";

/**
 * Reads the configuration that the flags mean.
 *
 * @param options `upstreamIsEnough`: where there is no file, `--upstream` alone is a configuration
 * @throws {UsageError} ERR_USAGE when a flag has no sensible value, or there is nothing to read
 * @throws {ConfigError} ERR_CONFIG when the file has problems
 */
export async function readConfiguration(
  flags: ConfigurationFlags,
  { upstreamIsEnough = false } = {},
): Promise<ParsedConfig> {
  checkFlags(flags);
  const { upstream, listen, admin, issuerOnly, logLevel, logFormat } = flags;
  const overrides = { upstream, listen, admin, workers: workersOf(flags), issuerOnly, logLevel, logFormat };
  const file = findConfigurationFile(flags);
  if (file !== undefined) return loadConfig({ file, ...overrides });
  if (upstreamIsEnough && upstream !== undefined)
    return parseConfig("", { file: DEFAULT_FILE, baseDirectory: process.cwd(), ...overrides });
  if (upstreamIsEnough)
    throw nothingHere(`name the backend with --upstream URL, or a configuration with -c FILE; ${INIT}`);
  throw nothingHere(`name the configuration with -c FILE; ${INIT}`);
}

/**
 * The file that the flags mean, read or not.
 *
 * @throws {UsageError} ERR_USAGE when there is none
 */
export function configurationFileOf(flags: ConfigurationFlags): string {
  const file = findConfigurationFile(flags);
  if (file === undefined) throw nothingHere(`name the configuration with -c FILE; ${INIT}`);
  return file;
}

const INIT = "countersign init writes a first one";

function nothingHere(remedy: string): UsageError {
  return new UsageError(`there is no ./${DEFAULT_FILE} here: ${remedy}`);
}

/** The file that the flags mean, which need not be there; `undefined` where they mean none and ./sidecar.yaml is not there. */
export function findConfigurationFile({ config }: Pick<ConfigurationFlags, "config">): string | undefined {
  if (config !== undefined) return config;
  return process.env.COUNTERSIGN_CONFIG || (existsSync(DEFAULT_FILE) ? DEFAULT_FILE : undefined);
}

/**
 * Checks the flags that take the place of a key in the file.
 *
 * @throws {UsageError} ERR_USAGE when one has no sensible value
 */
export function checkFlags({ upstream, listen, admin, workers }: ConfigurationFlags): void {
  checkFlag("--upstream", upstream, parseUpstreamUrl);
  checkFlag("--listen", listen, parseListenAddress);
  if (admin !== "false") checkFlag("--admin", admin, parseListenAddress);
  checkFlag("--workers", workers, parseWorkerCount);
}

/** What the flag says, which has been checked. */
function workersOf({ workers }: ConfigurationFlags): number | "auto" | undefined {
  const reading = workers === undefined ? undefined : parseWorkerCount(workers);
  return reading && "value" in reading ? reading.value : undefined;
}

function checkFlag(name: string, value: string | undefined, read: (value: string) => Reading<unknown>): void {
  const reading = value === undefined ? undefined : read(value);
  if (reading && "expected" in reading) throw new UsageError(`${name}: ${reading.expected}`);
}

/** Prints warnings to standard error, a line each. */
export function printWarnings(warnings: readonly Problem[]): void {
  for (const warning of warnings) console.error(`warning: ${formatProblem(warning)}`);
}
