import { CountersignError } from "../../errors.ts";

/** A key that is missing, unreadable, unsafe, or of the wrong kind. The message names where it came from, never the key. */
export class KeyError extends CountersignError {
  /** @param source what the key came from: a file's path or a variable's name */
  constructor(source: string, problem: string, options?: ErrorOptions) {
    super("ERR_KEY", `${source}: ${problem}`, options);
  }
}
