import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CompactEncrypt, decodeProtectedHeader } from "jose";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { KeyError } from "../../../../src/issuer/keys/key-error.ts";
import { changeRing } from "../../../../src/issuer/keys/managed-keys.ts";
import { parseEncryptionKeys } from "../../../../src/issuer/keys/redis/encryption-keys.ts";
import type { RedisOptions } from "../../../../src/issuer/keys/redis/redis-options.ts";
import { createRedisStore } from "../../../../src/issuer/keys/redis/redis-store.ts";
import { decryptText, encryptText } from "../../../../src/issuer/keys/redis/ring-encryption.ts";
import {
  EMPTY_RING,
  type Ring,
  withFirstKey,
  withSuccessor,
  withWithdrawn,
} from "../../../../src/issuer/keys/ring.ts";
import { formatRing } from "../../../../src/issuer/keys/ring-file.ts";
import { type KeyStore, StoreUnreachable } from "../../../../src/issuer/keys/store.ts";
import { temporaryFolder } from "../../../support/command-line.ts";
import { REDIS_SERVER, requireProgram } from "../../../support/programs.ts";
import { encryptionKey, startRedis, type TestRedis } from "../../../support/redis.ts";
import { NOW, needFor, pemOf, signingKey } from "../key-material.ts";

let redis: TestRedis;
const KEY = encryptionKey();
let prefix = "";
const open: KeyStore[] = [];

beforeAll(async () => {
  redis = await startRedis();
});
beforeEach((context) => {
  requireProgram(context, REDIS_SERVER);
  prefix = `test-${Math.random().toString(36).slice(2)}:`;
});
afterAll(async () => {
  await Promise.all(open.map((store) => store.close?.()));
  await redis[Symbol.asyncDispose]();
});

function optionsFor(change: Partial<RedisOptions> = {}): RedisOptions {
  return {
    place: { kind: "server", server: { host: "127.0.0.1", port: redis.port }, database: 0 },
    prefix,
    credentials: { username: undefined, password: undefined },
    tls: undefined,
    encryption: { text: KEY },
    ...change,
  };
}

function openStore(change: Partial<RedisOptions> = {}, now: () => number = Date.now): KeyStore {
  const store = createRedisStore(optionsFor(change), now);
  open.push(store);
  return store;
}

const addKey = async (ring: Ring) => withFirstKey(ring, needFor("ES256"), await signingKey("ES256"), NOW);
const kidsIn = ({ keys }: Ring) => keys.map(({ key }) => key.kid);
const refusalOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: Error) => error,
  );

test("a ring is stored with its times, and read by another process", async () => {
  const [a, b] = [openStore(), openStore()];
  expect(await a.load()).toMatchObject({ ring: EMPTY_RING, version: 0 });
  const { ring } = await changeRing(a, addKey);
  expect(await b.load()).toMatchObject({ version: 1, ring: { withdrawn: [] } });
  expect(formatRing((await b.load()).ring, [])).toBe(formatRing(ring, []));
  // The same object as long as nothing changes: nothing is opened again.
  expect((await b.load()).ring).toBe((await b.load()).ring);
});

test("a key that was there before is not opened again, as that takes a signature", async () => {
  const [a, b] = [openStore(), openStore()];
  await changeRing(a, addKey);
  const before = (await b.load()).ring.keys;
  await changeRing(a, addKey);
  const after = (await b.load()).ring.keys;
  expect(after).toHaveLength(2);
  expect(after[0]?.key).toBe(before[0]?.key);
});

test("of two that change the same version one is told to look again", async () => {
  const [a, b] = [openStore(), openStore()];
  await a.load();
  await b.load();
  const [first, second] = await Promise.all([
    a.save(await addKey(EMPTY_RING), 0),
    b.save(await addKey(EMPTY_RING), 0),
  ]);
  expect([first, second].filter((version) => version !== undefined)).toEqual([1]);
  await changeRing(b, addKey);
  await changeRing(a, addKey);
  expect((await b.load()).ring.keys).toHaveLength(3);
  // Nor does one put a version in the place of another one of its own.
  expect(await b.save(EMPTY_RING, 0)).toBeUndefined();
});

