import { KeyError } from "../key-error.ts";
import type { TokenProblem } from "./token-messages.ts";

/** What a token, or the process that holds its library, has not done. */
export class TokenError extends KeyError {
  /** As in {@link TokenProblem}; `late`: there was no answer in time. */
  readonly kind: TokenProblem["kind"] | "late";

  /** @param token what it is called in messages */
  constructor(token: string, kind: TokenError["kind"], problem: string) {
    super(token, problem);
    // What sort of key error it is concerns nobody outside.
    this.name = KeyError.name;
    this.kind = kind;
  }
}
