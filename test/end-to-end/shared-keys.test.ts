import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { keyNeedsOf } from "../../src/config/key-needs.ts";
import { createSidecar, parseConfig } from "../../src/index.ts";
import { storeOf } from "../../src/issuer/keys/key-source.ts";
import { replaceKeys } from "../../src/issuer/keys/manage.ts";
import { startBackend, type TestBackend } from "../support/backend.ts";
import { startCutProxy } from "../support/cut-proxy.ts";
import { freePort } from "../support/free-port.ts";
import { REDIS_SERVER, requireProgram } from "../support/programs.ts";
import { encryptionKey, startRedis, type TestRedis } from "../support/redis.ts";
import { startSidecar } from "../support/sidecar.ts";

let redis: TestRedis;
let backend: TestBackend;
const env = { RING_KEY: encryptionKey() };
let prefix = "";

beforeAll(async () => {
  redis = await startRedis();
  backend = await startBackend();
});
beforeEach((context) => {
  requireProgram(context, REDIS_SERVER);
  prefix = `sidecar-${Math.random().toString(36).slice(2)}:`;
});
afterAll(async () => {
  await redis[Symbol.asyncDispose]();
  await backend[Symbol.asyncDispose]();
});

/** For a machine that is busy. */
const PATIENCE = { timeout: 30_000 };

const keysAt = (port: number, more = "") =>
  `issuer: {jwksMaxAge: 1m, keys: {overlap: 2m, rotateEvery: 1d, redis: {url: "redis://127.0.0.1:${port}", prefix: "${prefix}", encryptionKey: $env(RING_KEY)}}${more}}\n`;

const readyz = async (adminUrl: string | undefined) => {
  const answer = await fetch(`${adminUrl}/readyz`);
  return { ...((await answer.json()) as { checks: Record<string, unknown> }), status: answer.status };
};

describe("a sidecar that starts while Redis is away", () => {
  test("waits, and says so; and begins when Redis is there", async () => {
    const [port, admin] = [await freePort(), await freePort()];
    const starting = startSidecar(backend.url, {
      env,
      yaml: `admin: 127.0.0.1:${admin}\nidentity: {account: a, algorithm: EdDSA}\n${keysAt(port)}`,
    });
    const adminUrl = `http://127.0.0.1:${admin}`;
    const liveness = () =>
      fetch(`${adminUrl}/livez`).then(
        ({ status }) => status,
        () => 0,
      );
    await expect.poll(liveness, PATIENCE).toBe(200);
    await expect
      .poll(async () => (await readyz(adminUrl)).checks.keys, PATIENCE)
      .toEqual({
        ready: false,
        reason: `Redis at 127.0.0.1:${port}: the key ring cannot be reached: connect ECONNREFUSED 127.0.0.1:${port}`,
      });
    expect(await readyz(adminUrl)).toMatchObject({
      status: 503,
      checks: { lifecycle: { ready: false, reason: "the sidecar is starting" } },
    });
    expect((await fetch(`${adminUrl}/metrics`)).status).toBe(200);
    expect((await fetch(`${adminUrl}/config`)).status).toBe(200);
    const token = await fetch(`${adminUrl}/identity/token`, {
      headers: { "x-countersign-identity": "true" },
    });
    expect([token.status, await token.json()]).toMatchObject([503, { code: "ERR_STARTING" }]);

    await using _ = await startRedis({ port });
    await using sidecar = await starting;
    expect(await readyz(sidecar.adminUrl)).toMatchObject({ status: 200, checks: { clock: { ready: true } } });
    expect((await fetch(sidecar.url)).status).toBe(200);
  });

  test("can be stopped while it waits", async () => {
    const text = `listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: ${backend.url}\n${keysAt(await freePort())}`;
    const waiting = Promise.withResolvers<void>();
    const { config } = parseConfig(text, { file: "sidecar.yaml", env });
    const sidecar = createSidecar(config, { onKeyEvent: () => waiting.resolve() });
    const starting = sidecar.start().then(
      () => "started",
      ({ name }: Error) => name,
    );
    await waiting.promise;
    await sidecar.close();
    expect(await starting).toBe("AbortError");
  });

  test.each([0, 20])("leaves nothing open where it is stopped %i ms after it began", async (milliseconds) => {
    const text = `listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: ${backend.url}\n${keysAt(redis.port)}`;
    const { config } = parseConfig(text, { file: "sidecar.yaml", env });
    const sidecar = createSidecar(config);
    const starting = sidecar.start().then(
      ({ urls, adminUrl }) => [...urls, String(adminUrl)],
      ({ name }: Error) => [name],
    );
    await sleep(milliseconds);
    await sidecar.close();
    for (const url of await starting)
      expect(url === "AbortError" || (await fetch(url).catch(() => "closed"))).toSatisfy(
        (outcome) => outcome === true || outcome === "closed",
      );
    await expect
      .poll(
        () =>
          redis.command("CLIENT", "LIST", "TYPE", "NORMAL").then((list) => String(list).trim().split("\n")),
        PATIENCE,
      )
      .toHaveLength(1);
  });

  test("does not wait for what only its operator can mend", async () => {
    await redis.command("SET", `${prefix}ring`, "something else");
    const started = startSidecar(backend.url, { env, yaml: keysAt(redis.port) });
    await expect(started).rejects.toThrow(/what is there is not a key ring; use another prefix$/);
  });
});

