import { constants } from "node:fs";
import { chmod, mkdir, open } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { CountersignError, reasonOf } from "../../errors.ts";
import { replaceFile, syncDirectory } from "../../whole-file.ts";
import { jsonMapOf } from "../ask.ts";
import { JWKS_PATH, type StaticDocument } from "./documents.ts";

/** A file of the copy, and whether it had to be written. */
export interface CopiedDocument extends StaticDocument {
  readonly isWritten: boolean;
}

/**
 * Puts the documents below `directory`, in their order. A file that says the same already is not touched, so that what
 * uploads changed files alone has nothing to do.
 *
 * @throws {CountersignError} ERR_EXPORT with the file that cannot be written
 */
export async function writeCopy(
  directory: string,
  documents: readonly StaticDocument[],
): Promise<CopiedDocument[]> {
  const copied: CopiedDocument[] = [];
  for (const document of documents) {
    copied.push({ ...document, isWritten: await put(join(directory, document.path), document.body) });
  }
  return copied;
}

/** @returns whether the file said something else */
async function put(file: string, body: string): Promise<boolean> {
  try {
    if ((await textOf(file)) === body) return false;
    await makeFolder(dirname(file));
    await replaceFile(file, body, { mode: PUBLIC_FILE, gid: undefined });
    return true;
  } catch (cause) {
    throw new CountersignError("ERR_EXPORT", `${file}: this file cannot be written: ${reasonOf(cause)}`, {
      cause,
    });
  }
}

/** A web server runs as somebody else. */
const PUBLIC_FILE = 0o644;
const PUBLIC_FOLDER = 0o755;

/** No document is that long; what is longer is another file, and is not read. */
const MAX_BYTES = 1024 * 1024;

/** @returns `undefined` where there is nothing, and "" where there is something else than a document */
async function textOf(file: string): Promise<string | undefined> {
  try {
    // A FIFO keeps nobody waiting. Windows has no such flag.
    const { O_RDONLY, O_NONBLOCK = 0 } = constants;
    const handle = await open(file, O_RDONLY | O_NONBLOCK);
    try {
      const stats = await handle.stat();
      return stats.isFile() && stats.size <= MAX_BYTES ? await handle.readFile("utf8") : "";
    } finally {
      await handle.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Makes the folders that are not there, open to readers whatever the process masks; those that are there stay as they are. */
async function makeFolder(folder: string): Promise<void> {
  const outermost = await mkdir(folder, { recursive: true, mode: PUBLIC_FOLDER });
  if (outermost === undefined) return;
  const end = dirname(resolve(outermost));
  for (let made = resolve(folder); made !== end; made = dirname(made)) {
    await chmod(made, PUBLIC_FOLDER);
    await syncDirectory(dirname(made));
  }
}

/** The kids in the JWK Set of the copy; none where it cannot be read. */
export async function copiedKids(directory: string): Promise<ReadonlySet<unknown>> {
  const text = await textOf(join(directory, JWKS_PATH)).catch(() => undefined);
  const keys = jsonMapOf(text ?? "")?.keys;
  return new Set(Array.isArray(keys) ? keys.map((key: { kid?: unknown } | null) => key?.kid) : []);
}
