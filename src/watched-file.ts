import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { reasonOf } from "./errors.ts";
import { JobQueue, refreshOften, reportingProblems, watchFolders } from "./refresh.ts";

/** What became of a file that is watched. */
export interface WatchedFileEvent {
  readonly kind: "problem" | "recovered" | "reloaded";
  /** Names the file, and says what is wrong with it. */
  readonly message: string;
}

/** A file that is read again when it changes. */
export interface WatchedFile<T> {
  /** What was made of its last good text. */
  current(): T;
  close(): void;
}

/** What {@link openWatchedFile} needs. */
export interface WatchedFileOptions<T> {
  /** Absolute. */
  readonly path: string;
  /** Makes of its text what is used; throws where that cannot be. Called at once, and after each change. */
  readonly parse: (text: string) => T | Promise<T>;
  /** Told of a text that cannot be used; the one before goes on. Also of a new one. */
  readonly onEvent: (event: WatchedFileEvent) => void;
}

/** Events tell of a change at once; where a file system has none, this is how long it takes at most. */
const REREAD_SECONDS = 30;

/**
 * Reads a file, and reads it again when it changes: by a write, a rename, or another link to it.
 *
 * @throws {Error} when it cannot be read at first, or as `parse` does
 */
export async function openWatchedFile<T>(options: WatchedFileOptions<T>): Promise<WatchedFile<T>> {
  const { path, parse, onEvent } = options;
  let text = await read(path);
  let value = await parse(text);

  async function readAgain(): Promise<void> {
    const newText = await read(path);
    if (newText === text) return;
    value = await parse(newText);
    text = newText;
    onEvent({ kind: "reloaded", message: `${path} was read again` });
  }

  const queue = new JobQueue();
  const refresh = reportingProblems(
    () => queue.run(readAgain),
    (health) =>
      onEvent({
        kind: health.kind,
        message:
          health.kind === "problem"
            ? `${path} cannot be used, and what it said before goes on: ${health.message}`
            : `${path} can be used again`,
      }),
  );
  const watch = refreshOften(refresh, REREAD_SECONDS, (changed) => watchFolders([dirname(path)], changed));
  return { current: () => value, close: () => watch.close() };
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    throw new Error(`${path}: ${READ_PROBLEMS[code] ?? `this file cannot be read: ${reasonOf(error)}`}`);
  }
}

const READ_PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: "this file does not exist",
  EISDIR: "this is a directory",
};
