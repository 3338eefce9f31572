import { randomUUID } from "node:crypto";
import { link, lstat, mkdir, readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { reasonOf } from "../../errors.ts";
import { watchFolders } from "../../refresh.ts";
import { isAbandoned, OWNER_ALONE, syncDirectory, writeNewFile } from "../../whole-file.ts";
import { KeyError } from "./key-error.ts";
import { checkAccess, OWN_DIRECTORY, OWN_FILE, readKeyFile } from "./key-file.ts";
import { EMPTY_RING, type Ring } from "./ring.ts";
import { type FiledRing, formatRing, parseRing } from "./ring-file.ts";
import type { KeyStore, StoredRing } from "./store.ts";

/**
 * Keeps a ring in a directory. Each version is a whole file, `ring.<version>.json`, which is put in place in one step
 * and never changed; the newest counts, and older ones are removed. So a reader sees the old ring or the new one, and
 * of two processes that change the same version one is told to look again.
 *
 * @param passphrase encrypts the private keys in the file
 */
export function createDirectoryStore(directory: string, passphrase?: string): KeyStore {
  // Reading the keys costs more than comparing the text, and nearly always it is the same.
  let last: (FiledRing & { readonly text: string }) | undefined;

  async function read(text: string, file: string): Promise<FiledRing> {
    if (text !== last?.text) last = { text, ...(await parseRing(text, file, { passphrase })) };
    return last;
  }

  async function save(ring: Ring, version: number): Promise<number | undefined> {
    const id = randomUUID();
    const saves = [id, ...(version === 0 ? [] : (last?.saves ?? []))].slice(0, MAX_SAVES_REMEMBERED);
    const text = formatRing(ring, saves, passphrase);
    const saved = await putVersion(directory, version + 1, text);
    if (saved === "overtaken") {
      // Either this save came too late, or somebody has gone on from it already.
      const wasBuiltUpon = (await load(directory, read)).saves.includes(id);
      return wasBuiltUpon ? version + 1 : undefined;
    }
    if (saved === "taken") return undefined;
    last = { text, ring, saves, isPlain: passphrase === undefined };
    return version + 1;
  }

  return {
    name: directory,
    async load() {
      const { ring, version, isPlain } = await load(directory, read);
      return { ring, version, ...(isPlain && passphrase !== undefined && { isOutdated: true }) };
    },
    async save(ring, version) {
      try {
        return await save(ring, version);
      } catch (cause) {
        if (cause instanceof KeyError) throw cause;
        // The same words each time, or a disk that stays full would be news at every try.
        const reason = reasonOf(cause).replaceAll(/\.ring\.[0-9a-f-]{36}\.tmp/g, ".ring.*.tmp");
        throw new KeyError(directory, `the key ring cannot be written: ${reason}`, { cause });
      }
    },
    watch(changed) {
      void removeOutdated(directory, 0);
      // Not for what is written aside, or a save that fails would call for the next.
      return watchFolders([directory], changed, (name) => !TEMPORARY_FILE.test(name));
    },
  };
}

/** More saves than any process is overtaken by while it makes one. */
const MAX_SAVES_REMEMBERED = 32;
const RING_FILE = /^ring\.([1-9]\d{0,14})\.json$/;
const KEY_FILE = /\.(?:pem|key|jwk|json|p8|p12|der)$/i;
/** A reader that is overtaken this often meets a directory that changes all the time. */
const MAX_READS = 20;

function fileOf(directory: string, version: number): string {
  return join(directory, `ring.${version}.json`);
}

async function load(
  directory: string,
  read: (text: string, file: string) => Promise<FiledRing>,
): Promise<FiledRing & Pick<StoredRing, "version">> {
  for (let reads = 0; reads < MAX_READS; reads++) {
    const version = await newestVersion(directory);
    if (version === 0) return { ring: EMPTY_RING, saves: [], isPlain: false, version };
    const file = fileOf(directory, version);
    try {
      return { ...(await read(await readKeyFile(file, OWN_FILE), file)), version };
    } catch (error) {
      // A newer one has taken its place since the directory was listed.
      if (!isMissing((error as Error).cause) || (await newestVersion(directory)) === version) throw error;
    }
  }
  throw new KeyError(
    directory,
    "the key ring changes faster than it can be read; find out what writes to it",
  );
}

/** The version of the newest ring file; 0 where there is none. */
async function newestVersion(directory: string): Promise<number> {
  const names = await listDirectory(directory);
  if (!names) return 0;
  const stray = names.find((name) => KEY_FILE.test(name) && !RING_FILE.test(name));
  if (stray !== undefined)
    throw new KeyError(
      join(directory, stray),
      "this file is not part of the key ring in its directory; move it away, and import it where its key is to be used: countersign keys import FILE",
    );
  return Math.max(0, ...names.map((name) => Number(RING_FILE.exec(name)?.[1] ?? 0)));
}

/** The names in a directory that is closed to others; `undefined` where it does not exist. */
async function listDirectory(directory: string): Promise<string[] | undefined> {
  try {
    const names = await readdir(directory);
    checkAccess(directory, "directory", await stat(directory), OWN_DIRECTORY);
    return names;
  } catch (cause) {
    if (cause instanceof KeyError) throw cause;
    if (isMissing(cause)) return undefined;
    throw new KeyError(directory, `the key directory cannot be read: ${reasonOf(cause)}`, { cause });
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === "ENOENT";
}

/**
 * Old ring or new ring, never half of one: written aside, synced, put in place, and the directory synced.
 *
 * @returns `taken` where this version is there already, `overtaken` where a later one is
 */
async function putVersion(
  directory: string,
  version: number,
  text: string,
): Promise<"put" | "taken" | "overtaken"> {
  const made = await mkdir(directory, { recursive: true, mode: 0o700 });
  if (made !== undefined) await syncAround(made, directory);
  checkAccess(directory, "directory", await stat(directory), OWN_DIRECTORY);
  const temporary = join(directory, `.ring.${randomUUID()}.tmp`);
  try {
    await writeNewFile(temporary, text, OWNER_ALONE);
    if (!(await putInPlace(temporary, fileOf(directory, version)))) return "taken";
  } finally {
    // What stays behind here is removed later.
    await rm(temporary, { force: true }).catch(() => {});
  }
  // Whoever saved later has removed the file that would have been in the way.
  if ((await newestVersion(directory)) > version) {
    await rm(fileOf(directory, version), { force: true });
    return "overtaken";
  }
  await syncDirectory(directory);
  await removeOutdated(directory, version);
  return "put";
}

/** A hard link, unlike a rename, leaves alone a file that another process has put there in the meantime. */
async function putInPlace(temporary: string, file: string): Promise<boolean> {
  try {
    await link(temporary, file);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Missing: taken for the leftover of a killed process, by one whose clock is ahead of the file system's.
    if (code === "EEXIST" || code === "ENOENT") return false;
    // File systems without hard links: some network shares and FUSE mounts.
    if (code !== "EPERM" && code !== "ENOTSUP" && code !== "ENOSYS") throw error;
    return renameAlone(temporary, file);
  }
}

/** A folder of that name can be made once: whoever makes it may put the file there. */
async function renameAlone(temporary: string, file: string): Promise<boolean> {
  const claim = join(dirname(file), `.${basename(file)}.claim.tmp`);
  try {
    await mkdir(claim);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    // It may be gone by now, which is as good.
    if (await isAbandoned(claim).catch(() => false)) await rmdir(claim).catch(() => {});
    return false;
  }
  try {
    if (await exists(file)) return false;
    await rename(temporary, file);
    return true;
  } finally {
    await rmdir(claim).catch(() => {});
  }
}

async function exists(file: string): Promise<boolean> {
  return lstat(file).then(
    () => true,
    (error: unknown) => !isMissing(error),
  );
}

/** Syncs whatever holds a directory that was made: from around `outermost` to around `innermost`. */
async function syncAround(outermost: string, innermost: string): Promise<void> {
  let made = resolve(innermost);
  for (; made.length > resolve(outermost).length; made = dirname(made)) await syncDirectory(dirname(made));
  await syncDirectory(dirname(made));
}

const TEMPORARY_FILE = /^\.ring\.(?:[0-9a-f-]{36}|\d+\.json\.claim)\.tmp$/;

/** Removes older versions, and what a process that was killed while writing has left: private keys that nobody needs. */
async function removeOutdated(directory: string, version: number): Promise<void> {
  // What cannot be listed now is removed the next time: the ring is saved.
  for (const name of (await listDirectory(directory).catch(() => undefined)) ?? []) {
    const isOlder = Number(RING_FILE.exec(name)?.[1] ?? version) < version;
    const file = join(directory, name);
    try {
      if (isOlder || (TEMPORARY_FILE.test(name) && (await isAbandoned(file))))
        await rm(file, { force: true, recursive: true });
    } catch {
      // Gone by now, or it can be removed the next time.
    }
  }
}
