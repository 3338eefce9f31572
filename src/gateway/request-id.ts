import { randomUUID } from "node:crypto";

/**
 * The id of a request: the client's own where it is a plain token of at most 128 characters, else a new one.
 *
 * @param claimed the value of `X-Request-Id`
 */
export function requestIdOf(claimed: string | string[] | undefined): string {
  return typeof claimed === "string" && /^[\w.~+/=:@-]{1,128}$/.test(claimed) ? claimed : randomUUID();
}
