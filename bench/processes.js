import { spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, closeSync, constants, openSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { delimiter, join } from "node:path";

/** Where a program of this name stands on the PATH; undefined where it does not. */
export function findProgram(name) {
  return (process.env.PATH ?? "")
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

const ENDED_WITHIN_MILLISECONDS = 3000;
const LOOK_EVERY_MILLISECONDS = 50;

const taskset = findProgram("taskset");
const cores = process.platform === "linux" ? allowedCores() : [];
const otherCores = cores.slice(1);

/** How many cores this program was given; 0 where that is not known. */
export const coreCount = cores.length;

/** Whether what is measured has a core for itself. */
export const isPinned = taskset !== undefined && otherCores.length > 0;

/** Moves this process, and so what it starts for the load, to the cores that the proxies do not use. */
export async function leaveProxyCore() {
  if (isPinned)
    await once(spawn(taskset, ["-a", "-p", "-c", otherCores.join(), String(process.pid)]), "close");
}

const running = new Set();
// However this program ends, nothing that it started stays; and not after it, or a folder could not be removed.
process.once("exit", () => {
  const alive = () => [...running].filter(({ pid }) => isAlive(pid));
  for (const begin = performance.now(); alive().length > 0; waitSynchronously(LOOK_EVERY_MILLISECONDS)) {
    const isLate = performance.now() - begin > ENDED_WITHIN_MILLISECONDS;
    // A sidecar that is asked again does not finish what it has begun.
    for (const child of alive()) child.kill(isLate ? "SIGKILL" : "SIGTERM");
  }
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/**
 * Starts a process, on the core for proxies where `isProxy` says so; with `proxyCores: 2` on that and the next one. What it
 * writes goes into `logFile`; where there is none, `child.stdout` is to be read. With `channel` the two can send messages to
 * each other.
 */
export function start(commandLine, { isProxy = false, proxyCores = 1, logFile, env, channel = false } = {}) {
  const pinned = [taskset, "-c", cores.slice(0, proxyCores).join()];
  const words = isPinned && isProxy ? [...pinned, ...commandLine] : commandLine;
  const log = logFile === undefined ? undefined : openSync(logFile, "a");
  const stdio = log === undefined ? ["ignore", "pipe", "inherit"] : ["ignore", log, log];
  const [command, ...arguments_] = words;
  const child = spawn(command, arguments_, {
    stdio: channel ? [...stdio, "ipc"] : stdio,
    env: { ...process.env, NODE_ENV: "production", ...env },
  });
  if (log !== undefined) closeSync(log);
  running.add(child);
  child.once("exit", () => running.delete(child));
  child.once("error", (error) => {
    throw error;
  });
  return child;
}

/** Ends a process that {@link start} has started, and waits until it has ended. */
export async function stop(child) {
  if (!running.has(child)) return;
  const hasEnded = once(child, "exit");
  child.kill("SIGTERM");
  await hasEnded;
}

/** A port of the loopback address that was free a moment ago. */
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Whether a process runs. Those that have ended are zombies until the event loop, which is over, sees them. */
function isAlive(pid) {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

function waitSynchronously(milliseconds) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** The CPU time of a process and those below it, user and system, of all of their threads. */
export function cpuMicroseconds(pid) {
  let nanoseconds = 0;
  for (const one of withChildren(pid)) {
    for (const thread of readdirSync(`/proc/${one}/task`)) {
      nanoseconds += Number(readFileSync(`/proc/${one}/task/${thread}/schedstat`, "utf8").split(" ", 1)[0]);
    }
  }
  return nanoseconds / 1000;
}

/** The memory of a process and those below it that is in RAM. */
export function residentMegabytes(pid) {
  const kilobytes = withChildren(pid).map((one) =>
    Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${one}/status`, "utf8"))?.[1] ?? 0),
  );
  return kilobytes.reduce((sum, part) => sum + part, 0) / 1024;
}

function withChildren(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return [pid, ...children.split(" ").filter(Boolean).flatMap(withChildren)];
}

/** The numbers of the cores that this process may use: "0-2,5" are four. */
function allowedCores() {
  const [, list] = /Cpus_allowed_list:\s+(\S+)/.exec(readFileSync("/proc/self/status", "utf8"));
  return list.split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
