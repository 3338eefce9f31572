/** Values of `sidecar.yaml` that say where something is: sockets, and URLs. */

import { isIP } from "node:net";
import type { ListenAddress } from "../gateway/listen/listen-options.ts";
import { type Reading, text } from "./values.ts";

const LISTEN_EXPECTED =
  'expected an address such as "127.0.0.1:8080", "[::1]:8080", ":8080", "unix:/run/c.sock" or "systemd"';

/** Whoever is of the group may connect. */
export const DEFAULT_SOCKET_MODE = 0o660;

/** An address to listen on; the path of a Unix socket as it is written. */
export const listenAddress = text(LISTEN_EXPECTED, parseListenAddress).meta({ title: "address" });

/** Reads `host:port`, `[ipv6]:port`, `:port`, `unix:path`, `systemd` or `systemd:name`. */
export function parseListenAddress(value: string): Reading<ListenAddress> {
  const [, path] = /^unix:(.+)$/.exec(value) ?? [];
  if (path !== undefined) {
    const problem = socketPathProblem(path);
    return problem ? { expected: problem } : { value: { kind: "unix", path, mode: DEFAULT_SOCKET_MODE } };
  }
  const inherited = /^systemd(?::([\w.@-]+))?$/.exec(value);
  if (inherited) return { value: { kind: "systemd", name: inherited[1] } };
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]*)):(\d{1,5})$/.exec(value);
  const port = Number(match?.[3]);
  if (!match || port > 65535) return { expected: LISTEN_EXPECTED };
  if (match[1] !== undefined && isIP(match[1]) !== 6) return { expected: LISTEN_EXPECTED };
  return { value: { kind: "tcp", host: match[1] ?? (match[2] || undefined), port } };
}

/** The system holds the path of a socket in 108 bytes, with a zero behind it (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

function socketPathProblem(path: string): string | undefined {
  if (path.startsWith("//")) return 'expected a path such as "unix:/run/c.sock", with one slash';
  if (path.includes("\0")) return "expected a path without NUL";
  return Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES
    ? `expected a path of at most ${MAX_SOCKET_PATH_BYTES} bytes`
    : undefined;
}

/** The permissions of a socket file. */
export const socketMode = text('expected permissions such as "0660", in quotes', (value) =>
  /^0?[0-7]{3}$/.test(value)
    ? { value: Number.parseInt(value, 8) }
    : { expected: 'expected permissions such as "0660"' },
).meta({ title: "permissions, in quotes" });

const UPSTREAM_EXPECTED = 'expected a URL such as "http://127.0.0.1:9000"';

/** Where a backend is: an origin, and for a Unix socket the path of it, as it is written. */
export interface UpstreamUrl {
  readonly origin: string;
  readonly socketPath: string | undefined;
}

/** Where requests are forwarded to. */
export const upstreamUrl = text(UPSTREAM_EXPECTED, parseUpstreamUrl).meta({ title: "URL" });

/** Reads the origin of an upstream, or `unix:path`. */
export function parseUpstreamUrl(value: string): Reading<UpstreamUrl> {
  const [, socketPath] = /^unix:(.+)$/.exec(value) ?? [];
  if (socketPath !== undefined) {
    const problem = socketPathProblem(socketPath);
    return problem ? { expected: problem } : { value: { origin: "http://localhost", socketPath } };
  }
  const url = httpUrl(value);
  if (!url) return { expected: UPSTREAM_EXPECTED };
  if (url.pathname !== "/" || url.search || url.hash)
    return { expected: "expected a URL without a path: a request keeps the path that the client sent" };
  if (url.username || url.password) return { expected: "expected a URL without a user name or password" };
  if (url.port === "0") return { expected: "expected a port from 1 to 65535" };
  return { value: { origin: url.origin, socketPath: undefined } };
}

const BASE_URL_EXPECTED = 'expected a URL such as "https://api.example.com"';

/** An http or https URL that other URLs are made from: no query, no fragment, no slash at the end. */
export const baseUrl = text(BASE_URL_EXPECTED, (value) => {
  const url = httpUrl(value);
  if (!url) return { expected: BASE_URL_EXPECTED };
  if (url.username || url.password || url.search || url.hash || /[?#]/.test(value))
    return { expected: "expected a URL without user name, query and fragment" };
  if (value.endsWith("/")) return { expected: "expected a URL without a slash at its end" };
  return { value };
}).meta({ title: "URL" });

/** An http or https URL, or `undefined`. */
export function httpUrl(value: string): URL | undefined {
  if (!/^https?:\/\/[^\s\\]+$/i.test(value) || !URL.canParse(value)) return undefined;
  return new URL(value);
}
