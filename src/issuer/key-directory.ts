import { randomUUID } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { link, lstat, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { reasonOf } from "../errors.ts";
import { SIGNING_ALGORITHMS, type SigningAlgorithm } from "./algorithms.ts";
import {
  createSigningKey,
  generatePrivateKey,
  KeyError,
  parsePrivateKey,
  type SigningKey,
  type SigningKeys,
} from "./signing-key.ts";

/**
 * Opens a managed key directory: one PKCS#8 PEM file an algorithm, named after it (`EdDSA.pem`). The key for
 * `algorithm` is generated where its file does not exist; a file that is there is never replaced.
 *
 * @returns every key in the directory, the one for `algorithm` first
 * @throws {KeyError} ERR_KEY when the directory or a file cannot be used, with the remedy
 */
export async function openKeyDirectory(directory: string, algorithm: SigningAlgorithm): Promise<SigningKeys> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new KeyError(directory, `the key directory cannot be created: ${reasonOf(cause)}`, { cause });
  }
  const present = await readKeyDirectory(directory, algorithm);
  await removeLeftovers(directory);
  if (beginsWith(algorithm, present)) return present;
  await writeNewKey(directory, algorithm);
  const keys = await readKeyDirectory(directory, algorithm);
  if (beginsWith(algorithm, keys)) return keys;
  throw new KeyError(
    join(directory, `${algorithm}.pem`),
    "this key was written and is gone again; find out what removes it",
  );
}

function beginsWith(algorithm: SigningAlgorithm, keys: readonly SigningKey[]): keys is SigningKeys {
  return keys[0]?.algorithm === algorithm;
}

/**
 * Reads the keys that a managed directory holds now, without making any. A directory that is not there holds none.
 *
 * @throws {KeyError} ERR_KEY when the directory or a file cannot be used, with the remedy
 */
export async function readKeyDirectory(
  directory: string,
  algorithm: SigningAlgorithm,
): Promise<SigningKey[]> {
  const names = await listDirectory(directory);
  if (!names) return [];
  checkAccess(directory, "directory", await stat(directory));
  const others = SIGNING_ALGORITHMS.filter((other) => other !== algorithm);
  const present = [algorithm, ...others].filter((name) => names.includes(`${name}.pem`));
  return Promise.all(
    present.map(async (name) => {
      const file = join(directory, `${name}.pem`);
      return createSigningKey(parsePrivateKey(await readKeyFile(file), file), name, file);
    }),
  );
}

async function readKeyFile(file: string): Promise<string> {
  try {
    // O_NONBLOCK: a FIFO in the file's place would keep the start waiting for a writer. Windows has neither.
    const handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      // Of the handle, not the path: what is checked is what is read.
      checkAccess(file, "file", await handle.stat());
      return await handle.readFile("utf8");
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (cause instanceof KeyError) throw cause;
    throw new KeyError(file, `this key file cannot be read: ${reasonOf(cause)}`, { cause });
  }
}

/** The names in a directory; `undefined` where it does not exist. */
async function listDirectory(directory: string): Promise<string[] | undefined> {
  try {
    return await readdir(directory);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new KeyError(directory, `the key directory cannot be read: ${reasonOf(cause)}`, { cause });
  }
}

/** Refuses what is no file where one is expected, and what anybody but this process's own user can read or write. */
function checkAccess(path: string, kind: "directory" | "file", stats: Stats): void {
  if (kind === "file" && !stats.isFile())
    throw new KeyError(path, "this is not a file; expected a private key in PEM");
  // Windows has no permission bits and no user ids.
  if (process.platform === "win32") return;
  const { mode, uid } = stats;
  const allowed = kind === "file" ? 0o600 : 0o700;
  if ((mode & 0o077) !== 0) {
    const found = (mode & 0o777).toString(8).padStart(4, "0");
    throw new KeyError(
      path,
      `this key ${kind} is open to other users (mode ${found}); close it: chmod ${allowed.toString(8)} ${path}`,
    );
  }
  const self = process.getuid?.();
  if (self !== undefined && uid !== self)
    throw new KeyError(
      path,
      `this key ${kind} belongs to uid ${uid}, and Countersign runs as uid ${self}; change one`,
    );
}

const TEMPORARY_NAME = /^\.\w+\.[0-9a-f-]{36}\.tmp$/;
const MAX_WRITE_MILLISECONDS = 60_000;

/** Removes what a process that was killed while writing has left: a private key that nobody needs. */
async function removeLeftovers(directory: string): Promise<void> {
  const names = (await listDirectory(directory)) ?? [];
  for (const name of names.filter((candidate) => TEMPORARY_NAME.test(candidate))) {
    const file = join(directory, name);
    try {
      // A younger one may belong to a process that is writing now.
      const { mtimeMs } = await lstat(file);
      if (Date.now() - mtimeMs > MAX_WRITE_MILLISECONDS) await rm(file, { force: true });
    } catch {
      // Gone by now, or on a read-only mount: no reason not to start.
    }
  }
}

/** Old file or new file, never half of one: written aside, synced, put in place, and the directory synced. */
async function writeNewKey(directory: string, algorithm: SigningAlgorithm): Promise<void> {
  const file = join(directory, `${algorithm}.pem`);
  const temporary = join(directory, `.${algorithm}.${randomUUID()}.tmp`);
  const pem = (await generatePrivateKey(algorithm)).export({ type: "pkcs8", format: "pem" });
  try {
    checkAccess(directory, "directory", await stat(directory));
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(pem);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await putInPlace(temporary, file);
    await syncDirectory(directory);
  } catch (cause) {
    if (cause instanceof KeyError) throw cause;
    throw new KeyError(file, `the new key cannot be written: ${reasonOf(cause)}`, { cause });
  } finally {
    await rm(temporary, { force: true });
  }
}

/** A hard link, unlike a rename, leaves alone a key that another process has put there in the meantime. */
async function putInPlace(temporary: string, file: string): Promise<void> {
  try {
    await link(temporary, file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    // File systems without hard links: some network shares and FUSE mounts.
    if (code !== "EPERM" && code !== "ENOTSUP" && code !== "ENOSYS") throw error;
    await rename(temporary, file);
  }
}

async function syncDirectory(directory: string): Promise<void> {
  // Windows cannot open a directory for syncing.
  if (process.platform === "win32") return;
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
