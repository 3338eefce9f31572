import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type RequestListener } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";

/** A request as a backend saw it. */
export interface RecordedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

/** A real HTTP server that keeps what it gets. */
export interface TestBackend extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Filled by the default listener alone. */
  readonly requests: RecordedRequest[];
}

/** Starts a backend. Without a listener it records each whole request and answers 200 "ok". */
export async function startBackend(listener?: RequestListener): Promise<TestBackend> {
  const requests: RecordedRequest[] = [];
  const record: RequestListener = async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { method = "", url = "", headers, rawHeaders } = request;
    requests.push({ method, url, headers, rawHeaders, body: Buffer.concat(chunks) });
    response.end("ok");
  };
  const server = createServer(listener ?? record);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    requests,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

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
 */
export async function startRawBackend(answer?: (socket: Socket, data: string) => void): Promise<RawBackend> {
  let received = "";
  const sockets: Socket[] = [];
  const server = createTcpServer((socket) => {
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
      server.close();
      for (const socket of sockets) socket.destroy();
      if (server.listening) await once(server, "close");
    },
  };
}
