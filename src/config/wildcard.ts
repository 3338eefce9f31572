import type { ListenAddress } from "../gateway/listen/listen-options.ts";

/** Whether an address is every address of the machine: no host, or any spelling of `0.0.0.0` or `::`. */
export function isWildcard(address: ListenAddress): boolean {
  return address.kind === "tcp" && (address.host === undefined || /^[0:.]+$/.test(address.host));
}
