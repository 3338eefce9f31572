import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { KeyError } from "../../../../src/issuer/keys/key-error.ts";
import { changeRing } from "../../../../src/issuer/keys/managed-keys.ts";
import type {
  RedisCredentials,
  RedisOptions,
  RedisPlace,
  RedisTls,
  TcpServer,
} from "../../../../src/issuer/keys/redis/redis-options.ts";
import { createRedisStore } from "../../../../src/issuer/keys/redis/redis-store.ts";
import { type Ring, withFirstKey } from "../../../../src/issuer/keys/ring.ts";
import { type KeyStore, StoreUnreachable } from "../../../../src/issuer/keys/store.ts";
import { createCa, issueForServer, writeTlsFiles } from "../../../support/certificates.ts";
import { startCutProxy } from "../../../support/cut-proxy.ts";
import { freePort } from "../../../support/free-port.ts";
import { REDIS_SERVER, requireProgram } from "../../../support/programs.ts";
import { encryptionKey, startRedis } from "../../../support/redis.ts";
import { NOW, needFor, signingKey } from "../key-material.ts";

const NOWHERE = { host: "127.0.0.1", port: 1 };
const NOBODY = { username: undefined, password: undefined };
const SECRET = "a-password-that-nobody-is-told";
const KEY = encryptionKey();
const open: KeyStore[] = [];
let folder = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "redis-"));
  return () => rmSync(folder, { recursive: true, force: true });
});
beforeEach((context) => requireProgram(context, REDIS_SERVER));
afterEach(async () => {
  await Promise.all(open.splice(0).map((store) => store.close?.()));
});

function storeAt(place: RedisPlace, change: Partial<RedisOptions> = {}): KeyStore {
  const options = {
    place,
    prefix: "",
    credentials: NOBODY,
    tls: undefined,
    encryption: { text: KEY },
    ...change,
  };
  const store = createRedisStore(options, Date.now);
  open.push(store);
  return store;
}

const serverAt = (port: number): RedisPlace => ({
  kind: "server",
  server: { host: "127.0.0.1", port },
  database: 0,
});
const addKey = async (ring: Ring) => withFirstKey(ring, needFor(), await signingKey(), NOW);
const refusalOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: Error) => error,
  );

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(50);
}

/** What is saved by one is read by another, which is told of it. */
async function expectShared(openOne: () => KeyStore): Promise<void> {
  const [a, b] = [openOne(), openOne()];
  const listening = Promise.withResolvers<void>();
  let told = listening;
  const watch = b.watch(() => told.resolve());
  await listening.promise;
  told = Promise.withResolvers();
  const { ring } = await changeRing(a, addKey);
  await told.promise;
  watch.close();
  expect((await b.load()).ring.keys.map(({ key }) => key.kid)).toEqual(ring.keys.map(({ key }) => key.kid));
}

describe("a user of its own is enough, who may", () => {
  test("run scripts on one key and listen to one channel", async () => {
    const rules = [
      "on",
      `>${SECRET}`,
      "~one:ring",
      "&one:ring",
      "+eval",
      "+hget",
      "+hset",
      "+hmget",
      "+hdel",
      "+time",
      "+publish",
      "+subscribe",
      "+ping",
    ];
    await using redis = await startRedis({ arguments: ["--user", "countersign", ...rules] });
    const credentials = { username: "countersign", password: SECRET };
    await expectShared(() => storeAt(serverAt(redis.port), { prefix: "one:", credentials }));
    const refusal = await refusalOf(storeAt(serverAt(redis.port), { prefix: "two:", credentials }).load());
    expect(refusal).not.toBeInstanceOf(StoreUnreachable);
    expect(refusal?.message).toMatch(
      /it refuses this client \(NOPERM .*\); see username and password, and what the ACL allows them$/,
    );
    for (const command of ["time", "hset"]) {
      await redis.command("ACL", "SETUSER", "countersign", `-${command}`);
      const store = storeAt(serverAt(redis.port), { prefix: "one:", credentials });
      const denied = await refusalOf(changeRing(store, addKey));
      expect(denied).not.toBeInstanceOf(StoreUnreachable);
      expect(denied?.message).toMatch(/see username and password, and what the ACL allows them$/);
      await redis.command("ACL", "SETUSER", "countersign", `+${command}`);
    }
  });

  test.each([
    ["a wrong password", { username: undefined, password: `wrong-${SECRET}` }],
    ["none", NOBODY],
  ])("be refused with %s for good, and the password is not in the message", async (_, credentials) => {
    await using redis = await startRedis({ arguments: ["--requirepass", SECRET], password: SECRET });
    const refusal = await refusalOf(storeAt(serverAt(redis.port), { credentials }).load());
    expect(refusal).toBeInstanceOf(KeyError);
    expect(refusal).not.toBeInstanceOf(StoreUnreachable);
    expect(refusal?.message).toContain("see username and password");
    expect(`${refusal?.message}${refusal?.stack}${JSON.stringify(refusal?.cause)}`).not.toContain(SECRET);
  });
});