test("whoever watches is told at once of what another one saves, and again after Redis was away", async () => {
  await using other = await startRedis();
  const elsewhere = {
    place: { kind: "server", server: { host: "127.0.0.1", port: other.port }, database: 0 },
  } as const;
  const [writer, reader] = [openStore(elsewhere), openStore(elsewhere)];
  let told = Promise.withResolvers<void>();
  const watch = reader.watch(() => told.resolve());
  await told.promise;
  told = Promise.withResolvers();
  await changeRing(writer, addKey);
  await told.promise;
  told = Promise.withResolvers();
  await other.stop();
  expect(await refusalOf(reader.load())).toBeInstanceOf(StoreUnreachable);
  await other.start();
  await told.promise;
  watch.close();
});

describe("what Redis holds", () => {
  /** Every value of every key, whatever its type. */
  async function everyValue(): Promise<string> {
    const keys = (await redis.command("KEYS", "*")) as string[];
    expect(keys).toContain(`${prefix}ring`);
    const values = await Promise.all(
      keys.map(async (key) => [key, await redis.command("TYPE", key), await redis.command("HGETALL", key)]),
    );
    expect(values.every(([, type]) => type === "hash")).toBe(true);
    return JSON.stringify(values);
  }

  test("has no private key in the clear, in no form", async () => {
    const store = openStore();
    const { ring } = await changeRing(store, async (empty) => addKey(await addKey(empty)));
    await changeRing(store, (stored) => withWithdrawn(stored, stored.keys.slice(0, 1)));
    const held = await everyValue();
    // What is base64 within base64 is looked into as well.
    const decoded = held.split(/[^\w+/-]+/).map((part) => Buffer.from(part, "base64url").toString("latin1"));
    const haystack = [held, ...decoded].join("\n");
    for (const { key } of ring.keys) {
      const { d } = key.privateKey.export({ format: "jwk" });
      const body = pemOf(key.privateKey).split("\n").slice(1, -2).join("");
      for (const secret of [
        String(d),
        Buffer.from(String(d), "base64url").toString("hex"),
        body.slice(40, 80),
      ])
        expect(haystack).not.toContain(secret);
    }
    expect(haystack).not.toContain("PRIVATE KEY");
    expect(haystack).not.toContain(KEY);
    // The other way round: it would be found.
    const inTheClear = formatRing(ring, []);
    expect(inTheClear).toContain("PRIVATE KEY");
  });

  test("opens with its key alone, and says which remedy there is", async () => {
    await changeRing(openStore(), addKey);
    const refusal = await refusalOf(openStore({ encryption: { text: encryptionKey() } }).load());
    expect(refusal).toBeInstanceOf(KeyError);
    expect(refusal).not.toBeInstanceOf(StoreUnreachable);
    expect(refusal?.message).toBe(
      `Redis at 127.0.0.1:${redis.port}, ${prefix}ring: the key ring is encrypted with another key than encryptionKey says; give that one too, behind the first`,
    );
  });

  test("is encrypted anew when its key is rotated, and never unreadable for anybody meanwhile", async () => {
    const [before, after] = [encryptionKey(), encryptionKey()];
    using folder = temporaryFolder();
    const file = join(folder.path, "ring.key");
    const setKeys = (...keys: readonly string[]) => {
      writeFileSync(file, `${keys.join("\n")}\n`);
      chmodSync(file, 0o600);
    };
    setKeys(before);
    const store = openStore({ encryption: { file } });
    const { ring } = await changeRing(store, addKey);
    const stored = () => redis.command("HGET", `${prefix}ring`, "ring");
    const first = await stored();
    setKeys(before, after);
    expect(await changeRing(store, (same) => same)).toMatchObject({ version: 1 });
    expect(await stored()).toBe(first);

    setKeys(after, before);
    expect(await store.load()).toMatchObject({ isOutdated: true });
    // Another replica, which has the new key behind the old one, goes on.
    const other = openStore({ encryption: { text: `${before} ${after}` } });
    await changeRing(store, (same) => same);
    expect(await stored()).not.toBe(first);
    expect(kidsIn((await other.load()).ring)).toEqual(kidsIn(ring));

    setKeys(after);
    expect(await store.load()).toMatchObject({ version: 2 });
    expect(kidsIn((await openStore({ encryption: { text: after } }).load()).ring)).toEqual(kidsIn(ring));
  });

  test("is not encrypted in turns by processes of which some have the new key first already", async () => {
    const [before, after] = [encryptionKey(), encryptionKey()];
    const old = openStore({ encryption: { text: `${before} ${after}` } });
    const fresh = openStore({ encryption: { text: `${after} ${before}` } });
    await changeRing(old, addKey);
    const versions: number[] = [];
    for (const store of [fresh, old, fresh, old])
      versions.push((await changeRing(store, (same) => same)).version);
    expect(versions).toEqual([2, 2, 2, 2]);
    expect((await openStore({ encryption: { text: after } }).load()).version).toBe(2);
  });

  test.each([
    [
      "a bit",
      (ring: string) => `${ring.slice(0, -30)}${ring.at(-30) === "A" ? "B" : "A"}${ring.slice(-29)}`,
      "was changed by somebody else",
    ],
    ["the whole", () => "hello", "is not a key ring that Countersign wrote"],
  ])("is refused where %s of it was changed", async (_, change, reason) => {
    const running = openStore();
    await changeRing(running, addKey);
    const before = String(await redis.command("HGET", `${prefix}ring`, "ring"));
    await redis.command("HSET", `${prefix}ring`, "ring", change(before));
    for (const store of [openStore(), running])
      expect(String(await refusalOf(store.load()))).toContain(reason);
  });

  test.each([
    ["another key management", { alg: "A256GCMKW", enc: "A256GCM" }],
    ["another encryption of the content", { alg: "dir", enc: "A128CBC-HS256" }],
  ])("is refused where it was encrypted with the right key, and %s", async (_, otherwise) => {
    await changeRing(openStore(), addKey);
    const encrypted = String(await redis.command("HGET", `${prefix}ring`, "ring"));
    const keys = parseEncryptionKeys(KEY);
    if (!keys) throw new Error("no key");
    const { text } = await decryptText(encrypted, keys, "");
    const header = { ...decodeProtectedHeader(encrypted), ...otherwise };
    const other = await new CompactEncrypt(Buffer.from(text))
      .setProtectedHeader(header)
      .encrypt(keys[0].bytes);
    await redis.command("HSET", `${prefix}ring`, "ring", other);
    expect(String(await refusalOf(openStore().load()))).toContain("was changed by somebody else");
  });

  test("is refused where an old ring is given a new version", async () => {
    const store = openStore();
    await changeRing(store, addKey);
    const old = (await redis.command("HMGET", `${prefix}ring`, "save", "ring")) as string[];
    await changeRing(store, (ring) => withWithdrawn(ring, ring.keys));
    await redis.command(
      "HSET",
      `${prefix}ring`,
      "save",
      String(old[0]),
      "ring",
      String(old[1]),
      "version",
      "99",
    );
    expect(String(await refusalOf(openStore().load()))).toContain(
      "not the one that its name and version are of",
    );
  });

  test.each(["save", "version"])("is refused where the %s beside it was changed", async (field) => {
    await changeRing(openStore(), addKey);
    await redis.command("HSET", `${prefix}ring`, field, "77");
    expect(String(await refusalOf(openStore().load()))).toContain(
      "not the one that its name and version are of",
    );
  });

  test("is refused where it is that of another issuer, although the encryption key is the same", async () => {
    await changeRing(openStore({ prefix: `${prefix}other:` }), addKey);
    await redis.command("COPY", `${prefix}other:ring`, `${prefix}ring`);
    expect(String(await refusalOf(openStore().load()))).toContain(
      "not the one that its name and version are of",
    );
  });

  test("of another kind is left alone", async () => {
    await redis.command("SET", `${prefix}ring`, "somebody's");
    const refusal = await refusalOf(openStore().load());
    expect(refusal).not.toBeInstanceOf(StoreUnreachable);
    expect(refusal?.message).toContain("what is there is not a key ring; use another prefix");
    expect(await redis.command("GET", `${prefix}ring`)).toBe("somebody's");
  });

  test("by a newer version of Countersign is refused by name", async () => {
    const keys = parseEncryptionKeys(KEY);
    if (!keys) throw new Error("no key");
    const ring = await encryptText(
      { text: '{"format":2,"saves":["x"]}', name: `${prefix}ring`, version: 1 },
      keys,
    );
    await redis.command("HSET", `${prefix}ring`, "save", "x", "version", "1", "ring", ring);
    expect(String(await refusalOf(openStore().load()))).toContain(
      "a newer version of Countersign wrote this key ring (format 2, and this one reads 1); run that version or a later one",
    );
  });
});

