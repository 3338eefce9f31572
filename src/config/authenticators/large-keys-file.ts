import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { PACKAGE_FOLDER } from "../../package-folder.ts";
import type { ApiKey } from "../../policy/authenticators/options.ts";
import { ConfigError, type Problem } from "../problems.ts";
import { readApiKeys } from "./api-key.ts";

/** What the thread is given. */
export interface ReadRequest {
  readonly text: string;
  readonly file: string;
}

/** What the thread answers. */
export type ReadOutcome = { readonly keys: ApiKey[] } | { readonly problems: readonly Problem[] };

/** From this length on, reading takes longer than it takes to start a thread: some two hundred keys. */
const LARGE_CHARACTERS = 32 * 1024;

const THREAD = join(PACKAGE_FOLDER, "dist", "config", "api-keys-thread.js");

/**
 * Reads the text of a keys file as {@link readApiKeys} does, a large one beside the event loop: every request would wait for
 * it, for seconds where there are tens of thousands of keys.
 *
 * @throws {ConfigError} ERR_CONFIG with every problem in it
 * @throws {Error} where the thread ends without an answer, as it does when there is no memory left
 */
export async function readKeysFile(text: string, file: string): Promise<ApiKey[]> {
  if (text.length < LARGE_CHARACTERS) return readApiKeys(text, file);
  const outcome = await inThread({ text, file });
  if ("problems" in outcome) throw new ConfigError(outcome.problems);
  return outcome.keys;
}

function inThread(workerData: ReadRequest): Promise<ReadOutcome> {
  const { promise, resolve, reject } = Promise.withResolvers<ReadOutcome>();
  const thread = new Worker(THREAD, { workerData });
  thread.once("message", resolve);
  thread.once("error", reject);
  thread.once("exit", (code) =>
    reject(new Error(`${workerData.file} could not be read: the thread ended with ${code}`)),
  );
  return promise;
}
