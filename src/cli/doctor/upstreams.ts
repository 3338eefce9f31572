import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Config } from "../../config/config.ts";
import { CountersignError } from "../../errors.ts";
import { createConnector } from "../../gateway/upstream/connector.ts";
import { formatUpstream, type UpstreamOptions } from "../../gateway/upstream/upstream-options.ts";
import { openUpstreamTls } from "../../gateway/upstream/upstream-tls.ts";
import { refusalOf } from "../ask.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";

/** Nobody who waits for a diagnosis waits for longer. */
const MAX_CONNECT_SECONDS = 5;
const DAY = 86_400_000;
/** Time enough to get another certificate. */
const NOTICE_DAYS = 14;

/**
 * Connects to each backend as the sidecar would, TLS handshake included, and sends nothing.
 *
 * @param now milliseconds since the epoch
 */
export async function checkUpstreams({ upstream, policies }: Config, now: number): Promise<Finding[]> {
  const all = [upstream, ...policies.map((policy) => policy.upstream)];
  const seen = new Map(all.map((one) => [JSON.stringify([formatUpstream(one), one.tls, one.http2]), one]));
  return Promise.all([...seen.values()].map((one) => checkUpstream(one, now)));
}

async function checkUpstream(upstream: UpstreamOptions, now: number): Promise<Finding> {
  const check = `upstream ${formatUpstream(upstream)}`;
  try {
    const socket = await connectTo(upstream);
    try {
      return describe(check, socket, now);
    } finally {
      socket.destroy();
    }
  } catch (error) {
    // What stands in a file of `tls` is told by the configuration's check, with its line.
    const problem = error instanceof CountersignError ? error.message : refusalOf(error);
    return fail(check, problem, isAboutCertificate(error) ? CERTIFICATE_REMEDY : CONNECT_REMEDY);
  }
}

const CONNECT_REMEDY = "start the backend, or change upstream; a firewall may be in the way";
const CERTIFICATE_REMEDY =
  "name the CA of the backend's certificate in upstream.tls.ca, and its name in upstream.tls.serverName";

function isAboutCertificate(error: unknown): boolean {
  const { code = "" } = error as NodeJS.ErrnoException;
  return /CERT|SIGNATURE|ISSUER|ALTNAME/.test(code);
}

async function connectTo(upstream: UpstreamOptions): Promise<Socket> {
  const connectSeconds = Math.min(upstream.timeouts.connectSeconds, MAX_CONNECT_SECONDS);
  const bounded = { ...upstream, timeouts: { ...upstream.timeouts, connectSeconds } };
  const files = await openUpstreamTls(upstream.tls, () => {});
  try {
    const connect = createConnector(bounded, files.current(), upstream.http2);
    return await new Promise((resolve, reject) => {
      connect((error, socket) => (error ? reject(error) : resolve(socket as Socket)));
    });
  } finally {
    files.close();
  }
}

function describe(check: string, socket: Socket, now: number): Finding {
  if (!(socket instanceof TLSSocket)) return ok(check, "accepts connections");
  const until = socket.getPeerCertificate().valid_to;
  const found = `accepts connections, ${socket.getProtocol()}; its certificate is valid until ${until}`;
  return Date.parse(until) - now < NOTICE_DAYS * DAY
    ? warn(check, found, "have the certificate of the backend renewed")
    : ok(check, found);
}
