import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { reasonOf } from "./errors.ts";
import { JobQueue, refreshOften, reportingProblems, type SourceEvent, watchFolders } from "./refresh.ts";

/** Files that are read again when they change. */
export interface WatchedFiles<T> {
  /** What was last made of them. */
  current(): T;
  close(): void;
}

/** What {@link openWatchedFiles} needs. */
export interface WatchedFilesOptions<T> {
  /** Absolute paths. */
  readonly files: readonly string[];
  /**
   * Makes of the files what is used; throws where that cannot be. Called at once, and after each change.
   *
   * @returns `before` itself where the files say what they said before
   */
  readonly read: (before: T | undefined) => Promise<T>;
  /** Takes what was read into use: at once, and whenever it is another. */
  readonly use?: (value: T) => void;
  /** Told of files that cannot be used, while what they said before goes on; and of new ones. */
  readonly onEvent: (event: SourceEvent) => void;
  /** The words for each kind of event. */
  readonly messages: {
    readonly reloaded: string;
    readonly recovered: string;
    /** @param reason what is wrong */
    readonly problem: (reason: string) => string;
  };
}

/** Events tell of a change at once; where a file system has none, this is how long it takes at most. */
const REREAD_SECONDS = 30;

/** Files that belong together are written one after the other: between them they do not fit, and nobody need know. */
const PATIENCE_MILLISECONDS = 1000;

/**
 * Reads files, and reads them again when one of them changes: by a write, a rename, or another link to it.
 *
 * @throws {Error} as `read` does at first
 */
export async function openWatchedFiles<T>(options: WatchedFilesOptions<T>): Promise<WatchedFiles<T>> {
  const { files, read, use = () => {}, onEvent, messages } = options;
  let value = await read(undefined);
  let isClosed = false;
  use(value);

  async function readPatiently(): Promise<T> {
    try {
      return await read(value);
    } catch (error) {
      if (files.length === 1) throw error;
      await sleep(PATIENCE_MILLISECONDS, undefined, { ref: false });
      return await read(value);
    }
  }

  async function readAgain(): Promise<void> {
    const latest = await readPatiently();
    if (isClosed || latest === value) return;
    use(latest);
    value = latest;
    onEvent({ kind: "reloaded", message: messages.reloaded });
  }

  const queue = new JobQueue();
  const refresh = reportingProblems(
    () => queue.run(readAgain),
    (health) => {
      if (isClosed) return;
      const message = health.kind === "problem" ? messages.problem(health.message) : messages.recovered;
      onEvent({ kind: health.kind, message });
    },
  );
  const watch = refreshOften(refresh, REREAD_SECONDS, (changed) => watchFolders(files.map(dirname), changed));
  return {
    current: () => value,
    close() {
      isClosed = true;
      watch.close();
    },
  };
}

/** What {@link openWatchedFile} needs. */
export interface WatchedFileOptions<T> {
  /** Absolute. */
  readonly path: string;
  /** Makes of its text what is used; throws where that cannot be. Called at once, and after each change. */
  readonly parse: (text: string) => T | Promise<T>;
  /** Told of a text that cannot be used; the one before goes on. Also of a new one. */
  readonly onEvent: (event: SourceEvent) => void;
}

/**
 * Reads a text file, and reads it again when it changes, as {@link openWatchedFiles} does.
 *
 * @throws {Error} when it cannot be read at first, or as `parse` does
 */
export async function openWatchedFile<T>({
  path,
  parse,
  onEvent,
}: WatchedFileOptions<T>): Promise<WatchedFiles<T>> {
  const opened = await openWatchedFiles<{ readonly text: string; readonly parsed: T }>({
    files: [path],
    onEvent,
    async read(before) {
      const text = await readText(path);
      return text === before?.text ? before : { text, parsed: await parse(text) };
    },
    messages: {
      reloaded: `${path} was read again`,
      recovered: `${path} can be used again`,
      problem: (reason) => `${path} cannot be used, and what it said before goes on: ${reason}`,
    },
  });
  return { current: () => opened.current().parsed, close: () => opened.close() };
}

async function readText(path: string): Promise<string> {
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
