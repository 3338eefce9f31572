import { resolve } from "node:path";
import { z } from "zod";
import { ENCRYPTION_KEYS_EXPECTED, parseEncryptionKeys } from "../issuer/keys/redis/encryption-keys.ts";
import type {
  RedisCredentials,
  RedisOptions,
  RedisPlace,
  TcpServer,
} from "../issuer/keys/redis/redis-options.ts";
import { clientTlsSection } from "./client-tls-section.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "./section.ts";
import { duration, filePath, nonEmptyString, type Reading, secret, text } from "./values.ts";

const DEFAULT_PORT = 6379;
const DEFAULT_SENTINEL_PORT = 26_379;
const DEFAULT_PREFIX = "countersign:";
const DEFAULT_CLOCK_SKEW = "30s";
const LEAST_CLOCK_SKEW_SECONDS = 5;

/** What the URL of a Redis says. */
export interface RedisUrl {
  readonly isTls: boolean;
  readonly place: Extract<RedisPlace, { kind: "server" }>;
}

const URL_EXPECTED =
  'expected a URL such as "redis://127.0.0.1:6379", "rediss://redis.internal:6380/2" or "unix:/run/redis.sock"';

const redisUrl = text(URL_EXPECTED, readRedisUrl).meta({ title: "URL" });

function readRedisUrl(value: string): Reading<RedisUrl> {
  const [, socketPath] = /^unix:(\/.+)$/.exec(value) ?? [];
  if (socketPath !== undefined)
    return { value: { isTls: false, place: { kind: "server", server: { socketPath }, database: 0 } } };
  if (!/^rediss?:\/\/[^\s\\]+$/i.test(value) || !URL.canParse(value)) return { expected: URL_EXPECTED };
  const { protocol, username, password, hostname, port, pathname, search, hash } = new URL(value);
  if (username || password)
    return {
      expected: "expected a URL without user name and password; they have keys of their own beside it",
    };
  const [, database = "0"] = /^\/?(\d{0,5})$/.exec(pathname) ?? [];
  if (!hostname || search || hash || !/^\/?\d{0,5}$/.test(pathname)) return { expected: URL_EXPECTED };
  const server = { host: withoutBrackets(hostname), port: Number(port || DEFAULT_PORT) };
  return {
    value: { isTls: protocol === "rediss:", place: { kind: "server", server, database: Number(database) } },
  };
}

