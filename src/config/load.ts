import { readFile } from "node:fs/promises";
import { reasonOf } from "../errors.ts";
import { type ParsedConfig, type ParseOptions, parseConfig } from "./parse.ts";
import { ConfigError } from "./problems.ts";

/** Where the configuration comes from. */
export interface LoadOptions extends Omit<ParseOptions, "file"> {
  /** The path of a `sidecar.yaml`. */
  readonly file: string;
}

const READ_PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: "this file does not exist; name the configuration with -c FILE or in $COUNTERSIGN_CONFIG",
  EISDIR: "this is a directory; name the configuration with -c FILE or in $COUNTERSIGN_CONFIG",
};

/**
 * Reads and checks a `sidecar.yaml`.
 *
 * @throws {ConfigError} ERR_CONFIG when the file cannot be read, or with every problem in it
 */
export async function loadConfig(options: LoadOptions): Promise<ParsedConfig> {
  let text: string;
  try {
    text = await readFile(options.file, "utf8");
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    const message = READ_PROBLEMS[code] ?? `this file cannot be read: ${reasonOf(error)}`;
    throw new ConfigError([{ file: options.file, key: "", message }]);
  }
  return parseConfig(text, options);
}
