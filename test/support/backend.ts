import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

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
export async function startBackend(
  listener?: RequestListener,
  { host = "127.0.0.1", port: wanted = 0 } = {},
): Promise<TestBackend> {
  const requests: RecordedRequest[] = [];
  const record: RequestListener = async (request, response) => {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      // It was cut, and is no whole request.
      return;
    }
    const { method = "", url = "", headers, rawHeaders } = request;
    requests.push({ method, url, headers, rawHeaders, body: Buffer.concat(chunks) });
    response.end("ok");
  };
  const server = createServer(listener ?? record);
  server.listen(wanted, host);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${host}:${port}`,
    port,
    requests,
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}
