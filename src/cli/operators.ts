import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { Option } from "commander";
import { parseUpstreamUrl } from "../config/addresses.ts";
import { readAdmin } from "../config/admin.ts";
import { ConfigError } from "../config/problems.ts";
import { reasonOf } from "../errors.ts";
import { type Place, placeOf } from "./ask.ts";
import { type ConfigurationFlags, findConfigurationFile } from "./configuration.ts";
import { UsageError } from "./usage-error.ts";

/** The options of every command that asks a running sidecar. */
export interface OperatorsFlags extends Pick<ConfigurationFlags, "config"> {
  readonly url?: string;
}

/** `--url URL` */
export function operatorsOption(): Option {
  return new Option(
    "--url <url>",
    "the operators' listener, such as http://127.0.0.1:8081 (default: the configured one)",
  );
}

/**
 * Where the operators' listener is.
 *
 * @throws {UsageError} ERR_USAGE when there is none, or its place is not known
 * @throws {ConfigError} ERR_CONFIG when the file cannot be read as far as that
 */
export async function operatorsOf(flags: OperatorsFlags): Promise<Place> {
  if (flags.url !== undefined) return placeAt(flags.url);
  const file = findConfigurationFile(flags);
  const admin = readAdmin(file === undefined ? "" : await textOf(file), { file: file ?? "sidecar.yaml" });
  if (!admin) throw new UsageError("the configuration has no operators' listener (admin: false)");
  const place = placeOf(admin);
  if (place) return place;
  throw new UsageError(
    "the configuration does not say where the operators' listener is (admin); name it with --url URL",
  );
}

async function textOf(file: string): Promise<string> {
  return readFile(file, "utf8").catch((error: unknown) => {
    throw new ConfigError([{ file, key: "", message: `this file cannot be read: ${reasonOf(error)}` }]);
  });
}

function placeAt(url: string): Place {
  const reading = parseUpstreamUrl(url);
  if ("expected" in reading)
    throw new UsageError('--url: expected a URL such as "http://127.0.0.1:8081" or "unix:/run/admin.sock"');
  const { origin, socketPath } = reading.value;
  if (socketPath !== undefined) return { origin, socketPath };
  const host = new URL(origin).hostname.replace(/^\[(.*)\]$/, "$1");
  // A certificate is for a name, and a probe beside the listener has the address alone.
  return {
    origin,
    takesAnyCertificate: host === "localhost" || (isIP(host) !== 0 && /^(?:127\.|::1$)/.test(host)),
  };
}
