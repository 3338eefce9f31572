import type { Config } from "../config/config.ts";
import { keyNeedsOf } from "../config/key-needs.ts";
import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import { KeyError } from "../issuer/keys/key-error.ts";
import { type KeySource, storeOf } from "../issuer/keys/key-source.ts";
import { isSameLine, type KeyNeed, pendingSecondsOf } from "../issuer/keys/ring.ts";
import { type ConfigurationFlags, printWarnings, readConfiguration } from "./configuration.ts";
import { UsageError } from "./usage-error.ts";

/** The options that say which key is meant. */
export interface LineFlags extends ConfigurationFlags {
  readonly algorithm?: SigningAlgorithm;
  readonly identity?: true;
}

/** Reads the configuration and prints what is doubtful about it. */
export async function readConfig(flags: ConfigurationFlags): Promise<Config> {
  const { config, warnings } = await readConfiguration(flags);
  printWarnings(warnings);
  return config;
}

/**
 * Opens the key directory of the configuration.
 *
 * @throws {KeyError} ERR_KEY when the keys are kept elsewhere
 */
export async function openDirectory(flags: ConfigurationFlags) {
  const config = await readConfig(flags);
  const { store, rotation } = directoryOf(config.issuer.keys);
  return { config, store, pendingSeconds: pendingSecondsOf(rotation) };
}

/**
 * The store of a key directory, and how its keys follow one another.
 *
 * @throws {KeyError} ERR_KEY when the keys are kept elsewhere
 */
export function directoryOf(source: KeySource) {
  if (source.kind === "directory") return { store: storeOf(source), rotation: source.rotation };
  const where = { files: "files of your own", env: "a variable", ephemeral: "the memory of the sidecar" }[
    source.kind
  ];
  throw new KeyError("issuer.keys", `these keys are in ${where}; this command is for issuer.keys.directory`);
}

/**
 * The configured keys that the flags mean.
 *
 * @throws {UsageError} ERR_USAGE when the configuration has none
 */
export function chosenNeeds(config: Config, { algorithm, identity }: LineFlags): KeyNeed[] {
  const needs = keyNeedsOf(config).filter(
    (need) =>
      (algorithm === undefined || need.algorithm === algorithm) && (!identity || need.purpose === "identity"),
  );
  if (needs.length > 0) return needs;
  throw new UsageError(
    identity && !config.identity
      ? "--identity: the configuration has no identity"
      : "the configuration needs no such key; countersign keys list shows which there are",
  );
}

/**
 * One key, whether the configuration needs it yet or not.
 *
 * @throws {UsageError} ERR_USAGE when it is for an identity that is not configured
 */
export function needOf(config: Config, algorithm: SigningAlgorithm, isIdentity: boolean): KeyNeed {
  const purpose = isIdentity ? "identity" : "token";
  if (isIdentity && !config.identity) throw new UsageError("--identity: the configuration has no identity");
  const configured = keyNeedsOf(config).find((need) => isSameLine(need, { purpose, algorithm }));
  return configured ?? { purpose, algorithm, longestLifetimeSeconds: config.issuer.expiresInSeconds };
}
