import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";

/** A socket that listens, as systemd would pass it to a process. */
export interface PassedSocket {
  readonly fd: number;
  /** For a TCP socket its URL, else its path. */
  readonly url: string;
  /** To be called when a process has the socket, so that this one accepts nothing. */
  close(): void;
}

/** Opens a socket to be passed to a process. @param where a port, or the path of a Unix socket */
export async function openSocket(where: number | string = 0): Promise<PassedSocket> {
  const server = createServer();
  server.listen(typeof where === "string" ? { path: where } : { port: where, host: "127.0.0.1" });
  await once(server, "listening");
  const { fd } = (server as Server & { readonly _handle: { readonly fd: number } })._handle;
  const address = server.address();
  const url = typeof address === "string" ? address : `http://127.0.0.1:${(address as AddressInfo).port}`;
  return { fd, url, close: () => server.close() };
}
