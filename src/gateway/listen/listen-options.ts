import type { TlsOptions } from "./tls-files.ts";

/** A TCP port. */
export interface TcpAddress {
  readonly kind: "tcp";
  /** A name or IP address without brackets; `undefined` is every address of the machine. */
  readonly host: string | undefined;
  /** 0 takes any free port. */
  readonly port: number;
}

/** A Unix domain socket. */
export interface UnixAddress {
  readonly kind: "unix";
  /** Absolute. */
  readonly path: string;
  /** Permissions of the socket file, such as `0o660`: whoever may write to it may connect. */
  readonly mode: number;
}

/** A socket that the process was started with (systemd socket activation, sd_listen_fds(3)). */
export interface InheritedSocket {
  readonly kind: "systemd";
  /** Its FileDescriptorName; `undefined`: the only one. */
  readonly name: string | undefined;
}

/** Where clients connect. */
export type ListenAddress = TcpAddress | UnixAddress | InheritedSocket;

/** Where to listen, and how clients speak there. */
export interface ListenOptions {
  readonly address: ListenAddress;
  /** `undefined`: without TLS. */
  readonly tls: TlsOptions | undefined;
  /** Whether HTTP/2 is spoken beside HTTP/1.1: by ALPN with TLS, else with prior knowledge (RFC 9113 §3.3). */
  readonly http2: boolean;
}

/** An address as messages name it: IPv6 in brackets, and no host as `*`. */
export function formatAddress(address: ListenAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  if (address.kind === "systemd") return address.name === undefined ? "systemd" : `systemd:${address.name}`;
  const { host, port } = address;
  if (host === undefined) return `*:${port}`;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
