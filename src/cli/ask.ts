import type { IncomingHttpHeaders } from "node:http";
import { request as requestHttps } from "node:https";
import { reachableAuthority } from "../config/listener-urls.ts";
import { reasonOf } from "../errors.ts";
import type { ListenOptions } from "../gateway/listen/listen-options.ts";
import { codeOf } from "../gateway/upstream/upstream-failure.ts";
import { http } from "../node-http.ts";

/** Something that can be asked over HTTP. */
export interface Place {
  /** Scheme and authority, such as `http://127.0.0.1:8081`; of a Unix socket `http://localhost`. */
  readonly origin: string;
  /** The path of a Unix socket that is connected to instead. */
  readonly socketPath?: string;
  /** Whether a certificate that nobody vouches for will do: on this machine alone, where nothing secret is sent. */
  readonly takesAnyCertificate?: boolean;
}

/** What came back. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** What a listener of this machine is asked at; `undefined` where the configuration does not say its port. */
export function placeOf({ address, tls }: ListenOptions): Place | undefined {
  const scheme = tls ? "https" : "http";
  if (address.kind === "unix")
    return { origin: `${scheme}://localhost`, socketPath: address.path, takesAnyCertificate: true };
  if (address.kind === "systemd" || address.port === 0) return undefined;
  return { origin: `${scheme}://${reachableAuthority(address)}`, takesAnyCertificate: true };
}

/** A place as messages name it. */
export function formatPlace({ origin, socketPath }: Place): string {
  return socketPath === undefined ? origin : `unix:${socketPath}`;
}

const MAX_BODY_BYTES = 1024 * 1024;

/**
 * Sends one GET and reads the whole answer. A redirect is an answer like any other.
 *
 * @param path with the query
 * @throws {Error} whose message says, in words, why there is none: {@link refusalOf} of what went wrong
 */
export async function ask(place: Place, path: string, timeoutMilliseconds: number): Promise<Answer> {
  const { origin, socketPath, takesAnyCertificate = false } = place;
  const signal = AbortSignal.timeout(timeoutMilliseconds);
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const send = origin.startsWith("https:") ? requestHttps : http.request;
  const clientRequest = send(new URL(`${origin}${path}`), {
    agent: false,
    signal,
    headers: { accept: "application/json", "user-agent": "countersign" },
    ...(socketPath !== undefined && { socketPath }),
    ...(takesAnyCertificate && { rejectUnauthorized: false }),
  });
  clientRequest.on("error", reject);
  clientRequest.on("response", async (response) => {
    try {
      const pieces: Buffer[] = [];
      let size = 0;
      for await (const piece of response) {
        size += piece.length;
        if (size > MAX_BODY_BYTES) throw new Error(`the answer is larger than ${MAX_BODY_BYTES} bytes`);
        pieces.push(piece);
      }
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        body: Buffer.concat(pieces).toString("utf8"),
      });
    } catch (error) {
      reject(error);
    } finally {
      clientRequest.destroy();
    }
  });
  clientRequest.end();
  try {
    return await promise;
  } catch (error) {
    const late = `no answer within ${timeoutMilliseconds / 1000} s`;
    throw new Error(signal.aborted ? late : refusalOf(error), { cause: error });
  }
}

const REFUSALS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nobody listens there",
  ENOENT: "there is no such socket",
  EACCES: "this user may not connect to this socket",
  ENOTFOUND: "the host name is not known",
  EAI_AGAIN: "the host name cannot be looked up now",
  ECONNRESET: "the connection was closed without an answer",
  EHOSTUNREACH: "the host cannot be reached",
  ENETUNREACH: "the network of the host cannot be reached",
  ETIMEDOUT: "nobody accepted the connection in time",
  UND_ERR_CONNECT_TIMEOUT: "nobody accepted the connection in time",
  EPROTO: "TLS and plain HTTP met: the scheme is the wrong one",
};

/** What went wrong with a connection, in words. */
export function refusalOf(error: unknown): string {
  return REFUSALS[error instanceof Error ? codeOf(error) : ""] ?? reasonOf(error);
}

/** Reads JSON that somebody else sent; `undefined` where it is no map. */
export function jsonMapOf(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
