import { randomUUID } from "node:crypto";
import { lstat, open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/**
 * Puts a text in the place of a file, or where there is none: a reader sees the old file or the new one, never half of one,
 * and so it is after a power cut. A link at `path` is replaced, and not followed.
 *
 * @param options `mode`: the permission bits, whatever the process masks
 * @throws {Error} that of the system, with `*` for the random part of a name; what was written aside is removed
 */
export async function writeFileAtomically(
  path: string,
  content: string,
  { mode }: { readonly mode: number },
): Promise<void> {
  const folder = dirname(path);
  const aside = `.${basename(path)}.`;
  const temporary = join(folder, `${aside}${randomUUID()}.tmp`);
  try {
    await removeAbandoned(folder, aside);
    const handle = await open(temporary, "wx", mode);
    try {
      await handle.writeFile(content);
      await handle.chmod(mode);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
    await syncDirectory(folder);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    // The same words each time, or a disk that stays full would be news at every try.
    if (error instanceof Error) error.message = error.message.replaceAll(RANDOM_PARTS, "*.tmp");
    throw error;
  }
}

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

async function removeAbandoned(folder: string, aside: string): Promise<void> {
  const names = await readdir(folder);
  for (const name of names.filter((one) => one.startsWith(aside) && one.endsWith(".tmp"))) {
    const file = join(folder, name);
    // Gone by now, or it can be removed the next time.
    if (await isAbandoned(file).catch(() => false)) await rm(file, { force: true }).catch(() => {});
  }
}
