import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

/** A TCP server in a backend's place: it keeps every byte and answers as the test says. */
export interface RawBackend extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** All bytes that arrived, over all connections. */
  received(): string;
  /** How many requests arrived, counted by their request lines. */
  requestLines(): string[];
  readonly sockets: Socket[];
}

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/**
 * Starts a raw backend.
 *
 * @param answer called for each piece of data; by default every piece that ends a header section is answered 200
 * @param options with `allowHalfOpen` its connections stay open when the other side has ended
 */
export async function startRawBackend(
  answer?: (socket: Socket, data: string) => void,
  { allowHalfOpen = false } = {},
): Promise<RawBackend> {
  let received = "";
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.on("data", (data) => {
      const text = data.toString("latin1");
      received += text;
      if (answer) answer(socket, text);
      else if (text.includes("\r\n\r\n")) socket.write(OK);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    received: () => received,
    requestLines: () => received.match(/^[A-Z]+ \S+ HTTP\/1\.1$/gm) ?? [],
    sockets,
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
}
