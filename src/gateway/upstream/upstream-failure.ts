import { BodyTooLarge } from "../client/message-body.ts";
import type { RequestProblem } from "../problem.ts";
import { bodyTooLarge } from "../request-form.ts";

/** How one exchange with the upstream ended badly. */
export interface UpstreamFailure {
  /** What the client is told, where it has not been told anything yet. */
  readonly problem: RequestProblem;
  /** For the log: the error of the connection. */
  readonly cause: Error;
}

/** Nothing came from the upstream for longer than it may be silent in the middle of a response. */
export class UpstreamSilent extends Error {
  readonly code = "UND_ERR_BODY_TIMEOUT";

  constructor() {
    super("nothing more came for longer than upstream.timeouts.body");
  }
}

/** The request waited for a connection, and none was free in time. */
export const WAITED_TOO_LONG: UpstreamFailure = {
  problem: overloaded("no connection to the upstream was free in time"),
  cause: new Error("every connection was in use for longer than upstream.timeouts.pending"),
};

/** As many requests wait for a connection as may. */
export const TOO_MANY_WAIT: UpstreamFailure = {
  problem: overloaded("too many requests wait for the upstream"),
  cause: new Error("upstream.connections are in use, and upstream.pending requests wait for one"),
};

function overloaded(detail: string): RequestProblem {
  return { code: "ERR_OVERLOADED", detail, fields: { "retry-after": "1" } };
}

/** What the client is told of an error of a connection to the upstream. */
export function failureOf(cause: Error): UpstreamFailure {
  return { problem: problemOf(cause), cause: explained(cause) };
}

/** The code of an error, such as `ECONNREFUSED`; empty where it has none. */
export function codeOf(error: Error): string {
  // A host name with several addresses fails with one error for each; they are alike.
  const first = error instanceof AggregateError && !("code" in error) ? error.errors[0] : error;
  return String((first as NodeJS.ErrnoException).code ?? "");
}

const TIMEOUTS: Readonly<Record<string, string>> = {
  UND_ERR_CONNECT_TIMEOUT: "the upstream did not accept a connection in time",
  UND_ERR_HEADERS_TIMEOUT: "the upstream did not answer in time",
  UND_ERR_BODY_TIMEOUT: "the upstream's response stopped in the middle",
  ETIMEDOUT: "the upstream did not accept a connection in time",
};
const UNREACHABLE = new Set([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EMFILE",
  // Of a Unix socket.
  "ENOENT",
  "EACCES",
  "ENOTSOCK",
]);

/** What is wrong with a certificate, for the operator. OpenSSL's names for it, and Node.js's. */
const CERTIFICATE_PROBLEMS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "the upstream's certificate, or one of its CAs, has expired",
  CERT_NOT_YET_VALID: "the upstream's certificate is not valid yet; compare the clocks",
  DEPTH_ZERO_SELF_SIGNED_CERT:
    "the upstream's certificate is signed by itself; name it, or its CA, in upstream.tls.ca",
  SELF_SIGNED_CERT_IN_CHAIN:
    "the CA of the upstream's certificate is not trusted; name it in upstream.tls.ca",
  UNABLE_TO_GET_ISSUER_CERT:
    "the CA of the upstream's certificate is not trusted; name it in upstream.tls.ca",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    "the CA of the upstream's certificate is not trusted; name it in upstream.tls.ca",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    "the CA of the upstream's certificate is not trusted; name it in upstream.tls.ca",
  CERT_SIGNATURE_FAILURE: "the upstream's certificate was not signed by the CA that it names",
  CERT_REVOKED: "the upstream's certificate has been revoked",
  INVALID_PURPOSE: "the upstream's certificate is not one for a server",
  ERR_TLS_CERT_ALTNAME_INVALID:
    "the upstream's certificate is for another name; upstream.tls.serverName says which to expect",
};

/** What the parser says of a response whose first bytes are no status line; it has no code. */
const NOT_HTTP1 = "Response does not match the HTTP/1.1 protocol";

/** What else the libraries say in words of their own, for the operator. */
function hintOf(error: Error): string | undefined {
  const code = codeOf(error);
  if (code === "UND_ERR_HEADERS_TIMEOUT")
    return "the fields of its response did not come within upstream.timeouts.headers";
  if (error.message.startsWith(NOT_HTTP1))
    return "a backend that speaks HTTP/2 alone needs upstream.http2: true";
  if (code === "ERR_HTTP2_ERROR") return "a backend that does not speak HTTP/2 needs upstream.http2: false";
  return CERTIFICATE_PROBLEMS[code];
}

/** Whether TLS with the upstream could not be begun. */
function isOfTls(code: string): boolean {
  return code in CERTIFICATE_PROBLEMS || code.startsWith("ERR_SSL_") || code.startsWith("ERR_TLS_");
}

function problemOf(error: Error): RequestProblem {
  if (error instanceof BodyTooLarge) return bodyTooLarge(error.maxBytes);
  const code = codeOf(error);
  const timeout = TIMEOUTS[code];
  if (timeout) return { code: "ERR_UPSTREAM_TIMEOUT", detail: timeout };
  if (UNREACHABLE.has(code) || isOfTls(code))
    return { code: "ERR_UPSTREAM_UNREACHABLE", detail: "the upstream cannot be reached" };
  if (code === "UND_ERR_INVALID_ARG" || code === "UND_ERR_NOT_SUPPORTED")
    return { code: "ERR_REQUEST_MALFORMED", detail: "the request cannot be forwarded as it is" };
  if (code === "UND_ERR_DESTROYED" || code === "UND_ERR_CLOSED")
    return { code: "ERR_DRAINING", detail: "this sidecar is shutting down" };
  return {
    code: "ERR_UPSTREAM_BROKEN",
    detail: "the upstream closed the connection or sent no valid HTTP response",
  };
}

function explained(error: Error): Error {
  const hint = hintOf(error);
  if (!hint) return error;
  const code = codeOf(error);
  return new Error(`${hint}: ${error.message}${code && ` (${code})`}`, { cause: error });
}
