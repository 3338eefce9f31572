import { CommanderError } from "commander";
import { CountersignError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { UsageError } from "./usage-error.ts";

/**
 * Tells of what ended a sidecar: to its log where that is for programs, and where there is none yet as {@link printFailure}.
 *
 * @returns the exit code
 */
export function reportFailure(error: unknown, log: Log | undefined): number {
  if (log && !log.isPretty && error instanceof CountersignError) {
    log.error(error.message, { code: error.code });
    return 1;
  }
  log?.flush();
  return printFailure(error);
}

/**
 * Prints what was thrown, without a stack trace unless it is a defect of Countersign itself.
 *
 * @returns the exit code
 */
export function printFailure(error: unknown): number {
  // commander has printed its own message; --help and --version come this way too.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof UsageError) {
    console.error(`countersign: ${error.message}\n(--help shows how it is used)`);
    return 2;
  }
  if (error instanceof CountersignError) {
    console.error(error.code === "ERR_CONFIG" ? error.message : `countersign: ${error.message}`);
    return 1;
  }
  console.error("countersign: this is a defect in Countersign; please report it:", error);
  return 1;
}
