/** How much is logged: all from this level up. */
export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
/** One of {@link LOG_LEVELS}. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What a line looks like. */
export const LOG_FORMATS = ["json", "pretty", "auto"] as const;
/** One of {@link LOG_FORMATS}; `auto` is `pretty` on a terminal and `json` elsewhere. */
export type LogFormat = (typeof LOG_FORMATS)[number];

/** What is logged of who called. */
export const SUBJECT_FORMS = ["plain", "hash", "none"] as const;
/** One of {@link SUBJECT_FORMS}. */
export type SubjectForm = (typeof SUBJECT_FORMS)[number];

/** `log` of the configuration. */
export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly subject: SubjectForm;
  /** The share of requests that went well which is logged: from 0 to 1. */
  readonly sampleSuccess: number;
}
