import type { ParsedConfig } from "../config/parse.ts";
import { formatProblem } from "../config/problems.ts";
import { reasonOf } from "../errors.ts";
import type { RequestFailure } from "../gateway/request-failure.ts";
import type { KeyEvent } from "../issuer/keys/key-set.ts";
import type { Log } from "../observability/log.ts";
import type { PolicyEvent } from "../policy-event.ts";
import type { ListenerEvent, SidecarOptions } from "../sidecar-api.ts";

/** Has a log told of everything that a sidecar tells. */
export function loggedBy(log: Log): SidecarOptions {
  return {
    onRequestEnd: (record) => log.request(record),
    onFailure: (failure) => logFailure(log, failure),
    onKeyEvent: (event) => logKeyEvent(log, event),
    onPolicyEvent: (event) => logFileEvent(log, event),
    onListenerEvent: (event) => logFileEvent(log, event),
    onIdentityFileEvent: (event) => logFileEvent(log, { key: "identity.files", ...event }),
    onTracingEvent: (event) => logFileEvent(log, { key: "traces", ...event }),
    droppedLogLines: () => log.droppedLines(),
  };
}

/** Logs what is doubtful about a configuration, a line each. */
export function logWarnings(log: Log, warnings: ParsedConfig["warnings"]): void {
  for (const warning of warnings) log.warn(formatProblem(warning), { key: warning.key });
}

/** Has the warnings of Node.js logged, which would be text among the lines of JSON. */
export function logProcessWarnings(log: Log): void {
  process.removeAllListeners("warning");
  process.on("warning", ({ name, message }) => log.warn(`${name}: ${message}`));
}

/** Logs that a promise was rejected which the code of a policy has left to itself. */
export function logRejection(log: Log, reason: unknown): void {
  log.warn(`a promise was rejected that nobody waits for: ${reasonOf(reason)}`);
}

/** The line of the request says it, unless that has been written. */
function logFailure(log: Log, { code, detail, requestId, cause, isLate }: RequestFailure): void {
  if (isLate) log.error(`${code} request ${requestId}: ${detail}: ${cause}`, { code, requestId, cause });
}

function logFileEvent(log: Log, { key, kind, message }: PolicyEvent | ListenerEvent): void {
  const text = `${key}: ${message}`;
  if (kind === "problem") log.warn(text, { key, kind });
  else log.info(text, { key, kind });
}

function logKeyEvent(log: Log, event: KeyEvent): void {
  if (event.kind === "problem") {
    const message = "the keys cannot be read or written, and those in memory go on";
    log.error(`ERR_KEY ${message}: ${event.message}`, { code: "ERR_KEY" });
  } else if (event.kind === "recovered") log.info("the keys can be read and written again");
  else if (event.kind === "waiting") log.warn(`waiting for the keys: ${event.message}`, { code: "ERR_KEY" });
  else if (event.kind === "warning") log.warn(event.message);
  else logKeyState(log, event);
}

function logKeyState(log: Log, { algorithm, kid, state, until }: Extract<KeyEvent, { kind: "key" }>): void {
  const time = until === undefined ? undefined : new Date(until).toISOString();
  const what = {
    pending: time ? `is published, and signs from ${time}` : "is published, and will sign",
    active: "signs from now on",
    retiring: `signs no more, and is published until ${time}`,
    gone: "is gone",
  }[state];
  log.info(`${algorithm} key ${kid} ${what}`, { algorithm, kid, state, until: time });
}
