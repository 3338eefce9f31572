import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createDirectoryStore } from "../../src/issuer/keys/directory-store.ts";
import { rotateKeys } from "../../src/issuer/keys/manage.ts";
import { openManagedKeys } from "../../src/issuer/keys/managed-keys.ts";
import { needFor } from "../issuer/keys/key-material.ts";
import { runCommand, temporaryFolder } from "../support/command-line.ts";
import { REDIS_SERVER, requireProgram } from "../support/programs.ts";
import { encryptionKey, startRedis } from "../support/redis.ts";
import { runHere } from "./in-process.ts";

test("a ring moves from a directory to Redis with every key and its times, again as often as it is asked to", async (context) => {
  requireProgram(context, REDIS_SERVER);
  await using redis = await startRedis();
  using folder = temporaryFolder();
  const env = { RING_KEY: encryptionKey(), PASSPHRASE: "of the directory" };
  const file = (name: string, redisKeys: string) => {
    const path = join(folder.path, name);
    writeFileSync(
      path,
      `upstream: http://127.0.0.1:9\nadmin: 127.0.0.1:0\nissuer: {keys: {redis: {${redisKeys}, encryptionKey: $env(RING_KEY)}}}\n`,
    );
    return path;
  };
  const here = file("sidecar.yaml", `url: "${redis.url}"`);
  const surroundings = { env, cwd: folder.path };
  const run = (...words: string[]) => runHere(words, surroundings);

  // One key that signs, and one that waits with a time of its own.
  const directory = join(folder.path, "keys");
  const store = createDirectoryStore(directory, env.PASSPHRASE);
  const rotation = { everySeconds: undefined, overlapSeconds: 3600 };
  const keys = await openManagedKeys({ store, rotation, needs: [needFor()], now: Date.now, onEvent() {} });
  await rotateKeys(store, [needFor()], Date.now());
  await keys.refresh();
  await keys.close();
  const before = (await store.load()).ring.keys;

  const importing = ["keys", "import", "keys", "--passphrase-env", "PASSPHRASE", "-c", here];
  const imported = await runCommand(importing, surroundings);
  expect(imported).toMatchObject({ code: 0, stderr: "" });
  expect(imported.stdout.split("\n")).toEqual([
    `EdDSA key ${before[0]?.key.kid} is in Redis at 127.0.0.1:${redis.port}, active as before`,
    `EdDSA key ${before[1]?.key.kid} is in Redis at 127.0.0.1:${redis.port}, pending as before`,
    "",
  ]);
  const times = before.map(({ key, activatesAt = 0, retiresAt }) => ({
    kid: key.kid,
    activatesAt: new Date(activatesAt).toISOString(),
    retiresAt: retiresAt === undefined ? null : new Date(retiresAt).toISOString(),
  }));
  const listed = await run("keys", "list", "--json", "-c", here);
  expect(JSON.parse(listed.stdout)).toMatchObject(times);

  // What the old sidecar has done since then comes with the second time.
  const again = await run(...importing);
  expect([again.code, again.stdout]).toEqual([0, imported.stdout]);

  const elsewhere = file("other.yaml", `url: "${redis.url}", prefix: "other:"`);
  const made = await run("keys", "generate", "-c", elsewhere);
  expect(made.stdout).toMatch(/^EdDSA key [\w-]{43} is made, and signs from now on\n$/);
  const refused = await run("keys", "import", "keys", "--passphrase-env", "PASSPHRASE", "-c", elsewhere);
  expect(refused).toMatchObject({ code: 1, stdout: "" });
  expect(refused.stderr).toContain(
    "this ring has keys of its own, and none of those; import into an empty one, before the first sidecar starts",
  );
  expect((await run("keys", "list", "-c", elsewhere)).stdout.split("\n")).toHaveLength(3);

  await redis.stop();
  // A process of its own: what is left of the connection must not keep it going.
  const away = await runCommand(["keys", "rotate", "-c", here], surroundings);
  expect(away).toMatchObject({ code: 1, stdout: "" });
  expect(away.stderr).toBe(
    `countersign: Redis at 127.0.0.1:${redis.port}: the key ring cannot be reached: connect ECONNREFUSED 127.0.0.1:${redis.port}\n`,
  );
  // By itself a signal would end it too, but not where it is process 1 of a container: then it has to be heard.
  const under = ["timeout", "--preserve-status", "3"];
  const stopped = await runCommand(["serve", "-c", here, "--listen", "127.0.0.1:0"], { env, under });
  expect([stopped.code, stopped.stdout]).toEqual([0, ""]);
  expect(stopped.stderr).toContain("the key ring cannot be reached");
  expect(await run("mint", "-c", here)).toEqual(away);
  // Who checks a configuration need not be where it will run.
  const validated = await run("validate", "-c", here);
  expect(validated.code).toBe(0);
  expect(validated.stderr).toContain("issuer.keys: Redis at 127.0.0.1");
});