describe("what Redis has lost", () => {
  test("a running process puts back: everything", async () => {
    const store = openStore();
    const { ring, version } = await changeRing(store, addKey);
    await redis.command("DEL", `${prefix}ring`);
    expect(await store.load()).toMatchObject({ version: version + 1 });
    expect(kidsIn((await openStore().load()).ring)).toEqual(kidsIn(ring));
  });

  test("a running process puts back: the last versions", async () => {
    const [a, b] = [openStore(), openStore()];
    await changeRing(a, addKey);
    await b.load();
    const before = (await redis.command("HGETALL", `${prefix}ring`)) as Record<string, string>;
    const withNext = async (ring: Ring) =>
      withSuccessor(ring, needFor("ES256"), await signingKey("ES256"), NOW);
    const { ring } = await changeRing(a, withNext);
    await redis.command("HSET", `${prefix}ring`, ...Object.entries({ ...before }).flat());
    // That one knows no more than what is there.
    expect((await b.load()).version).toBe(1);
    await a.load();
    expect(kidsIn((await b.load()).ring)).toEqual(kidsIn(ring));
  });

  test("is put back as it was, without what had been taken out of it since", async () => {
    const store = openStore();
    const { ring } = await changeRing(store, async (empty) =>
      withSuccessor(await addKey(empty), needFor("ES256"), await signingKey("ES256"), NOW),
    );
    const before = (await redis.command("HGETALL", `${prefix}ring`)) as Record<string, string>;
    await changeRing(store, ({ keys, withdrawn }) => ({ keys: keys.slice(0, 1), withdrawn }));
    await redis.command("HSET", `${prefix}ring`, ...Object.entries({ ...before }).flat());
    expect(kidsIn((await store.load()).ring)).toEqual(kidsIn(ring).slice(0, 1));
  });

  test("is put back once: who knew one of the two that were put together takes what came of it", async () => {
    const [a, b, fresh] = [openStore(), openStore(), openStore()];
    await changeRing(a, addKey);
    await b.load();
    await redis.command("DEL", `${prefix}ring`);
    await changeRing(fresh, addKey);
    const { version } = await a.load();
    for (const store of [b, fresh, a]) expect((await store.load()).version).toBe(version);
  });

  test("and another one has begun anew is put together: the key that verifiers know goes on, the other waits", async () => {
    const [old, fresh] = [openStore(), openStore()];
    const { ring } = await changeRing(old, addKey);
    await redis.command("DEL", `${prefix}ring`);
    const { ring: anew } = await changeRing(fresh, addKey);
    const merged = (await old.load()).ring;
    expect(kidsIn(merged)).toEqual([...kidsIn(ring), ...kidsIn(anew)]);
    expect(merged.keys.map(({ activatesAt }) => activatesAt)).toEqual([NOW, undefined]);
    expect(kidsIn((await fresh.load()).ring)).toEqual(kidsIn(merged));
  });

  test("is not what a process merely has not seen for a long time", async () => {
    const [away, busy] = [openStore(), openStore()];
    await changeRing(away, addKey);
    for (let saves = 0; saves < 140; saves++)
      await changeRing(busy, (ring) => ({ ...ring, withdrawn: [...ring.withdrawn, `kid-${saves}`] }));
    const { ring, version } = await changeRing(busy, (stored) => withWithdrawn(stored, stored.keys));
    expect(await away.load()).toMatchObject({ version, ring });
  });
});

