import type { ListenAddress } from "../gateway/listener.ts";

/** Whether an address is every address of the machine: no host, or any spelling of `0.0.0.0` or `::`. */
export function isWildcard({ host }: ListenAddress): boolean {
  return host === undefined || /^[0:.]+$/.test(host);
}
