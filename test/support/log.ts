import { createLog, type Log, type LogSurroundings } from "../../src/observability/log.ts";
import type { LogOptions } from "../../src/observability/log-options.ts";

/** A log whose lines are kept. */
export interface KeptLog {
  readonly log: Log;
  /** Each with its end. */
  readonly lines: string[];
  /** The lines of `format: json`, read. */
  objects(): Record<string, unknown>[];
}

/** Creates a log that writes JSON into an array, unless told otherwise. */
export function keptLog(
  options: Partial<LogOptions> = {},
  surroundings: Omit<LogSurroundings, "sink"> = {},
): KeptLog {
  const lines: string[] = [];
  const sink = {
    write: (line: string) => void lines.push(line),
    flush() {},
    droppedLines: 0,
    onDropped: undefined,
  };
  const log = createLog(
    { level: "info", format: "json", subject: "hash", sampleSuccess: 1, ...options },
    { ...surroundings, sink },
  );
  return { log, lines, objects: () => lines.map((line) => JSON.parse(line)) };
}

/** What was logged beside the requests, of a log that is text. */
export function withoutRequests(text: string): string {
  return text.replaceAll(/^\S+Z (?:warning: |error: )?[A-Z]+ \S+ (?:\d{3}|aborted) .*\n/gm, "");
}
