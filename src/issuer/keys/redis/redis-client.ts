import { readFile } from "node:fs/promises";
import { createClient, createCluster, createSentinel } from "@redis/client";
import { reasonOf } from "../../../errors.ts";
import { KeyError } from "../key-error.ts";
import { MOUNTED_FILE, readKeyFile } from "../key-file.ts";
import type { RedisCredentials, RedisOptions, RedisServer, RedisTls } from "./redis-options.ts";

/** What is needed of a client, whatever it is connected to. */
export interface RedisClient {
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  destroy(): unknown;
}

/** For a connection, and for an answer. */
export const PATIENCE_MILLISECONDS = 5000;
/** A connection that nothing came over for so long is taken for dead; the pings are there to be answered. */
const PING_MILLISECONDS = 5000;
const SILENCE_MILLISECONDS = 3 * PING_MILLISECONDS;

/**
 * Opens a connection, which is not mended when it breaks: whoever uses it opens another one, and so finds the server that
 * is in charge by then.
 *
 * @param onError called when it is of no use any more
 * @throws {KeyError} ERR_KEY when a file cannot be read
 * @throws {Error} that of the client, or of the system
 */
export async function openRedisClient(options: RedisOptions, onError: () => void): Promise<RedisClient> {
  const client = await createFor(options);
  let problem: unknown;
  // Of several nodes one may be away, and the next one answers.
  const note = (error: unknown) => {
    problem = error;
  };
  client.on("error", note);
  try {
    await client.connect();
  } catch (error) {
    await client.destroy();
    throw NOBODY_ANSWERED.test(reasonOf(error)) ? (problem ?? error) : error;
  }
  client.on("error", onError);
  return client;
}

/** What the client says where no node would do; the last of them has said why. */
const NOBODY_ANSWERED = /^(?:None of the sentinels|All the root nodes) are (?:un)?available$/;

async function createFor({ place, credentials, tls }: RedisOptions) {
  const secure = tls && (await tlsOptionsOf(tls));
  const socket = {
    connectTimeout: PATIENCE_MILLISECONDS,
    socketTimeout: SILENCE_MILLISECONDS,
    reconnectStrategy: false as const,
  };
  const common = {
    // What proxies and older servers understand too.
    RESP: 2 as const,
    pingInterval: PING_MILLISECONDS,
    disableOfflineQueue: true,
    // Each is a command that an ACL might forbid.
    disableClientInfo: true,
    maintNotifications: "disabled" as const,
  };
  const sentinelOptions = { ...common, socket: { ...socket, ...secure } };
  const nodeOptions = { ...sentinelOptions, ...loginOf(credentials) };
  if (place.kind === "sentinel")
    return createSentinel({
      RESP: common.RESP,
      name: place.master,
      sentinelRootNodes: place.sentinels.map((node) => ({ ...node })),
      nodeClientOptions: nodeOptions,
      // A password of the servers is none of theirs.
      sentinelClientOptions: { ...sentinelOptions, ...loginOf(place.credentials) },
      // It would go on for as many seconds, beside those that are opened after it, and say nothing of what is wrong.
      maxCommandRediscovers: 0,
      passthroughClientErrorEvents: true,
    });
  if (place.kind === "cluster")
    return createCluster({
      RESP: common.RESP,
      rootNodes: place.nodes.map((node) => ({ socket: { ...node } })),
      defaults: nodeOptions,
    });
  return createClient({
    ...nodeOptions,
    database: place.database,
    socket: { ...nodeOptions.socket, ...placeOf(place.server) },
  });
}

function loginOf({ username, password }: RedisCredentials) {
  return { ...(username !== undefined && { username }), ...(password !== undefined && { password }) };
}

function placeOf(server: RedisServer) {
  return "socketPath" in server ? { path: server.socketPath } : { ...server };
}

/** Read anew for each connection: whoever replaces the files need not tell anybody. */
async function tlsOptionsOf({ ca, cert, key, serverName, skipVerification }: RedisTls) {
  return {
    tls: true as const,
    ...(ca !== undefined && { ca: await readCertificates(ca) }),
    ...(cert !== undefined && { cert: await readCertificates(cert) }),
    ...(key !== undefined && { key: await readKeyFile(key, MOUNTED_FILE) }),
    ...(serverName !== undefined && { servername: serverName }),
    rejectUnauthorized: !skipVerification,
  };
}

async function readCertificates(file: string): Promise<string> {
  return readFile(file, "utf8").catch((cause: unknown) => {
    throw new KeyError(file, `this file cannot be read: ${reasonOf(cause)}`, { cause });
  });
}
