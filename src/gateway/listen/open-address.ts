import { once } from "node:events";
import type { AddressInfo, Server } from "node:net";
import { inheritedSocketOf } from "./inherited-socket.ts";
import { ListenError } from "./listen-error.ts";
import type { ListenAddress } from "./listen-options.ts";
import { listenOnUnixSocket } from "./unix-socket.ts";

/**
 * Opens the address of a server.
 *
 * @returns the address, with the port that was taken where any was asked for; of a socket that was passed, the one that it has
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
      return addressOfPassed(server) ?? address;
  }
}

async function listening(server: Server, address: ListenAddress): Promise<void> {
  try {
    await once(server, "listening");
  } catch (cause) {
    throw new ListenError(address, cause as NodeJS.ErrnoException);
  }
}

/** Where a server listens whose socket was passed to it; `undefined`: that has no port. */
function addressOfPassed(server: Server): ListenAddress | undefined {
  const opened = server.address();
  if (opened === null || typeof opened === "string") return undefined;
  return { kind: "tcp", host: opened.address, port: opened.port };
}
