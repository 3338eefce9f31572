import { randomUUID } from "node:crypto";
import { lstat, open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** Who may read a file that is made. */
export interface FileAccess {
  /** Permission bits. Its owner is whoever makes it. */
  readonly mode: number;
  /** The id of its group; `undefined`: as the system has it. */
  readonly gid: number | undefined;
}

/** Its owner alone. */
export const OWNER_ALONE: FileAccess = { mode: 0o600, gid: undefined };

/**
 * Makes a file of a name that is not taken, and syncs it. Nobody else can have opened it before its permissions are right.
 *
 * @throws {Error} that of the system; or where the file system keeps no permissions
 */
export async function writeNewFile(file: string, text: string, { mode, gid }: FileAccess): Promise<void> {
  const handle = await open(file, "wx", 0o600);
  try {
    if (process.platform !== "win32") {
      const made = await handle.stat();
      // Only where it is another one: a hardened service may not ask. And before the mode, which it may take bits away from.
      if (gid !== undefined && gid !== made.gid) await handle.chown(made.uid, gid);
      if (mode !== 0o600) await handle.chmod(mode);
      const kept = (await handle.stat()).mode & 0o777;
      if ((kept & ~mode) !== 0)
        throw new Error(
          `the file system opens it to other users (mode ${kept.toString(8).padStart(4, "0")})`,
        );
    }
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Puts a file in the place of another one, or where there is none: readers see the one or the other, never half of one,
 * and so it is after a power cut. A link at `file` is replaced, and not followed.
 *
 * @throws {Error} that of the system, with `*` for the random part of a name; what was written aside is removed
 */
export async function replaceFile(file: string, text: string, access: FileAccess): Promise<void> {
  const folder = dirname(file);
  const aside = `.${basename(file)}.`;
  const temporary = join(folder, `${aside}${randomUUID()}.tmp`);
  try {
    await removeAbandoned(
      folder,
      (name) => name.startsWith(aside) && RANDOM_PART.test(name.slice(aside.length)),
    );
    await writeNewFile(temporary, text, access);
    await rename(temporary, file);
    await syncDirectory(folder);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    if (error instanceof Error) error.message = error.message.replaceAll(RANDOM_PARTS, "*.tmp");
    throw error;
  }
}

const RANDOM_PART = /^[0-9a-f-]{36}\.tmp$/;
const RANDOM_PARTS = /[0-9a-f-]{36}\.tmp/g;

/** Makes sure that names which were put into a directory are there after a power cut. */
export async function syncDirectory(directory: string): Promise<void> {
  // Windows cannot open a directory for syncing.
  if (process.platform === "win32") return;
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const MAX_WRITE_MILLISECONDS = 60_000;

/** Whether what was written aside was left by a process that was killed: a younger one may be written now. */
export async function isAbandoned(file: string): Promise<boolean> {
  return Date.now() - (await lstat(file)).mtimeMs > MAX_WRITE_MILLISECONDS;
}

async function removeAbandoned(folder: string, isAside: (name: string) => boolean): Promise<void> {
  for (const name of (await readdir(folder)).filter(isAside)) {
    const file = join(folder, name);
    // Gone by now, or it can be removed the next time.
    if (await isAbandoned(file).catch(() => false)) await rm(file, { force: true }).catch(() => {});
  }
}
