import { realpath } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import type { ParsedConfig } from "../../config/parse.ts";
import { messageOf } from "../../errors.ts";
import type { JwkSet } from "../../issuer/issuer.ts";
import { isSameSource } from "../../issuer/keys/key-source.ts";
import { TICK_SECONDS } from "../../issuer/keys/ring.ts";
import {
  JobQueue,
  refreshOften,
  reportingProblems,
  type SourceHealth,
  type Watch,
  watchFolders,
} from "../../refresh.ts";
import type { KeyRow } from "../key-table.ts";
import { readLiveKeys } from "../live-keys.ts";
import { settledText } from "../reloading.ts";
import { type CopySettings, copySettingsOf, keysForCopy } from "./copy-settings.ts";
import { copyWarningsOf } from "./copy-warnings.ts";
import { documentsOf, statementsOf } from "./documents.ts";
import { type CopiedDocument, copiedKids, writeCopy } from "./write-copy.ts";

/** A copy that was brought up to date. */
export interface Copy {
  readonly documents: readonly CopiedDocument[];
  readonly jwks: JwkSet;
  /** What is doubtful about it. */
  readonly warnings: readonly string[];
}

/**
 * Brings the files below `directory` up to date.
 *
 * @param now milliseconds since the epoch
 * @throws {KeyError} ERR_KEY when a key is missing or cannot be read; then nothing is written
 * @throws {CountersignError} ERR_EXPORT when a file cannot be written
 */
export async function bringUpToDate(directory: string, settings: CopySettings, now: number): Promise<Copy> {
  const { config, url } = settings;
  const statements = statementsOf(config, url, await keysForCopy(settings, now));
  const { jwks } = statements;
  const documents = await writeCopy(directory, documentsOf(url, statements));
  return { documents, jwks, warnings: copyWarningsOf(url, jwks.keys) };
}

/** What {@link keepCopy} needs. */
export interface KeepCopyOptions {
  readonly directory: string;
  /** The configuration file, as the user named it. */
  readonly file: string;
  /**
   * Reads it.
   *
   * @throws {ConfigError} ERR_CONFIG when it has problems
   */
  readonly read: () => Promise<ParsedConfig>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told after each look at the keys, whether something was written or not. */
  readonly onCopy: (copy: Copy) => void;
  /** Told of what keeps the copy from being current, and that it is again. */
  readonly onHealth: (health: SourceHealth) => void;
}

/** A copy that follows its source. */
export interface KeptCopy {
  /** Looks at the source again. It never throws: what goes wrong is told. */
  refresh(): Promise<void>;
  /** Stops watching; what is being written is finished. */
  close(): Promise<void>;
}

/**
 * Keeps the files below a directory as a running sidecar would answer: at every change of the keys or the configuration,
 * and at every tick.
 *
 * @throws {ConfigError} ERR_CONFIG when the configuration cannot be used at first
 * @throws {CountersignError} as {@link copySettingsOf} does
 */
export async function keepCopy(options: KeepCopyOptions): Promise<KeptCopy> {
  const { directory, file, read, now, onCopy, onHealth } = options;
  let text = await settledText(file);
  let settings = await copySettingsOf(await read(), directory);

  /** Goes by what the file says now, if that can be used; one that says the same is not read again. */
  async function readAgain(): Promise<void> {
    const settled = await settledText(file);
    if (settled === text) return;
    const next = await copySettingsOf(await read(), directory);
    refuseOther(next, settings);
    await keysForCopy(next, now());
    text = settled;
    settings = next;
  }

  async function look(): Promise<void> {
    let problem: string | undefined;
    try {
      await readAgain();
    } catch (error) {
      // The copy goes on by what it said before: a mistake in the file must not keep a new key from verifiers.
      problem = `${basename(file)} cannot be used, and what it said before goes on: ${messageOf(error)}`;
    }
    try {
      onCopy(await bringUpToDate(directory, settings, now()));
    } catch (error) {
      problem = `${directory} cannot be brought up to date: ${messageOf(error)}${await describeLack(directory, settings, now())}`;
    }
    if (problem !== undefined) throw new Error(problem);
  }

  let watching: Watch = { close() {} };
  let isClosed = false;
  let changed = () => {};
  /** Anew before each look: a folder may have been made, or replaced, and a change from here on is another look. */
  async function watchAgain(): Promise<void> {
    watching.close();
    const folders = await foldersOf(file, settings);
    if (!isClosed)
      watching = watchFolders(
        folders,
        () => changed(),
        (name) => !name.endsWith(".tmp"),
      );
  }

  const queue = new JobQueue();
  const refresh = reportingProblems(
    () =>
      queue.run(async () => {
        await watchAgain();
        await look();
      }),
    onHealth,
  );
  const ticking = refreshOften(refresh, TICK_SECONDS, (onChange) => {
    changed = onChange;
    return { close: () => watching.close() };
  });
  await refresh();
  return {
    refresh,
    async close() {
      isClosed = true;
      ticking.close();
      await queue.idle();
    },
  };
}

/** The sidecar does not take these before a restart either, and until then its tokens are as before. */
function refuseOther(next: CopySettings, current: CopySettings): void {
  const changed = [
    ...(next.url === current.url ? [] : ["issuer.url"]),
    ...(isSameSource(next.source, current.source) ? [] : ["issuer.keys"]),
  ];
  if (changed.length > 0)
    throw new Error(`${changed.join(" and ")} changed: restart this command when the sidecar is restarted`);
}

/** The folders whose changes matter. Of a configuration that is a link, those of both ends. */
async function foldersOf(file: string, { source }: CopySettings): Promise<string[]> {
  const path = resolve(file);
  const target = await realpath(path).catch(() => path);
  const files = source.kind === "files" ? source.files.map(dirname) : [];
  const keys = source.kind === "directory" ? [source.directory] : files;
  return [dirname(path), dirname(target), ...keys];
}

/** What verifiers of a copy that could not be written will refuse, and from when on, or accept; "" where that is nothing. */
async function describeLack(directory: string, { config }: CopySettings, now: number): Promise<string> {
  const kids = await copiedKids(directory);
  await using live = await readLiveKeys(config, now).catch(() => undefined);
  const withdrawn = (live?.ring?.withdrawn ?? []).filter((kid) => kids.has(kid));
  const lacking = (live?.rows ?? []).filter(({ kid, state }) => state !== "gone" && !kids.has(kid));
  return [
    lacking.length === 0
      ? ""
      : `; verifiers refuse the tokens of keys that are not in it: ${lacking.map(describeKey).join(", ")}`,
    withdrawn.length === 0
      ? ""
      : `; they accept what keys have signed that were withdrawn: ${withdrawn.join(", ")}`,
  ].join("");
}

function describeKey({ algorithm, kid, state, activatesAt }: KeyRow): string {
  const when = {
    pending: activatesAt === null ? "will sign" : `signs from ${activatesAt}`,
    active: "signs now",
    retiring: "has signed tokens that are still valid",
    published: "is listed to be published",
    gone: "is gone",
  }[state];
  return `${algorithm} key ${kid} ${when}`;
}
