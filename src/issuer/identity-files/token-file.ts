import { constants } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { reasonOf } from "../../errors.ts";
import { type FileAccess, OWNER_ALONE } from "../../whole-file.ts";

/** What stands at a path, and who may read it. */
export interface FoundFile {
  readonly text: string;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** No token is that long; what is longer is not read. */
const MAX_BYTES = 1024 * 1024;

/**
 * Reads what may be a file with a token, and may be anything else.
 *
 * @returns `undefined` where there is nothing
 * @throws {Error} with the reason why it cannot be read
 */
export async function readTokenFile(path: string): Promise<FoundFile | undefined> {
  try {
    // A link is replaced and not followed, and a FIFO keeps nobody waiting. Windows has neither flag.
    const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants;
    const handle = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) throw new Error("this is not a file");
      const { mode, uid, gid } = stats;
      const text = stats.size > MAX_BYTES ? "" : await handle.readFile("latin1");
      return { text, mode: mode & 0o7777, uid, gid };
    } finally {
      await handle.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    if (code === "ELOOP") throw new Error("this is a symbolic link");
    throw error;
  }
}

/**
 * Who is to read a file of this group.
 *
 * @throws {Error} where there is no such group
 */
export async function accessFor(group: string | number | undefined): Promise<FileAccess> {
  return group === undefined ? OWNER_ALONE : { mode: 0o640, gid: await groupIdOf(group) };
}

/** Whether a file is this process's, and open to nobody else than it should be. */
export function hasAccess({ mode, uid, gid }: FoundFile, access: FileAccess): boolean {
  // Windows has no permission bits and no ids.
  if (process.platform === "win32") return true;
  const isOwn = uid === process.geteuid?.();
  return isOwn && mode === access.mode && (access.gid === undefined || access.gid === gid);
}

const GROUPS = "/etc/group";

/** A name is looked up each time, as the group may be made later. */
async function groupIdOf(group: string | number): Promise<number> {
  // A number that came out of a variable is a text.
  if (typeof group === "number" || /^\d+$/.test(group)) return Number(group);
  const text = await readFile(GROUPS, "utf8").catch((error: unknown) => {
    throw new Error(`${GROUPS} cannot be read (${reasonOf(error)}); name the group by its number`);
  });
  for (const line of text.split("\n")) {
    const [name, , id = ""] = line.split(":");
    if (name === group && /^\d+$/.test(id)) return Number(id);
  }
  throw new Error(`there is no group ${group} in ${GROUPS}; make it, or name it by its number`);
}
