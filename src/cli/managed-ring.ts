import type { Config } from "../config/config.ts";
import { keyNeedsOf } from "../config/key-needs.ts";
import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import { KeyError } from "../issuer/keys/key-error.ts";
import { type KeySource, type ManagedKeySource, rotationOf, storeOf } from "../issuer/keys/key-source.ts";
import { isSameLine, type KeyNeed, pendingSecondsOf } from "../issuer/keys/ring.ts";
import type { KeyStore } from "../issuer/keys/store.ts";
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

/** A ring that a command works on. */
export interface OpenRing {
  readonly config: Config;
  readonly store: KeyStore;
  /** For how long a new key is published before it signs. */
  readonly pendingSeconds: number;
  /** The time by which the ring goes, in milliseconds since the epoch. */
  readonly now: number;
}

/**
 * Does `work` on the ring of the configuration.
 *
 * @throws {KeyError} ERR_KEY when the keys are kept elsewhere, or the ring cannot be read
 */
export async function withRing(config: Config, work: (ring: OpenRing) => Promise<void>): Promise<void> {
  const source = managedSourceOf(config.issuer.keys);
  const store = await storeOf(source, Date.now);
  try {
    const { clock } = await store.load();
    const now = Date.now() + (clock?.ahead ?? 0);
    await work({ config, store, pendingSeconds: pendingSecondsOf(rotationOf(source)), now });
  } finally {
    await store.close?.();
  }
}

/**
 * The source of keys that Countersign manages.
 *
 * @throws {KeyError} ERR_KEY when somebody else does
 */
export function managedSourceOf(source: KeySource): Exclude<ManagedKeySource, { kind: "ephemeral" }> {
  if (source.kind === "directory" || source.kind === "redis") return source;
  if (source.kind === "pkcs11")
    throw new KeyError(
      "issuer.keys.pkcs11",
      "these keys are on a token, and which of them are used is said by issuer.keys.pkcs11.keys: a key is taken out of use by taking its label out of that list, and one that was made elsewhere is put on the token with the token's own tool, and listed",
    );
  const where = { files: "files of your own", env: "a variable", ephemeral: "the memory of the sidecar" }[
    source.kind
  ];
  throw new KeyError(
    "issuer.keys",
    `these keys are in ${where}; this command is for issuer.keys.directory and issuer.keys.redis`,
  );
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
