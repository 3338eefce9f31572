import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { RedisClient } from "@redis/client";
import { freePort } from "./free-port.ts";

/** With a class made once: that takes longer than everything else that a client does. */
const clientOf = RedisClient.factory();

/** A `redis-server` that keeps nothing on disk. */
export interface TestRedis extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** Sends one command, as whoever looks into it would. */
  command(...words: string[]): Promise<unknown>;
  /** Ends the process, at once. */
  stop(): Promise<void>;
  /** Starts it again at the same port, with nothing in it. */
  start(): Promise<void>;
}

/** What {@link startRedis} takes. */
export interface TestRedisOptions {
  /** Further words of the command line. */
  readonly arguments?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** For {@link TestRedis.command}. */
  readonly password?: string;
  /** Where it listens; by default a port that is free. */
  readonly port?: number;
  /** The whole command line, where it is another one than for a server that keeps nothing. */
  readonly configuration?: readonly string[];
}

/** Starts a `redis-server`, which {@link REDIS_SERVER} asks for. */
export async function startRedis(options: TestRedisOptions = {}): Promise<TestRedis> {
  const port = options.port ?? (await freePort());
  // Where it writes what it copies to others, and would read it at the next start.
  const folder = mkdtempSync(join(tmpdir(), "redis-"));
  let child: ChildProcess | undefined;
  const kill = () => child?.kill("SIGKILL");

  async function start(): Promise<void> {
    const words = options.configuration ?? [
      ...["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
      ...(options.arguments ?? []),
    ];
    child = spawn("redis-server", words, {
      stdio: ["ignore", "ignore", "ignore"],
      env: { ...process.env, ...options.env },
    });
    process.once("exit", kill);
    await listening(port);
  }

  async function stop(): Promise<void> {
    process.off("exit", kill);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, "close");
    kill();
    await closed;
  }

  await start();
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    async command(...words) {
      const { password } = options;
      const client = clientOf({ socket: { port, host: "127.0.0.1" }, ...(password && { password }) });
      await client.connect();
      try {
        return await client.sendCommand(words);
      } finally {
        client.destroy();
      }
    },
    stop,
    start,
    async [Symbol.asyncDispose]() {
      await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Waits until something listens there. */
export async function listening(port: number): Promise<void> {
  for (let attempts = 0; ; attempts++) {
    const socket = connect(port, "127.0.0.1");
    try {
      await once(socket, "connect");
      return;
    } catch (error) {
      if (attempts > 500) throw error;
      await sleep(10);
    } finally {
      socket.destroy();
    }
  }
}

/** A key that encrypts a ring. */
export function encryptionKey(): string {
  return randomBytes(32).toString("base64");
}