test.each([
  ["is not there", undefined, /cannot be read: ENOENT/],
  ["has no key in it", "hello\n", /expected 32 bytes in base64/],
])("a file of keys that %s is told of, also where Redis is away", async (_, content, problem) => {
  using folder = temporaryFolder();
  const file = join(folder.path, "ring.key");
  if (content !== undefined) writeFileSync(file, content, { mode: 0o600 });
  const place = { kind: "server", server: { host: "127.0.0.1", port: 1 }, database: 0 } as const;
  const refusal = await refusalOf(openStore({ place, encryption: { file } }).load());
  expect(refusal).not.toBeInstanceOf(StoreUnreachable);
  expect(refusal?.message).toMatch(problem);
});

test("the clock of Redis is as uncertain as the answer was long", async () => {
  const times = [Date.now() - 2000, Date.now() + 2000];
  const { clock } = await openStore({}, () => Number(times.shift())).load();
  expect(Math.abs(clock?.ahead ?? Number.NaN)).toBeLessThan(1000);
  expect(clock?.uncertainty).toBeCloseTo(2000, -2);
});

test("the clock of Redis is read with the ring", async () => {
  let now = Date.now();
  const { clock } = await openStore({}, () => now).load();
  expect(Math.abs(clock?.ahead ?? Number.NaN)).toBeLessThan(2000);
  now -= 3_600_000;
  const late = (await openStore({}, () => now).load()).clock;
  expect(Math.abs((late?.ahead ?? 0) - 3_600_000)).toBeLessThan(5000);
});
