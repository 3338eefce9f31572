import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const FOLDER = fileURLToPath(new URL("peers/", import.meta.url));
const LOCK = `${FOLDER}package-lock.json`;
const STAMP = `${FOLDER}node_modules/.installed-lock.json`;

/** Installs what the lock file in bench/peers says, where that is not installed already. */
export function installPeers() {
  const lock = readFileSync(LOCK, "utf8");
  if (existsSync(STAMP) && readFileSync(STAMP, "utf8") === lock) return;
  console.error("installing the peers in bench/peers …");
  // npm says where it is, so that no other one on the PATH is taken.
  const cli = process.env.npm_execpath;
  const [command, ...words] = cli ? [process.execPath, cli] : ["npm"];
  const { status } = spawnSync(command, [...words, "ci", "--ignore-scripts", "--loglevel=error"], {
    cwd: FOLDER,
    stdio: ["ignore", process.stderr, process.stderr],
  });
  if (status !== 0) throw new Error("npm ci failed in bench/peers; its messages are above");
  writeFileSync(STAMP, lock);
}
