import { isatty } from "node:tty";
import { pino } from "pino";
import type { RequestRecord } from "../gateway/request-record.ts";
import { isoTime } from "./iso-time.ts";
import { LineDestination, type LineSink } from "./line-destination.ts";
import type { LogOptions } from "./log-options.ts";
import { prettyLine } from "./pretty.ts";
import { escapeTerminalControls } from "./printable.ts";
import { requestLevelOf, requestLine, wentWell } from "./request-line.ts";
import { createSubjectMark, newSubjectKey } from "./subject-mark.ts";

/** Members of a line beside its message. */
export type LogFields = Readonly<Record<string, unknown>>;

/** What is said while a sidecar runs. Nothing here waits or throws. */
export interface Log {
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  /** @param fields `problem`: a text of several lines, which people are shown below the message */
  error(message: string, fields?: LogFields): void;
  /**
   * Like `info`, with a text of its own for people.
   *
   * @param text as it is printed where the format is `pretty`
   */
  announce(text: string, message: string, fields?: LogFields): void;
  /** One request that has ended. */
  request(record: RequestRecord): void;
  /** Goes on as another configuration says; but for the format, which stays. */
  adapt(options: LogOptions): void;
  /** Whether a line is text for people. */
  readonly isPretty: boolean;
  /** With which subjects are hashed; for a process that is to hash alike. */
  readonly subjectKey: string;
  /** Lines that could not be written, since the start. */
  droppedLines(): number;
  /** Writes what waits, as far as that can be done now. */
  flush(): void;
}

/** What {@link createLog} takes beside its options. */
export interface LogSurroundings {
  /** Default: standard error. */
  readonly sink?: LineSink;
  /** Whether `auto` is `pretty`. Default: whether standard error is a terminal. */
  readonly isTerminal?: boolean;
  /** As {@link Log.subjectKey} of the log that this one is to be like. Default: a new one. */
  readonly subjectKey?: string;
  /** From 0 to below 1. Default: `Math.random`. */
  readonly random?: () => number;
}

/** Standard error: one for the process, as lines wait in it. */
const standardError = new LineDestination(2);

/** Creates the log of a process. */
export function createLog(options: LogOptions, surroundings: LogSurroundings = {}): Log {
  const { sink = standardError, random = Math.random, subjectKey = newSubjectKey() } = surroundings;
  const { isTerminal = isatty(2) } = surroundings;
  const isPretty = options.format === "pretty" || (options.format === "auto" && isTerminal);
  const markOf = createSubjectMark(subjectKey);
  const marks = { plain: (subject: string) => subject, hash: markOf, none: undefined };
  let current = options;
  const write = isPretty
    ? (line: string) => sink.write(prettyLine(line))
    : (line: string) => sink.write(line);
  const logger = pino(
    {
      level: options.level,
      base: { pid: process.pid },
      timestamp: () => `,"time":"${isoTime(Date.now())}"`,
      formatters: { level: (level) => ({ level }) },
    },
    { write: (line: string) => write(escapeTerminalControls(line)) },
  );

  /** For requests: pino looks it up more slowly. */
  const levelsLogged = () => ({
    info: logger.isLevelEnabled("info"),
    warn: logger.isLevelEnabled("warn"),
    error: logger.isLevelEnabled("error"),
    details: logger.isLevelEnabled("debug"),
  });
  let isLogged = levelsLogged();
  sink.onDropped = (lines) =>
    logger.warn(
      { droppedLines: lines },
      `${lines} lines of the log were dropped: they could not be written in time`,
    );

  return {
    isPretty,
    subjectKey,
    info: (message, fields = {}) => logger.info(fields, message),
    warn: (message, fields = {}) => logger.warn(fields, message),
    error: (message, fields = {}) => logger.error(fields, message),
    announce(text, message, fields = {}) {
      if (!isPretty) logger.info(fields, message);
      else if (logger.isLevelEnabled("info")) sink.write(`${text}\n`);
    },
    request(record) {
      if (!isLogged[requestLevelOf(record)]) return;
      const { sampleSuccess, subject } = current;
      if (sampleSuccess < 1 && wentWell(record) && random() >= sampleSuccess) return;
      write(requestLine(record, Date.now(), marks[subject], isLogged.details));
    },
    adapt(next) {
      current = next;
      logger.level = next.level;
      isLogged = levelsLogged();
    },
    droppedLines: () => sink.droppedLines,
    flush: () => sink.flush(),
  };
}
