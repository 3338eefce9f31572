import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startRedis, type TestRedis } from "../../support/redis.ts";
import type { ScaledTime } from "./scaled-time.ts";

/** A `redis-server` that keeps what it has in a folder, and whose clock is scaled: replicas go by it. */
export interface FastRedis extends AsyncDisposable, Pick<TestRedis, "port" | "command"> {
  /** Ends it at once, and starts it again after the outage: with what it had, or with nothing. */
  restart(kept: "everything" | "nothing", outageMilliseconds: number): Promise<void>;
}

/** Starts it; {@link REDIS_SERVER} and {@link C_COMPILER} are needed. */
export async function startFastRedis({ base, factor }: ScaledTime): Promise<FastRedis> {
  const folder = await mkdtemp(join(tmpdir(), "countersign-redis-"));
  const library = join(folder, "fast-clock.so");
  const source = fileURLToPath(new URL("fast-clock.c", import.meta.url));
  await promisify(execFile)("cc", ["-shared", "-fPIC", "-O1", "-o", library, source]);
  const redis = await startRedis({
    arguments: ["--appendonly", "yes", "--dir", folder],
    env: {
      LD_PRELOAD: library,
      FAST_CLOCK_BASE: String(base / 1000),
      FAST_CLOCK_FACTOR: String(factor),
    },
  });
  return {
    port: redis.port,
    command: redis.command,
    async restart(kept, outageMilliseconds) {
      await redis.stop();
      if (kept === "nothing") await rm(join(folder, "appendonlydir"), { recursive: true });
      await sleep(outageMilliseconds);
      await redis.start();
      while (!(await isLoaded(redis))) await sleep(10);
    },
    async [Symbol.asyncDispose]() {
      await redis[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
}

/** It answers nothing else while it reads what is on its disk. */
async function isLoaded({ command }: TestRedis): Promise<boolean> {
  return String(await command("INFO", "persistence")).includes("loading:0");
}
