import { once } from "node:events";
import type { AddressInfo, Server } from "node:net";
import { ListenError } from "./listen-error.ts";
import type { ListenAddress } from "./listen-options.ts";
import { listenOnUnixSocket } from "./unix-socket.ts";

/**
 * Opens the address of a server.
 *
 * @returns the address, with the port that was taken where any was asked for
 * @throws {ListenError} ERR_LISTEN when the address cannot be used
 */
export async function openAddress(server: Server, address: ListenAddress): Promise<ListenAddress> {
  switch (address.kind) {
    case "tcp":
      server.listen(address);
      await listening(server, address);
      return { ...address, port: (server.address() as AddressInfo).port };
    case "unix":
      await listenOnUnixSocket(server, address);
      return address;
    case "systemd":
      server.listen({ fd: inheritedSocketOf(address) });
      await listening(server, address);
      return address;
  }
}

async function listening(server: Server, address: ListenAddress): Promise<void> {
  try {
    await once(server, "listening");
  } catch (cause) {
    throw new ListenError(address, cause as NodeJS.ErrnoException);
  }
}

/** The descriptor of a socket that the process was started with. */
function inheritedSocketOf(address: ListenAddress & { readonly kind: "systemd" }): number {
  throw new ListenError(address, new Error("no socket was passed to this process"));
}