test("a sidecar that cannot read the ring goes on while that is safe; then it is not ready, signs nothing and shows no keys", async () => {
  await using proxy = await startCutProxy(redis.port);
  const clock = { ahead: 0 };
  const issuer = "https://issuer.example";
  await using sidecar = await startSidecar(backend.url, {
    env,
    now: () => Date.now() + clock.ahead,
    yaml: `admin: 127.0.0.1:0
${keysAt(proxy.port, `, url: "${issuer}"`)}authenticators: {own: {type: jwt, issuer: "${issuer}", audience: api, algorithms: [EdDSA]}}
policies:
  - {name: open, match: {path: /open}, authenticate: [anonymous], token: none}
  - {name: own, match: {path: /own}, authenticate: [own]}
  - {name: all, match: {path: "/*rest"}, authenticate: [anonymous]}
`,
  });
  const statusOf = async (path: string, headers = {}) => {
    const answer = await fetch(`${sidecar.url}${path}`, { headers });
    const isProblem = answer.headers.get("content-type") === "application/problem+json";
    return isProblem ? [answer.status, ((await answer.json()) as { code: string }).code] : [answer.status];
  };
  const JWKS = "/__issuer/.well-known/jwks.json";
  const ownToken = async () => ({
    authorization: `Bearer ${await sidecar.issuer.signJwt({ subject: "a", audience: "api", expiresIn: "1h" })}`,
  });
  const own = await ownToken();
  expect(await statusOf("/own", own)).toEqual([200]);

  proxy.set("refused");
  await sidecar.issuer.refreshKeys();
  // An overlap of two minutes, but one for verifiers, and one in which everybody reads; a second for the test itself.
  clock.ahead = 119_000;
  expect(await readyz(sidecar.adminUrl)).toMatchObject({ status: 200, checks: { keys: { ready: true } } });
  expect(await statusOf("/")).toEqual([200]);
  expect(await statusOf(JWKS)).toEqual([200]);

  clock.ahead = 121_000;
  const before = backend.requests.length;
  expect(await readyz(sidecar.adminUrl)).toMatchObject({
    status: 503,
    checks: {
      keys: {
        ready: false,
        reason: expect.stringMatching(
          /^the key ring could not be read for so long .*; Redis at .* cannot be reached: /,
        ),
      },
    },
  });
  expect(await statusOf("/")).toEqual([503, "ERR_SIGNING_FAILED"]);
  expect(await statusOf(JWKS)).toEqual([503, "ERR_KEYS_WITHHELD"]);
  expect(await statusOf("/__issuer/.well-known/openid-configuration")).toEqual([503, "ERR_KEYS_WITHHELD"]);
  expect((await fetch(`${sidecar.url}${JWKS}`)).headers.get("retry-after")).toBe("5");
  // Not known to be a bad one.
  expect(await statusOf("/own", { authorization: `${own.authorization}x` })).not.toEqual([200]);
  await expect(ownToken()).rejects.toThrow("the key ring could not be read for so long");
  expect(backend.requests).toHaveLength(before);
  expect(await statusOf("/open")).toEqual([200]);

  proxy.set("through");
  await sidecar.issuer.refreshKeys();
  expect(await statusOf("/")).toEqual([200]);
  expect(await statusOf(JWKS)).toEqual([200]);
  expect(sidecar.failures.filter(({ code }) => code === "ERR_KEYS_WITHHELD").length).toBeGreaterThan(0);
});

