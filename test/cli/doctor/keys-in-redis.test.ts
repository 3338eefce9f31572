import { expect, test } from "vitest";
import { checkKeys } from "../../../src/cli/doctor/keys.ts";
import { parseConfig } from "../../../src/index.ts";
import { openKeys } from "../../../src/issuer/keys/key-source.ts";
import { needFor } from "../../issuer/keys/key-material.ts";
import { REDIS_SERVER, requireProgram } from "../../support/programs.ts";
import { encryptionKey, startRedis } from "../../support/redis.ts";

test("doctor reads the ring in Redis, and compares this machine's clock with that of Redis", async (context) => {
  requireProgram(context, REDIS_SERVER);
  await using redis = await startRedis();
  const text = `upstream: http://127.0.0.1:9\nissuer: {keys: {redis: {url: "${redis.url}", encryptionKey: "${encryptionKey()}"}}}`;
  const { config } = parseConfig(text, { file: "sidecar.yaml", env: {} });
  const needs = [needFor("EdDSA", { longestLifetimeSeconds: 3600 })];
  const keys = await openKeys(config.issuer.keys, { needs, env: {}, now: Date.now, onEvent() {} });
  await keys.close();
  const name = `Redis at 127.0.0.1:${redis.port}`;

  const { findings } = await checkKeys(config, Date.now());
  expect(findings).toMatchObject([
    { check: "keys", state: "ok", found: expect.stringContaining(`; they are encrypted in ${name}`) },
    { check: "clock", state: "ok", found: `the clock of this machine and that of ${name} agree well enough` },
    { check: "rotation", state: "ok" },
  ]);
  const [, late] = (await checkKeys(config, Date.now() - 45_000)).findings;
  expect(late).toMatchObject({
    state: "fail",
    found: `the clock of this machine and that of ${name} differ by 45 s, and clockSkew allows 30 s`,
  });
  await redis.stop();
  expect((await checkKeys(config, Date.now())).findings).toMatchObject([
    { check: "keys", state: "fail", found: expect.stringContaining("the key ring cannot be reached") },
  ]);
});
