import { once } from "node:events";
import type { IncomingHttpHeaders } from "node:http";
import { type Agent, request } from "node:https";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { stringify } from "yaml";
import {
  createCa,
  issueForServer,
  type TestCa,
  type TestCertificate,
  writeTlsFiles,
} from "./certificates.ts";
import { temporaryFolder } from "./command-line.ts";
import { startSidecar, type TestSidecar, type TestSidecarOptions } from "./sidecar.ts";

/** A sidecar that serves https, and the CA of its certificate and its clients'. */
export interface TlsSidecar extends AsyncDisposable {
  readonly sidecar: TestSidecar;
  readonly port: number;
  readonly ca: TestCa;
  /** Opens a connection, with the handshake done. */
  connect(options?: ConnectionOptions): Promise<TLSSocket>;
}

/** What {@link startTlsSidecar} takes beside the upstream; its YAML is without `listen`. */
export interface TlsSidecarOptions extends TestSidecarOptions {
  readonly clientCertificate?: "none" | "optional" | "required";
  readonly http2?: boolean;
}

/** The CA of every such sidecar and its clients. */
export const ca = await createCa();
const server = await issueForServer(ca);

/** Starts a sidecar that serves https with a certificate of its own, in front of `upstream`. */
export async function startTlsSidecar(
  upstream: string,
  { clientCertificate = "none", http2 = true, yaml = "", ...options }: TlsSidecarOptions = {},
): Promise<TlsSidecar> {
  using folder = temporaryFolder();
  writeTlsFiles(folder.path, server, ca);
  const file = (name: string) => `${folder.path}/${name}`;
  const clients = clientCertificate === "none" ? {} : { clientCa: file("ca.crt"), clientCertificate };
  const tls = { cert: file("tls.crt"), key: file("tls.key"), ...clients };
  // The files are read once, at the start.
  const sidecar = await startSidecar(upstream, {
    ...options,
    yaml: `${stringify({ listen: { address: "127.0.0.1:0", tls, http2 } })}${yaml}`,
  });
  return {
    sidecar,
    port: sidecar.port,
    ca,
    async connect(options = {}) {
      const socket = connect({ port: sidecar.port, host: "127.0.0.1", ca: ca.cert, ...options });
      await once(socket, "secureConnect");
      return socket;
    },
    [Symbol.asyncDispose]: () => sidecar.close(),
  };
}

/** What {@link get} takes beside the URL. */
export interface GetOptions {
  readonly ca: TestCa;
  readonly client?: TestCertificate;
  readonly agent?: Agent;
  readonly headers?: Readonly<Record<string, string>>;
}

/** One GET, with the certificate of a client where there is one. */
export async function get(
  url: string,
  { ca: { cert: trusted }, client, agent, headers }: GetOptions,
): Promise<{
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}> {
  const clientRequest = request(url, { ca: trusted, agent, headers, cert: client?.cert, key: client?.key });
  clientRequest.end();
  const [response] = await once(clientRequest, "response");
  let body = "";
  for await (const piece of response) body += piece;
  return { status: response.statusCode, headers: response.headers, body };
}
