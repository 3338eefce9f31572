import type { RequestProblem } from "./problem.ts";

/** A request that was answered with an error that is not the client's own. */
export interface RequestFailure extends RequestProblem {
  readonly requestId: string;
  /** For the log only. */
  readonly cause: string;
  /** Whether it came out after the request had ended, as the client did not wait: the record does not have it. */
  readonly isLate: boolean;
}
