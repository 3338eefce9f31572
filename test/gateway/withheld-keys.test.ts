import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startBackend, type TestBackend } from "../support/backend.ts";
import { REDIS_SERVER, requireProgram } from "../support/programs.ts";
import { encryptionKey, startRedis, type TestRedis } from "../support/redis.ts";
import { startSidecar, type TestSidecar } from "../support/sidecar.ts";

/** A sidecar that has not read the ring that it shares for an hour. */
let sidecar: TestSidecar;
let backend: TestBackend;
let redis: TestRedis;
let pseudonymBefore: string | undefined;

const lastVia = () => backend.requests.at(-1)?.headers.via;

beforeAll(async () => {
  redis = await startRedis();
  backend = await startBackend();
  let now = Date.now();
  sidecar = await startSidecar(backend.url, {
    now: () => now,
    yaml: `
admin: 127.0.0.1:0
issuer: {keys: {redis: {url: "${redis.url}", encryptionKey: ${encryptionKey()}}, overlap: 5m}}
policies: [{name: health, match: {path: /healthz}, token: none}, {name: everything-else}]
`,
  });
  expect((await fetch(`${sidecar.url}/orders`)).status).toBe(200);
  pseudonymBefore = lastVia();
  await redis.stop();
  now += 3_600_000;
});
beforeEach((context) => requireProgram(context, REDIS_SERVER));
afterAll(async () => {
  await sidecar.close();
  await redis[Symbol.asyncDispose]();
  await backend[Symbol.asyncDispose]();
});

test("a request that needs a token is refused for now, and not forwarded", async () => {
  const before = backend.requests.length;
  const response = await fetch(`${sidecar.url}/orders`);
  expect(response.status).toBe(503);
  expect(await response.json()).toMatchObject({ code: "ERR_SIGNING_FAILED" });
  expect(backend.requests).toHaveLength(before);
});

test("a request that needs none is forwarded, marked with the same name in Via", async () => {
  expect((await fetch(`${sidecar.url}/healthz`)).status).toBe(200);
  expect(lastVia()).toBe(pseudonymBefore);
});

test("the JWK Set and the metadata are to be had elsewhere", async () => {
  for (const document of ["jwks.json", "openid-configuration"]) {
    const response = await fetch(`${sidecar.issuer.url}/.well-known/${document}`);
    expect(response.status).toBe(503);
    expect(response.headers.get("retry-after")).toBe("5");
    expect(await response.json()).toMatchObject({ code: "ERR_KEYS_WITHHELD" });
  }
  expect((await fetch(`${sidecar.adminUrl}/readyz`)).status).toBe(503);
});
