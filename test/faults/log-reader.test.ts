import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { EXECUTABLE, temporaryFolder } from "../support/command-line.ts";
import { freePort } from "../support/free-port.ts";

vi.setConfig({ testTimeout: 60_000 });

type Target = number | "pipe";

/** A sidecar with this as its standard error, once it answers. */
async function startWriting(stderr: Target, under: readonly string[] = []) {
  const folder = temporaryFolder();
  onTestFinished(() => folder[Symbol.dispose]());
  const backend = await startBackend();
  onTestFinished(() => backend[Symbol.asyncDispose]());
  const port = await freePort();
  const [command = "", ...arguments_] = [
    ...under,
    ...[process.execPath, EXECUTABLE, "serve", "--log-format", "json"],
    ...["--upstream", backend.url, "--listen", `127.0.0.1:${port}`, "--admin", "false"],
  ];
  const child = spawn(command, arguments_, { cwd: folder.path, stdio: ["ignore", "ignore", stderr] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const ended = once(child, "exit") as Promise<[number | null]>;
  const url = `http://127.0.0.1:${port}`;
  await vi.waitFor(async () => expect((await fetch(url)).status).toBe(200), {
    timeout: 20_000,
    interval: 50,
  });
  return { child, ended, port, pid: child.pid as number };
}

/** Sends requests whose lines are long, on a few connections; each must be answered with 200. */
async function sendMany(port: number, count: number): Promise<void> {
  const request = `GET /${"x".repeat(1500)} HTTP/1.1\r\nHost: a\r\n\r\n`;
  const sendOn = async (share: number) => {
    const socket = connect(port, "127.0.0.1");
    socket.setEncoding("latin1");
    for (let sent = 0; sent < share; sent++) {
      socket.write(request);
      let answer = "";
      while (!answer.endsWith("ok")) answer += (await once(socket, "data"))[0];
      if (!answer.startsWith("HTTP/1.1 200")) throw new Error(answer);
    }
    socket.destroy();
  };
  await Promise.all(Array.from({ length: 8 }, () => sendOn(count / 8)));
}

/** User and system time, in milliseconds. */
function cpuMilliseconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** A pipe that nobody reads until its end is asked for. */
function unreadPipe() {
  const folder = temporaryFolder();
  onTestFinished(() => folder[Symbol.dispose]());
  const path = join(folder.path, "pipe");
  execFileSync("mkfifo", [path]);
  // With both ends open, neither opening waits for the other.
  const fd = openSync(path, "r+");
  onTestFinished(() => closeSync(fd));
  return { fd, path };
}

/** More lines than wait in a process and in a socket: they take a mebibyte and a half, and some are dropped. */
const TOO_MANY = 1200;

describe("where nobody reads the log", () => {
  test.each(["a pipe", "a socket"])("requests go on: %s", async (kind) => {
    const sidecar = await startWriting(kind === "a pipe" ? unreadPipe().fd : "pipe");
    await sendMany(sidecar.port, TOO_MANY);
    const started = performance.now();
    sidecar.child.kill("SIGTERM");
    expect(await sidecar.ended).toEqual([0, null]);
    expect(performance.now() - started).toBeLessThan(5000);
  });

  test("and somebody reads it again, every line is whole, and how many are missing is said", async () => {
    const sidecar = await startWriting("pipe");
    await sendMany(sidecar.port, TOO_MANY);
    let text = "";
    sidecar.child.stderr?.on("data", (data) => {
      text += data;
    });
    await vi.waitFor(() => expect(text).toContain("lines of the log were dropped"), { timeout: 5000 });
    await sendMany(sidecar.port, 80);
    const requests = () => {
      const lines = text.split("\n").slice(0, -1);
      return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    };
    const missing = () => requests().reduce((sum, { droppedLines = 0 }) => sum + Number(droppedLines), 0);
    // All lines but the start's: those of the requests of this test, and of those before that asked whether it runs.
    await vi.waitFor(() => {
      const written = requests().filter(({ path }) => String(path).startsWith("/xxx")).length;
      expect(written).toBeGreaterThan(80);
      expect(written + missing()).toBe(TOO_MANY + 80);
    });
  });
});

test("where who reads it has closed it, requests go on, and nothing spins", async () => {
  const sidecar = await startWriting("pipe");
  sidecar.child.stderr?.destroy();
  await sendMany(sidecar.port, 80);
  const before = cpuMilliseconds(sidecar.pid);
  await sleep(1000);
  expect(cpuMilliseconds(sidecar.pid) - before).toBeLessThan(500);
  await sendMany(sidecar.port, 80);
  sidecar.child.kill("SIGTERM");
  expect(await sidecar.ended).toEqual([0, null]);
});

test("where the disk is full, requests go on, and nothing spins", async () => {
  const fd = openSync("/dev/full", "w");
  onTestFinished(() => closeSync(fd));
  const sidecar = await startWriting(fd);
  await sendMany(sidecar.port, 80);
  const before = cpuMilliseconds(sidecar.pid);
  await sleep(1000);
  expect(cpuMilliseconds(sidecar.pid) - before).toBeLessThan(500);
  sidecar.child.kill("SIGTERM");
  expect(await sidecar.ended).toEqual([0, null]);
});

test("a second signal ends it with what it has logged until then", async () => {
  const sidecar = await startWriting("pipe");
  const closed = once(sidecar.child, "close");
  let text = "";
  sidecar.child.stderr?.on("data", (data) => {
    text += data;
  });
  const socket = connect(sidecar.port, "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  // It never ends, and so holds the end up.
  socket.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
  await sendMany(sidecar.port, 80);
  sidecar.child.kill("SIGTERM");
  await vi.waitFor(() => expect(text).toContain("SIGTERM: finishing"));
  sidecar.child.kill("SIGTERM");
  expect(await sidecar.ended).toEqual([1, null]);
  await closed;
  expect(text.match(/"path":"\/xxx/g)).toHaveLength(80);
});
