import { realpath } from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import type { Config } from "../../config/config.ts";
import { keyNeedsOf } from "../../config/key-needs.ts";
import type { ParsedConfig } from "../../config/parse.ts";
import { ConfigError } from "../../config/problems.ts";
import { KeyError } from "../../issuer/keys/key-error.ts";
import type { KeySet } from "../../issuer/keys/key-set.ts";
import type { KeySource } from "../../issuer/keys/key-source.ts";
import { readLiveKeys } from "../live-keys.ts";
import { UsageError } from "../usage-error.ts";

/** A configuration that a static issuer can be made of. */
export interface CopySettings {
  readonly config: Config;
  readonly url: string;
  /** Where its keys are; never in memory. */
  readonly source: Exclude<KeySource, { kind: "ephemeral" }>;
}

/**
 * What a static issuer in `directory` is made of.
 *
 * @throws {ConfigError} ERR_CONFIG when the configuration does not say at which URL it will be
 * @throws {KeyError} ERR_KEY when the keys are those of a process alone
 * @throws {UsageError} ERR_USAGE when private keys would lie beside the public files
 */
export async function copySettingsOf(
  { file, config, positionOf }: ParsedConfig,
  directory: string,
): Promise<CopySettings> {
  const { url, keys: source } = config.issuer;
  if (url === undefined) {
    const message = `not set, and only this machine reaches the default; set issuer.url to the URL that ${directory} will be reachable at`;
    throw new ConfigError([{ file, position: positionOf(["issuer"]), key: "issuer.url", message }]);
  }
  if (source.kind === "ephemeral")
    throw new KeyError(
      "issuer.keys.ephemeral",
      "these keys are in the memory of the sidecar alone, and new at every start; use a directory, files, env or pkcs11",
    );
  await checkPlace(directory, source);
  return { config, url, source };
}

/** Whoever uploads the folder uploads everything in it, and a folder of keys is closed to others. */
async function checkPlace(directory: string, source: CopySettings["source"]): Promise<void> {
  const real = await realPathOf(resolve(directory));
  const folder = await realPathOf(join(real, ".well-known"));
  const refuse = (reason: string) => {
    throw new UsageError(`${directory}: ${reason}; choose a folder for the public files alone`);
  };
  if (source.kind === "directory") {
    const keys = await realPathOf(source.directory);
    if (isWithin(real, keys) || isWithin(folder, keys)) refuse("this is the key directory, or inside of it");
    if (isWithin(keys, real)) refuse(`the key directory ${source.directory} is inside of it`);
  }
  // The name that a file has there, and what it is a link to.
  for (const [what, file] of secretFilesOf(source))
    if (
      isWithin(await realPathOf(file), real) ||
      isWithin(join(await realPathOf(dirname(file)), basename(file)), real)
    )
      refuse(`${what} ${file} is inside of it`);
}

function secretFilesOf(source: CopySettings["source"]): (readonly [string, string])[] {
  if (source.kind === "files") return source.files.map((file) => ["the private key", file]);
  return source.kind === "pkcs11" && source.pin.kind === "file" ? [["the PIN", source.pin.file]] : [];
}

function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== ".." && !way.startsWith(`..${sep}`) && resolve(folder, way) === path;
}

/** Where a path leads, links followed, as far as it exists. */
async function realPathOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(await realPathOf(parent), basename(path));
  }
}

/**
 * The keys as they are at `now`.
 *
 * @param now milliseconds since the epoch
 * @throws {KeyError} ERR_KEY when one that the configuration needs is not there or cannot be read
 */
export async function keysForCopy({ config, source }: CopySettings, now: number): Promise<KeySet> {
  const needs = keyNeedsOf(config);
  await using live = await readLiveKeys(config, now);
  const { set: keys } = live;
  const missing = needs.filter(({ purpose, algorithm }) => !keys.activeKey(purpose, algorithm));
  if (missing.length === 0) return keys;
  const names = missing.map(
    ({ purpose, algorithm }) => `${algorithm}${purpose === "identity" ? " (identity)" : ""}`,
  );
  throw new KeyError(
    source.kind === "directory" ? source.directory : "issuer.keys",
    `there is no key yet for ${names.join(", ")}; start the sidecar, or make them first: countersign keys generate`,
  );
}
