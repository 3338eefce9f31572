import { reasonOf } from "../errors.ts";
import type { TokenRequest } from "../issuer/claims-set.ts";
import type { Tokens } from "../issuer/tokens.ts";
import type { TokenSettings } from "../policy/policy.ts";
import type { Refusal } from "./problem.ts";

/** A longer token is refused: most servers take no such field line. */
export const MAX_TOKEN_BYTES = 8192;

/** The token of a request, or why there is none; then nothing is forwarded. */
export type TokenOutcome =
  | { readonly kind: "token"; readonly jwt: string }
  | (Refusal & {
      /** For the log only. */
      readonly cause: string;
    });

/** Gets the token for a request: at once where it was made before, else when it is signed. It never throws. */
export function tokenFor(tokens: Tokens, request: TokenRequest): TokenOutcome | Promise<TokenOutcome> {
  try {
    const token = tokens.tokenFor(request);
    return typeof token === "string" ? checkedToken(token) : token.then(checkedToken, unsigned);
  } catch (error) {
    return unsigned(error);
  }
}

/** What stands in the field of the token. */
export function tokenFieldValue({ tokenPrefix }: TokenSettings, jwt: string): string {
  return tokenPrefix === "" ? jwt : `${tokenPrefix} ${jwt}`;
}

function unsigned(error: unknown): TokenOutcome {
  const detail = "the token for this request could not be signed";
  return { kind: "refused", code: "ERR_SIGNING_FAILED", detail, cause: reasonOf(error) };
}

function checkedToken(jwt: string): TokenOutcome {
  if (jwt.length <= MAX_TOKEN_BYTES) return { kind: "token", jwt };
  const detail = `the token for this request would have ${jwt.length} bytes; at most ${MAX_TOKEN_BYTES} are sent`;
  const cause = "a shorter URL, a fixed token.audience or fewer additionalClaims make it smaller";
  return { kind: "refused", code: "ERR_TOKEN_TOO_LARGE", detail, cause };
}
