import { readFile, realpath } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ParsedConfig } from "../config/parse.ts";
import { CountersignError, messageOf } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { JobQueue, refreshOften, type Watch, watchFolders } from "../refresh.ts";
import { logWarnings } from "./log-events.ts";

/** What {@link reloadOnChange} needs. */
export interface ReloadOptions {
  /** The configuration file, as the user named it; `undefined` where there is none. */
  readonly file: string | undefined;
  /** What it said when the configuration in use was made of it. */
  readonly text: string;
  /**
   * Reads it anew.
   *
   * @throws {Error} where it cannot be used
   */
  readonly read: () => Promise<ParsedConfig>;
  /**
   * Puts what is read in the place of what is used. What `read` throws is thrown again.
   *
   * @returns the keys that have no effect before a restart
   */
  readonly apply: (read: () => Promise<ParsedConfig>) => Promise<readonly string[]>;
  readonly log: Log;
}

/** Events tell of a change at once; where a file system has none, this is how long it takes at most. */
const REREAD_SECONDS = 10;

/** A file that says the same twice, so far apart, is not being written. */
const SETTLED_MILLISECONDS = 100;

/** Reads the configuration again when its file changes and on SIGHUP, and logs what became of it. */
export async function reloadOnChange({ file, text, read, apply, log }: ReloadOptions): Promise<void> {
  const queue = new JobQueue();
  let lastText: string | undefined = text;

  async function reload(): Promise<void> {
    const name = file === undefined ? "the command line" : basename(file);
    try {
      let parsed: ParsedConfig | undefined;
      const needsRestart = await apply(async () => {
        parsed = await read();
        lastText = parsed.source.text;
        return parsed;
      });
      if (parsed) logWarnings(log, parsed.warnings);
      const restart = needsRestart.length === 0 ? "" : `; not before a restart: ${needsRestart.join(", ")}`;
      log.info(`${name} was read again, and is used from now on${restart}`, { needsRestart });
    } catch (error) {
      const code = error instanceof CountersignError ? error.code : undefined;
      const message = `${name} cannot be used, and what it said before goes on`;
      log.error(code === undefined ? message : `${code} ${message}`, { code, problem: messageOf(error) });
    }
  }

  async function reloadIfChanged(): Promise<void> {
    const settled = file === undefined ? undefined : await settledText(file);
    if (settled === lastText) return;
    lastText = settled;
    await reload();
  }

  process.on("SIGHUP", () => {
    void queue.run(reload);
  });
  if (file !== undefined) await watchFile(file, () => queue.run(reloadIfChanged));
}

/** The folder of the file, and of what it links to: a ConfigMap is swapped by the one, another file by the other. */
async function watchFile(file: string, refresh: () => Promise<void>): Promise<Watch> {
  const path = resolve(file);
  const target = await realpath(path).catch(() => path);
  return refreshOften(refresh, REREAD_SECONDS, (changed) =>
    watchFolders([dirname(path), dirname(target)], changed),
  );
}

/** What a file says when it is not being written; `undefined` where there is none. */
export async function settledText(file: string): Promise<string | undefined> {
  const read = () => readFile(file, "utf8").catch(() => undefined);
  let text = await read();
  for (;;) {
    await sleep(SETTLED_MILLISECONDS, undefined, { ref: false });
    const again = await read();
    if (again === text) return text;
    text = again;
  }
}
