import { once } from "node:events";
import {
  type ClientHttp2Session,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from "node:http2";

/** A response of HTTP/2, read whole. */
export interface Http2Response {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** An HTTP/2 connection that is ended with its scope. */
export interface Http2Client extends Disposable {
  readonly session: ClientHttp2Session;
  /** Sends one request, with a body where one is given, and reads its response. */
  request(headers?: OutgoingHttpHeaders, body?: string | Buffer): Promise<Http2Response>;
}

/** Opens an HTTP/2 connection: without TLS with prior knowledge, with it by ALPN. */
export async function connectHttp2(
  url: string,
  options: SecureClientSessionOptions = {},
): Promise<Http2Client> {
  const session = connect(url, options);
  await once(session, "connect");
  session.on("error", () => {});
  return {
    session,
    async request(headers = {}, body) {
      const stream = session.request(headers, { endStream: body === undefined });
      if (body !== undefined) stream.end(body);
      const [received] = (await once(stream, "response")) as [IncomingHttpHeaders & { ":status"?: number }];
      let text = "";
      for await (const piece of stream) text += piece;
      return { status: received[":status"], headers: received, body: text };
    },
    [Symbol.dispose]: () => session.destroy(),
  };
}

/** `listen` for a sidecar that speaks HTTP/2 without TLS. */
export const LISTEN_HTTP2 = 'listen: {address: "127.0.0.1:0", http2: true}\n';