test("a server that repeats the password which it does not understand has it in no message", async () => {
  await using redis = await startRedis({ arguments: ["--rename-command", "AUTH", ""] });
  const credentials = { username: "countersign", password: SECRET };
  const refusal = await refusalOf(storeAt(serverAt(redis.port), { credentials }).load());
  expect(refusal).not.toBeInstanceOf(StoreUnreachable);
  expect(refusal?.message).toMatch(/\(ERR unknown command 'AUTH'\); see username and password/);
  expect(inspect(refusal, { depth: null })).not.toContain(SECRET);
});

test("a database of its number, and none of the others", async () => {
  await using redis = await startRedis();
  const place: RedisPlace = { kind: "server", server: { host: "127.0.0.1", port: redis.port }, database: 3 };
  await changeRing(storeAt(place), addKey);
  expect((await storeAt(place).load()).version).toBe(1);
  expect((await storeAt(serverAt(redis.port)).load()).version).toBe(0);
});

test("a Unix socket", async () => {
  const socketPath = join(folder, "redis.sock");
  await using _ = await startRedis({ arguments: ["--unixsocket", socketPath] });
  await expectShared(() => storeAt({ kind: "server", server: { socketPath }, database: 0 }));
});

describe("TLS", () => {
  test("with a certificate on both sides; without, or with another CA, nobody gets through", async () => {
    const ca = await createCa();
    writeTlsFiles(folder, await issueForServer(ca), ca);
    const file = (name: string) => join(folder, name);
    const port = await freePort();
    await using _ = await startRedis({
      arguments: [
        "--tls-port",
        String(port),
        "--tls-cert-file",
        file("tls.crt"),
        "--tls-key-file",
        file("tls.key"),
        "--tls-ca-cert-file",
        file("ca.crt"),
      ],
    });
    const tls: RedisTls = {
      ...{ ca: file("ca.crt"), cert: file("tls.crt"), key: file("tls.key") },
      ...{ serverName: undefined, skipVerification: false },
    };
    await expectShared(() => storeAt(serverAt(port), { tls }));
    for (const change of [
      { cert: undefined, key: undefined },
      { ca: undefined },
      { serverName: "other.example" },
    ])
      expect(await refusalOf(storeAt(serverAt(port), { tls: { ...tls, ...change } }).load())).toBeInstanceOf(
        StoreUnreachable,
      );
    const store = storeAt(serverAt(port), { tls: { ...tls, ca: undefined, skipVerification: true } });
    expect((await store.load()).version).toBe(1);
  });
});

test("Redis Cluster: whichever node has the ring", async () => {
  await using redis = await startRedis({
    arguments: [
      ...["--cluster-enabled", "yes", "--cluster-config-file", join(folder, "nodes.conf")],
      // Its own choice is one that systems give away.
      ...["--cluster-port", String(await freePort())],
    ],
  });
  await redis.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
  await until(async () => String(await redis.command("CLUSTER", "INFO")).includes("cluster_state:ok"));
  const nodes = [NOWHERE, { host: "127.0.0.1", port: redis.port }];
  await expectShared(() => storeAt({ kind: "cluster", nodes }));
  const refusal = await refusalOf(storeAt({ kind: "cluster", nodes: [NOWHERE] }).load());
  expect(refusal?.message).toMatch(/cannot be reached: connect ECONNREFUSED/);
});

test("a server that may be behind another one is not relied on, although it answers", async () => {
  await using master = await startRedis();
  await changeRing(storeAt(serverAt(master.port)), addKey);
  await using replica = await startRedis({ arguments: ["--replicaof", "127.0.0.1", String(master.port)] });
  await master.command("CONFIG", "SET", "min-replicas-to-write", "2");
  for (const [port, reason] of [
    [replica.port, "READONLY"],
    [master.port, "NOREPLICAS"],
  ] as const) {
    const refusal = await refusalOf(storeAt(serverAt(port)).load());
    expect(refusal).toBeInstanceOf(StoreUnreachable);
    expect(refusal?.message).toContain(reason);
  }
});

