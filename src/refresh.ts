import { watch as watchPath } from "node:fs";
import { messageOf } from "./errors.ts";

/** What is told of a source that is read again and again. */
export type SourceHealth =
  | { readonly kind: "problem"; readonly message: string }
  | { readonly kind: "recovered" };

/** What became of a file, a provider or a backend that is read or asked again and again. */
export interface SourceEvent {
  readonly kind: "problem" | "recovered" | "reloaded";
  /** Names it, and says what is wrong with it. */
  readonly message: string;
}

/** Something that is being watched. */
export interface Watch {
  close(): void;
}

/**
 * Calls `changed` when something in one of the folders may have changed.
 *
 * @param matters whether a change of this name in a folder is of interest
 */
export function watchFolders(
  folders: Iterable<string>,
  changed: () => void,
  matters: (name: string) => boolean = () => true,
): Watch {
  const listener = (_event: string, name: string | null) => {
    if (name === null || matters(name)) changed();
  };
  const watchers = [...new Set(folders)].flatMap((folder) => {
    try {
      // Events are a hint: on a file system without them, the next tick sees what has changed.
      return [watchPath(folder, { persistent: false }, listener).on("error", () => {})];
    } catch {
      return [];
    }
  });
  return {
    close() {
      for (const watcher of watchers) watcher.close();
    },
  };
}

/** One change is several events. */
const SETTLING_MILLISECONDS = 50;

/**
 * Calls `refresh` at regular intervals, and soon after a change.
 *
 * @param refresh never throws
 * @param watch begins to watch, and calls what it is given at a change
 */
export function refreshOften(
  refresh: () => Promise<void>,
  intervalSeconds: number,
  watch: (changed: () => void) => Watch,
): Watch {
  let soon: NodeJS.Timeout | undefined;
  let isRunning = false;
  let isWanted = false;
  // Where the disk hangs, what waits for it is one refresh and not one for each tick.
  const run = async () => {
    isWanted = true;
    if (isRunning) return;
    isRunning = true;
    while (isWanted) {
      isWanted = false;
      await refresh();
    }
    isRunning = false;
  };
  // An interval, not one long timer: `setTimeout` wraps at 24.8 days, and the clock may be set meanwhile.
  const interval = setInterval(run, intervalSeconds * 1000).unref();
  const watching = watch(() => {
    soon ??= setTimeout(() => {
      soon = undefined;
      void run();
    }, SETTLING_MILLISECONDS).unref();
  });
  return {
    close() {
      clearInterval(interval);
      clearTimeout(soon);
      watching.close();
    },
  };
}

const MAX_PATIENCE_MILLISECONDS = 1000;

/** Jobs that run one after another, whether or not those before them fail. */
export class JobQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `job` when every job before it has ended. */
  run<T>(job: () => Promise<T>): Promise<T> {
    const done = this.#last.then(job);
    this.#last = done.catch(() => {});
    return done;
  }

  /** Resolves when every job so far has ended, or after a second: one may hang on its disk. */
  async idle(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise((resolve) => {
      timer = setTimeout(resolve, MAX_PATIENCE_MILLISECONDS);
    });
    await Promise.race([this.#last, patience]);
    clearTimeout(timer);
  }
}

/** Makes a function that never throws of one that may: what goes wrong is an event, and so is that it went well again. */
export function reportingProblems(
  work: () => Promise<void>,
  onEvent: (event: SourceHealth) => void,
): () => Promise<void> {
  let problem: string | undefined;
  return async () => {
    let message: string | undefined;
    try {
      await work();
    } catch (error) {
      message = messageOf(error);
    }
    // Said once, and not at every tick.
    if (message === problem) return;
    problem = message;
    onEvent(message === undefined ? { kind: "recovered" } : { kind: "problem", message });
  };
}
