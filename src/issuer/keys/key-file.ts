import { constants, type Stats } from "node:fs";
import { open } from "node:fs/promises";
import { reasonOf } from "../../errors.ts";
import { KeyError } from "./key-error.ts";

/** Who may read a key file or directory beside its owner, and who the owner may be. */
export interface Access {
  /** The permission bits that nobody may have. */
  readonly forbiddenMode: number;
  /** What to do about them, for messages. */
  readonly remedy: string;
  /** Whether root may own it, as it does where an orchestrator mounts a secret. */
  readonly rootMayOwn: boolean;
}

/** What Countersign made itself is its own alone. */
export const OWN_FILE: Access = { forbiddenMode: 0o077, remedy: "chmod 600", rootMayOwn: false };
export const OWN_DIRECTORY: Access = { forbiddenMode: 0o077, remedy: "chmod 700", rootMayOwn: false };
/** What others put there may be readable for a group: a mounted secret belongs to root and the group of the pod. */
export const MOUNTED_FILE: Access = { forbiddenMode: 0o037, remedy: "chmod 640", rootMayOwn: true };

/**
 * Reads a file that holds a private key.
 *
 * @throws {KeyError} ERR_KEY when it cannot be read, is no file, or others may read or write it
 */
export async function readKeyFile(file: string, access: Access): Promise<string> {
  try {
    // O_NONBLOCK: a FIFO in the file's place would keep the start waiting for a writer. Windows has neither.
    const handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      // Of the handle, not the path: what is checked is what is read.
      const stats = await handle.stat();
      if (!stats.isFile()) throw new KeyError(file, "this is not a file; expected a private key");
      checkAccess(file, "file", stats, access);
      return await handle.readFile("utf8");
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (cause instanceof KeyError) throw cause;
    throw new KeyError(file, `this key file cannot be read: ${reasonOf(cause)}`, { cause });
  }
}

/**
 * Refuses what others than its owner can read or write, or somebody else owns.
 *
 * @throws {KeyError} ERR_KEY with the remedy
 */
export function checkAccess(
  path: string,
  kind: "directory" | "file",
  { mode, uid }: Pick<Stats, "mode" | "uid">,
  { forbiddenMode, remedy, rootMayOwn }: Access,
): void {
  // Windows has no permission bits and no user ids.
  if (process.platform === "win32") return;
  if ((mode & forbiddenMode) !== 0) {
    const found = (mode & 0o777).toString(8).padStart(4, "0");
    throw new KeyError(
      path,
      `this key ${kind} is open to other users (mode ${found}); close it: ${remedy} ${path}`,
    );
  }
  const self = process.getuid?.();
  if (self !== undefined && uid !== self && !(rootMayOwn && uid === 0))
    throw new KeyError(
      path,
      `this key ${kind} belongs to uid ${uid}, and Countersign runs as uid ${self}; change one`,
    );
}
