/** Where a ring is that replicas share, and how it is reached. Every path is absolute. */
export interface RedisOptions {
  readonly place: RedisPlace;
  /** Stands before the name of everything that is kept there. */
  readonly prefix: string;
  readonly credentials: RedisCredentials;
  /** `undefined`: without TLS. */
  readonly tls: RedisTls | undefined;
  /** The keys that encrypt the ring: as text, or the file that holds the text. */
  readonly encryption: { readonly text: string } | { readonly file: string };
}

/** What a connection is opened to. */
export type RedisPlace =
  | { readonly kind: "server"; readonly server: RedisServer; readonly database: number }
  | {
      /** Sentinels say which server is the master of this name. */
      readonly kind: "sentinel";
      readonly master: string;
      readonly sentinels: readonly TcpServer[];
      /** Those of the sentinels themselves. */
      readonly credentials: RedisCredentials;
    }
  | {
      /** Some nodes of a cluster, which know the others. */
      readonly kind: "cluster";
      readonly nodes: readonly TcpServer[];
    };

/** A server that listens on a port. */
export interface TcpServer {
  readonly host: string;
  readonly port: number;
}

/** A server that listens on a port or a Unix socket. */
export type RedisServer = TcpServer | { readonly socketPath: string };

/** Whoever has no user name is the user `default` (Redis ACL). */
export interface RedisCredentials {
  readonly username: string | undefined;
  readonly password: string | undefined;
}

/** How servers are known, and known to them: files in PEM. */
export interface RedisTls {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly serverName: string | undefined;
  readonly skipVerification: boolean;
}

/** Where the ring is, for messages. */
export function describePlace(place: RedisPlace): string {
  if (place.kind === "sentinel")
    return `the Redis master ${place.master} of the sentinels ${place.sentinels.map(describeServer).join(", ")}`;
  if (place.kind === "cluster") return `the Redis cluster of ${place.nodes.map(describeServer).join(", ")}`;
  return `Redis at ${describeServer(place.server)}`;
}

function describeServer(server: RedisServer): string {
  if ("socketPath" in server) return server.socketPath;
  return `${server.host.includes(":") ? `[${server.host}]` : server.host}:${server.port}`;
}
