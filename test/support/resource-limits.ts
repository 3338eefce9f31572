import { execFileSync } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import type { Program } from "./programs.ts";

/** The program that changes what a running process may use, of Linux alone. */
export const PRLIMIT: Program = {
  probe: ["prlimit", "--version"],
  note: "prlimit is needed: it is in the package util-linux",
};

/** What tells which files a process has open, of Linux alone. */
export const PROC: Program = {
  probe: ["test", "-d", "/proc/self/fd"],
  note: "the folder /proc of Linux is needed",
};

/** Sets a limit of a running process that it can be freed of again: `"nofile"`, or `"fsize"` in bytes. */
export function setLimit(pid: number, resource: "nofile" | "fsize", value: number | "unlimited"): void {
  // The soft limit alone: what is below the hard one may be raised again by anybody.
  execFileSync("prlimit", ["--pid", String(pid), `--${resource}=${value}:`]);
}

/** How many files, sockets and pipes a process has open. */
export function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** The limit with which a process can open nothing more: the lowest number that it does not use. */
export function nothingMore(pid: number): number {
  const used = new Set(readdirSync(`/proc/${pid}/fd`));
  let number = 0;
  while (used.has(String(number))) number++;
  return number;
}

/** How many sockets a process has open. */
export function openSockets(pid: number): number {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory).filter((fd) => {
    try {
      return readlinkSync(`${directory}/${fd}`).startsWith("socket:");
    } catch {
      // It was closed meanwhile.
      return false;
    }
  }).length;
}
