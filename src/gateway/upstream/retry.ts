import { codeOf } from "./upstream-failure.ts";
import { StreamRefused } from "./upstream-http2-stream.ts";

/** How far an exchange that failed had come. */
export interface Progress {
  readonly method: string;
  readonly hasBody: boolean;
  /** Whether a byte of the body has been read from the client. */
  readonly isBodyRead: boolean;
  /** Whether it had a connection, and so may have been sent. */
  readonly isBegun: boolean;
  /** Whether the connection had carried another request before. */
  readonly isReused: boolean;
  /** Whether a byte of the response has come. */
  readonly isAnswered: boolean;
}

/** Methods without a body that may be repeated, whatever became of the first (RFC 9110 §9.2.1). */
const SAFE = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);

/** Whether a request that failed may be sent once more: surely nothing has been done for it, or doing it again is harmless. */
export function mayRetry(progress: Progress, cause: Error): boolean {
  const { method, hasBody, isBodyRead, isBegun, isReused, isAnswered } = progress;
  if (isAnswered || isBodyRead) return false;
  if (!isBegun) return !NOT_AGAIN.has(codeOf(cause));
  if (cause instanceof StreamRefused) return true;
  // A backend may close a connection that was idle at the very moment when the next request comes (RFC 9112 §9.3.1).
  return isReused && !hasBody && SAFE.has(method) && CLOSED.has(codeOf(cause));
}

/** A connection that was closed: as the system says it, undici, and Node.js. */
const CLOSED = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET", "ERR_STREAM_DESTROYED"]);

/** Failures before there was a connection that are no failures to connect, or took as long as they may. */
const NOT_AGAIN = new Set([
  "UND_ERR_CONNECT_TIMEOUT",
  "ETIMEDOUT",
  "UND_ERR_INVALID_ARG",
  "UND_ERR_NOT_SUPPORTED",
  "UND_ERR_DESTROYED",
  "UND_ERR_CLOSED",
]);