/** `host:port`, `host`, or either with an IPv6 address in brackets. */
function tcpServer(defaultPort: number) {
  const expected = `expected a host and a port such as "redis-1.internal:${defaultPort}"`;
  return text(expected, (value): Reading<TcpServer> => {
    const [, host, port = String(defaultPort)] =
      /^(\[[\da-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?$/i.exec(value) ?? [];
    if (host === undefined || Number(port) < 1 || Number(port) > 65_535) return { expected };
    return { value: { host: withoutBrackets(host), port: Number(port) } };
  }).meta({ title: "host and port" });
}

function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1");
}

function servers(defaultPort: number) {
  return z
    .array(tcpServer(defaultPort), { error: expectedCollection("a list of hosts and ports") })
    .min(1, "expected at least one");
}

const username = nonEmptyString.describe("Default: the user `default`.").optional();
const password = secret(nonEmptyString).describe("Write it as `$env(NAME)`.").optional();

const sentinel = section({
  master: nonEmptyString.describe("The name by which the sentinels know the servers."),
  nodes: servers(DEFAULT_SENTINEL_PORT).describe(
    `Some of the sentinels, as \`host:port\`; the port is ${DEFAULT_SENTINEL_PORT} where it is left out.`,
  ),
  username: username.describe("For the sentinels themselves. Default: the user `default`."),
  password: password.describe("For the sentinels themselves. Write it as `$env(NAME)`. Default: none."),
});

const tls = clientTlsSection({
  name: "server",
  host: "the host",
  danger: "take the place of the server",
});

const encryptionKey = secret(
  text(ENCRYPTION_KEYS_EXPECTED, (value) =>
    parseEncryptionKeys(value) ? { value } : { expected: ENCRYPTION_KEYS_EXPECTED },
  ),
);

/** `issuer.keys.redis` in the file. */
export const redisSection = section({
  url: redisUrl
    .describe("The one server, with `rediss:` by TLS; behind a slash the number of a database.")
    .optional(),
  sentinel: sentinel.describe("In place of `url`: sentinels that say which server is in charge.").optional(),
  cluster: servers(DEFAULT_PORT)
    .describe(
      `In place of \`url\`: some nodes of a Redis Cluster, as \`host:port\`; the port is ${DEFAULT_PORT} where it is left out.`,
    )
    .optional(),
  prefix: z
    .string({ error: "expected a string" })
    .default(DEFAULT_PREFIX)
    .describe("Stands before the name of the ring, `ring`. Each issuer needs one of its own."),
  username,
  password,
  tls: tls
    .describe("How the servers are known, and known to them. With it, `sentinel` and `cluster` use TLS.")
    .optional(),
  encryptionKey: encryptionKey
    .describe(
      "Encrypts the ring: 32 bytes in base64 or hex, as `openssl rand -base64 32` prints them; write it as `$env(NAME)`. Of several, with spaces between, the first encrypts and all decrypt.",
    )
    .optional(),
  encryptionKeyFile: filePath
    .describe("In place of `encryptionKey`: a file with the same. It is read again when it is needed.")
    .optional(),
  clockSkew: duration
    .refine((seconds) => seconds >= LEAST_CLOCK_SKEW_SECONDS, {
      error: `expected at least ${LEAST_CLOCK_SKEW_SECONDS} s: over a network clocks cannot be compared better`,
    })
    .prefault(DEFAULT_CLOCK_SKEW)
    .describe(
      "By how much the clock of a machine may differ from that of Redis. Beyond it the sidecar is not ready. A new key waits twice as long in addition.",
    ),
}).superRefine((value, context) => {
  const given = (["url", "sentinel", "cluster"] as const).filter((key) => value?.[key] !== undefined);
  const refuse = (path: readonly string[], message: string) =>
    context.addIssue({ code: "custom", path: [...path], message });
  if (given.length !== 1) refuse([], "expected one of the keys url, sentinel and cluster");
  const isPlain = value?.url !== undefined && value.url.isTls === false;
  if (value?.tls !== undefined && isPlain)
    refuse(["tls"], "has no effect: the URL does not begin with rediss:");
  if ((value?.encryptionKey === undefined) === (value?.encryptionKeyFile === undefined))
    refuse(
      [],
      "expected one of the keys encryptionKey and encryptionKeyFile: private keys are not stored in the clear",
    );
}, EVEN_WITH_PROBLEMS_INSIDE);

/** What `issuer.keys.redis` says. */
export type RedisSection = z.output<typeof redisSection>;

/**
 * Where the ring is, and how it is reached.
 *
 * @param baseDirectory what relative paths start from
 */
export function redisOptionsOf(value: RedisSection, baseDirectory: string): RedisOptions {
  const { url, prefix, encryptionKey: text = "", encryptionKeyFile } = value;
  const file = (path: string | undefined) => (path === undefined ? undefined : resolve(baseDirectory, path));
  return {
    place: placeOf(value),
    prefix,
    credentials: credentialsOf(value),
    tls:
      (value.tls ?? url?.isTls)
        ? {
            ca: file(value.tls?.ca),
            cert: file(value.tls?.cert),
            key: file(value.tls?.key),
            serverName: value.tls?.serverName,
            skipVerification: value.tls?.dangerouslySkipVerification ?? false,
          }
        : undefined,
    encryption:
      encryptionKeyFile === undefined ? { text } : { file: resolve(baseDirectory, encryptionKeyFile) },
  };
}

function placeOf({ url, sentinel: watched, cluster = [] }: RedisSection): RedisPlace {
  if (url) return url.place;
  if (!watched) return { kind: "cluster", nodes: cluster };
  const { master, nodes } = watched;
  return { kind: "sentinel", master, sentinels: nodes, credentials: credentialsOf(watched) };
}

function credentialsOf(value: Partial<RedisCredentials>): RedisCredentials {
  return { username: value.username, password: value.password };
}