test("a token of the issuer itself is not refused for good while its keys are withheld", async () => {
  const clock = { ahead: 0 };
  await using proxy = await startCutProxy(redis.port);
  const yaml = (port: number) => `${keysAt(port, ', url: "https://issuer.example"')}
authenticators: {own: {type: jwt, issuer: "https://issuer.example", audience: api, algorithms: [EdDSA]}}
authenticate: [own]
`;
  await using sidecar = await startSidecar(backend.url, {
    ...{ env, now: () => Date.now() + clock.ahead, yaml: yaml(proxy.port) },
  });
  await using other = await startSidecar(backend.url, { env, yaml: yaml(redis.port) });
  const token = await other.issuer.signJwt({ subject: "a", audience: "api", expiresIn: "1h" });
  proxy.set("refused");
  clock.ahead = 121_000;
  const answer = await fetch(sidecar.url, { headers: { authorization: `Bearer ${token}` } });
  expect([answer.status, await answer.json()]).toMatchObject([
    503,
    { code: "ERR_AUTHENTICATION_UNAVAILABLE" },
  ]);
});

test("a machine whose clock differs by more than the budget is not ready, and answers what comes all the same", async () => {
  const now = () => Date.now() - 45_000;
  await using sidecar = await startSidecar(backend.url, {
    env,
    now,
    yaml: `admin: 127.0.0.1:0\n${keysAt(redis.port)}`,
  });
  expect(await readyz(sidecar.adminUrl)).toMatchObject({
    status: 503,
    checks: {
      keys: { ready: true },
      clock: {
        ready: false,
        reason: `the clock of this machine is 45 s behind that of Redis at 127.0.0.1:${redis.port}, and clockSkew allows 30 s; set both by NTP`,
      },
    },
  });
  expect((await fetch(sidecar.url)).status).toBe(200);
});

test("an emergency rotation reaches every replica at once", async () => {
  await using a = await startSidecar(backend.url, { env, yaml: keysAt(redis.port) });
  await using b = await startSidecar(backend.url, { env, yaml: keysAt(redis.port) });
  const kidsOf = ({ issuer }: typeof a) => issuer.jwks().keys.map(({ kid }) => kid);
  const [old] = kidsOf(a);
  expect(kidsOf(b)).toEqual([old]);
  // As `countersign keys rotate --emergency` does it.
  const source = a.config.issuer.keys;
  if (source.kind !== "redis") throw new Error("other keys");
  const store = await storeOf(source, Date.now);
  const { after } = await replaceKeys(store, keyNeedsOf(a.config), Date.now());
  await store.close?.();
  const [kid] = after.keys.map(({ key }) => key.kid);
  await expect.poll(() => [kidsOf(a), kidsOf(b)], PATIENCE).toEqual([[kid], [kid]]);
  expect(kid).not.toBe(old);
});

test("another place for the ring needs a restart, and other times do not", async () => {
  const text = (more: string) =>
    `listen: 127.0.0.1:0\nadmin: false\nupstream: ${backend.url}\n${keysAt(redis.port).replace("prefix", more)}`;
  const load = (more: string) => parseConfig(text(more), { file: "sidecar.yaml", env }).config;
  const sidecar = createSidecar(load("prefix"));
  await sidecar.start();
  expect((await sidecar.reload(() => load("clockSkew: 5s, prefix"))).needsRestart).toEqual([]);
  expect((await sidecar.reload(() => load("username: b, prefix"))).needsRestart).toEqual(["issuer.keys"]);
  await sidecar.close();
});
