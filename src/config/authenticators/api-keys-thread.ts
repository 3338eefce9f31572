import { parentPort, workerData } from "node:worker_threads";
import { ConfigError } from "../problems.ts";
import { readApiKeys } from "./api-key.ts";
import type { ReadOutcome, ReadRequest } from "./large-keys-file.ts";

/** The thread of one large file of API keys: reads it, says what came of it, and ends. */
function outcomeOf({ text, file }: ReadRequest): ReadOutcome {
  try {
    return { keys: readApiKeys(text, file) };
  } catch (error) {
    if (error instanceof ConfigError) return { problems: error.problems };
    throw error;
  }
}

parentPort?.postMessage(outcomeOf(workerData));