test("Sentinel: whichever of them answers, without the password of the servers; who is refused is told so", async () => {
  await using master = await startRedis({ arguments: ["--requirepass", SECRET], password: SECRET });
  const port = await freePort();
  const file = join(folder, "one-sentinel.conf");
  const lines = [
    "bind 127.0.0.1",
    `sentinel monitor ring 127.0.0.1 ${master.port} 1`,
    `sentinel auth-pass ring ${SECRET}`,
  ];
  writeFileSync(file, [`port ${port}`, `dir ${folder}`, ...lines, ""].join("\n"));
  await using _ = await startRedis({ port, configuration: [file, "--sentinel"] });
  const placeOf = (credentials: RedisCredentials, ...sentinels: TcpServer[]): RedisPlace => ({
    ...{ kind: "sentinel", master: "ring", sentinels, credentials },
  });
  const here = { host: "127.0.0.1", port };
  const right = { username: undefined, password: SECRET };
  const wrong = { username: undefined, password: `wrong-${SECRET}` };
  const place = placeOf(NOBODY, NOWHERE, here);
  await expectShared(() => storeAt(place, { credentials: right }));
  for (const [refused, credentials] of [
    [place, wrong],
    [placeOf(wrong, here), right],
  ] as const) {
    const refusal = await refusalOf(storeAt(refused, { credentials }).load());
    expect(refusal).not.toBeInstanceOf(StoreUnreachable);
    expect(refusal?.message).toContain("see username and password");
  }
  const away = await refusalOf(storeAt(placeOf(NOBODY, NOWHERE), { credentials: right }).load());
  expect(away).toBeInstanceOf(StoreUnreachable);
  expect(away?.message).toMatch(/cannot be reached: connect ECONNREFUSED/);
});

test("Sentinel: the server that is in charge, also after another one has taken over", async () => {
  await using master = await startRedis();
  await using replica = await startRedis({ arguments: ["--replicaof", "127.0.0.1", String(master.port)] });
  const port = await freePort();
  const file = join(folder, "sentinel.conf");
  writeFileSync(
    file,
    `port ${port}
bind 127.0.0.1
dir ${folder}
sentinel monitor ring 127.0.0.1 ${master.port} 1
sentinel down-after-milliseconds ring 300
sentinel failover-timeout ring 1000
`,
  );
  await using sentinel = await startRedis({ port, configuration: [file, "--sentinel"] });
  const place: RedisPlace = {
    ...{ kind: "sentinel", master: "ring", sentinels: [{ host: "127.0.0.1", port }], credentials: NOBODY },
  };
  await expectShared(() => storeAt(place));
  const store = storeAt(place);
  const { version } = await store.load();
  // It knows the replica, which has what the master has.
  await until(async () =>
    JSON.stringify(await sentinel.command("SENTINEL", "REPLICAS", "ring")).includes(String(replica.port)),
  );
  await until(async () =>
    String(await replica.command("INFO", "replication")).includes("master_link_status:up"),
  );
  await master.stop();
  let after: number | undefined;
  await until(async () => {
    const saved = await changeRing(store, addKey).catch(() => undefined);
    after = saved?.version;
    return saved !== undefined;
  });
  // One more where the last version had not come there, and was put back.
  expect(after).toBeGreaterThan(version);
  expect((await store.load()).ring.keys).toHaveLength(2);
  expect(await replica.command("ROLE")).toContain("master");
});

describe("a network that is cut", () => {
  test("is told at once where connections are refused, and is gone when they are not", async () => {
    await using redis = await startRedis();
    await using proxy = await startCutProxy(redis.port);
    const store = storeAt(serverAt(proxy.port));
    await changeRing(store, addKey);
    proxy.set("refused");
    expect(await refusalOf(store.load())).toBeInstanceOf(StoreUnreachable);
    proxy.set("through");
    expect((await store.load()).version).toBe(1);
  });

  test("makes no connection again once it is closed", async () => {
    await using redis = await startRedis();
    const store = storeAt(serverAt(redis.port));
    await store.load();
    await store.close?.();
    expect((await refusalOf(store.load()))?.message).toMatch(/the connection is closed$/);
  });

  test("in mid-answer: what was stored all the same is known for one's own", async () => {
    await using redis = await startRedis();
    await using proxy = await startCutProxy(redis.port);
    const store = storeAt(serverAt(proxy.port));
    const ring = await addKey((await store.load()).ring);
    proxy.set("silent-back");
    const refusal = await refusalOf(store.save(ring, 0));
    expect(refusal?.message).toMatch(/the key ring cannot be reached: no answer within 5 s$/);
    proxy.set("through");
    expect((await changeRing(store, (stored) => stored)).version).toBe(1);
    expect((await store.load()).ring.keys).toHaveLength(1);
  });
});
