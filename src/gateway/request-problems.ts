import type { RequestProblem } from "./problem.ts";
import { ALLOWED_METHODS } from "./server-options.ts";

/** CONNECT asks for a tunnel to anywhere. */
export const NO_TUNNEL: RequestProblem = {
  code: "ERR_METHOD_NOT_ALLOWED",
  detail: "this is no tunnelling proxy",
  fields: { allow: ALLOWED_METHODS },
};

/** A request that is not whole after `timeouts.headers` or `timeouts.request`. */
export const REQUEST_LATE: RequestProblem = {
  code: "ERR_REQUEST_TIMEOUT",
  detail: "the request did not arrive in time",
};

/** Whoever comes while the last requests end. */
export const DRAINING: RequestProblem = { code: "ERR_DRAINING", detail: "this sidecar is shutting down" };
