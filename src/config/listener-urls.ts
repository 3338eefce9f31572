import { formatAddress, type ListenAddress, type ListenOptions } from "../gateway/listen/listen-options.ts";
import type { Config } from "./config.ts";
import { isWildcard } from "./wildcard.ts";

/**
 * The issuer's URL: as configured, else the first listener's own with `basePath`.
 *
 * @param address the one that is listened on, where the configuration leaves the port open
 */
export function issuerUrlOf({ issuer, listen }: Config, address: ListenAddress = listen[0].address): string {
  return issuer.url ?? `${schemeOf({ listen })}://${reachableAuthority(address)}${issuer.basePath}`;
}

/** The URL of a listener, for messages. */
export function listenerUrlOf({ tls }: ListenOptions, address: ListenAddress): string {
  if (address.kind !== "tcp") return formatAddress(address);
  return `${tls ? "https" : "http"}://${reachableAuthority(address)}`;
}

/**
 * Host and port of a listener. One on every address is reached, from this machine, at the loopback one; one that is no
 * port has no authority of its own, and is `localhost`.
 */
export function reachableAuthority(address: ListenAddress): string {
  if (address.kind !== "tcp") return "localhost";
  return formatAddress(isWildcard(address) ? { ...address, host: "127.0.0.1" } : address);
}

/** The scheme of the first listener's URLs. */
export function schemeOf({ listen: [first] }: Pick<Config, "listen">): "http" | "https" {
  return first.tls ? "https" : "http";
}
