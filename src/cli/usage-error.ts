import { CountersignError } from "../errors.ts";

/** A command line that makes no sense; the exit code is 2. */
export class UsageError extends CountersignError {
  constructor(message: string) {
    super("ERR_USAGE", message);
  }
}
