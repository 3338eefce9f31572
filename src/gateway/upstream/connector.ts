import { buildConnector } from "undici";
import { tellResetFromEnd } from "./connection-reset.ts";
import type { UpstreamOptions } from "./upstream-options.ts";
import type { UpstreamTlsMaterial } from "./upstream-tls.ts";

/** Opens one connection to a backend; it is ready to be spoken on, and with TLS its handshake is done. */
export type Connect = (done: buildConnector.Callback) => void;

/**
 * Creates what opens connections to an upstream. Each resolves the name anew, and tries its addresses one after another
 * (RFC 8305) until one accepts.
 *
 * @param material what stands in the files of `tls`
 * @param offersHttp2 whether HTTP/2 is offered in the TLS handshake (RFC 7301), ahead of HTTP/1.1
 */
export function createConnector(
  { origin, socketPath, tls, timeouts }: UpstreamOptions,
  material: UpstreamTlsMaterial,
  offersHttp2: boolean,
): Connect {
  const { protocol, hostname, host, port } = new URL(origin);
  const connect = buildConnector({
    ...material,
    // Said aloud, because a flag of Node.js can lower its own default (RFC 8996: older ones must not be used).
    minVersion: "TLSv1.2",
    rejectUnauthorized: !tls.skipVerification,
    timeout: timeouts.connectSeconds * 1000,
    allowH2: offersHttp2,
    preferH2: offersHttp2,
    ...(socketPath !== undefined && { socketPath }),
  });
  const target = {
    protocol,
    // Without the brackets of an IPv6 address.
    hostname: hostname.replace(/^\[(.*)\]$/, "$1"),
    host,
    port,
    ...(tls.serverName !== undefined && { servername: tls.serverName }),
  };
  return (done) =>
    connect(target, (...result) => {
      const [, socket] = result;
      if (socket) tellResetFromEnd(socket);
      done(...result);
    });
}
