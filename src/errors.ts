/**
 * Every code that Countersign's own errors carry. A code is stable: programs may switch on it.
 */
export type ErrorCode =
  | "ERR_CONFIG"
  | "ERR_KEY"
  | "ERR_AUTHENTICATOR"
  | "ERR_MODULE"
  | "ERR_LISTEN"
  | "ERR_NOT_RUNNING"
  | "ERR_UPSTREAM_FILE"
  | "ERR_USAGE"
  | "ERR_DEMO"
  | "ERR_EXPORT"
  | "ERR_TOKEN_REQUEST"
  | "ERR_TOKEN_REFUSED"
  | "ERR_IDENTITY_UNKNOWN"
  | RequestErrorCode;

/** The codes with which one request can be refused; each has its status in {@link statusByCode}. */
export type RequestErrorCode = keyof typeof statusByCode;

/** The one place where an error of a request becomes an HTTP status (RFC 9110 §15; 508: RFC 5842 §7.2). */
export const statusByCode = Object.freeze({
  ERR_REQUEST_MALFORMED: 400,
  ERR_TARGET_INVALID: 400,
  ERR_TARGET_AMBIGUOUS: 400,
  ERR_HOST_INVALID: 400,
  ERR_FORWARDED_INVALID: 400,
  ERR_FORWARDED_AMBIGUOUS: 400,
  ERR_OAUTH_INVALID_REQUEST: 400,
  ERR_OAUTH_UNAUTHORIZED_CLIENT: 400,
  ERR_OAUTH_UNSUPPORTED_GRANT_TYPE: 400,
  ERR_OAUTH_INVALID_SCOPE: 400,
  ERR_OAUTH_INVALID_TARGET: 400,
  ERR_OAUTH_INVALID_CLIENT: 401,
  ERR_CREDENTIAL_MISSING: 401,
  ERR_CREDENTIAL_INVALID: 401,
  ERR_REQUIREMENT_NOT_MET: 403,
  ERR_DENIED: 403,
  ERR_ACTORS_TOO_MANY: 403,
  ERR_IDENTITY_REQUEST_REFUSED: 403,
  ERR_AUDIENCE_NOT_ALLOWED: 403,
  ERR_NO_POLICY: 404,
  ERR_ADMIN_PATH_UNKNOWN: 404,
  ERR_ISSUER_PATH_UNKNOWN: 404,
  ERR_METHOD_NOT_ALLOWED: 405,
  ERR_REQUEST_TIMEOUT: 408,
  ERR_BODY_TOO_LARGE: 413,
  ERR_TOO_MANY_ATTEMPTS: 429,
  ERR_FIELDS_TOO_LARGE: 431,
  ERR_TOKEN_TOO_LARGE: 431,
  ERR_INTERNAL: 500,
  ERR_UPSTREAM_UNREACHABLE: 502,
  ERR_UPSTREAM_BROKEN: 502,
  ERR_AUTHENTICATION_UNAVAILABLE: 503,
  ERR_MODULE_FAILED: 503,
  ERR_SIGNING_FAILED: 503,
  ERR_KEYS_WITHHELD: 503,
  ERR_STARTING: 503,
  ERR_DRAINING: 503,
  ERR_METRICS_UNAVAILABLE: 503,
  ERR_OVERLOADED: 503,
  ERR_UPSTREAM_TIMEOUT: 504,
  ERR_HTTP_VERSION: 505,
  ERR_LOOP_DETECTED: 508,
});

/** The base of every error that Countersign throws on purpose. */
export class CountersignError extends Error {
  /** Stable, machine-readable; never reworded. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** A caller's function that is told of something: where it throws, that is a warning of the process and nothing more. */
export function shielded<T>(listener: (value: T) => void): (value: T) => void {
  return (value) => {
    try {
      listener(value);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  };
}

/** The one-line reason of anything thrown: its `code`, where it has one, and its message. It never throws. */
export function reasonOf(error: unknown): string {
  try {
    if (!(error instanceof Error)) return String(error);
    const message = String(error.message);
    const code = (error as NodeJS.ErrnoException).code;
    return code && !message.includes(code) ? `${message} (${code})` : message;
  } catch {
    // Whatever a policy's own code threw: an object without a prototype, a message that throws.
    return "what was thrown cannot be described";
  }
}

/** The same for text that names the code already, or needs none: an error of ours is its message alone. */
export function messageOf(error: unknown): string {
  return error instanceof CountersignError ? error.message : reasonOf(error);
}
