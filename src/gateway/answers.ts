import type { ClientResponse } from "./client/client-message.ts";
import type { RequestProblem } from "./problem.ts";

/** Answers with a problem, in whatever form. */
export type SendProblem = (
  clientResponse: ClientResponse,
  problem: RequestProblem,
  requestId: string | undefined,
) => void;

/** How one request is answered where it is not forwarded. Default of `send`: problem+json (RFC 9457). */
export interface Answers {
  /** The client's own fault: answered, and that is all. */
  refuse(problem: RequestProblem, send?: SendProblem): void;
  /** Not the client's fault: answered, and the operator is told. */
  fail(problem: RequestProblem, cause: string, send?: SendProblem): void;
  /** Nobody's fault but Countersign's own. */
  failInside(error: unknown): void;
}
