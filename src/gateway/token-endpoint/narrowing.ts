import type { Refused } from "../decision.ts";
import type { Form } from "./form.ts";

/** What was asked for, where it may be had. */
export type Narrowing<T> = { readonly kind: "granted"; readonly value: T } | Refused;

/**
 * Whom the token is to be for: the one `resource` (RFC 8707) or `audience` (RFC 8693 §2.1) that is asked for. A token for
 * several could be used by each of them against the others.
 *
 * @param audiences those that are allowed
 */
export function targetOf(form: Form, audiences: readonly string[]): Narrowing<string> {
  const resources = form.get("resource") ?? [];
  if (resources.some((resource) => !isResource(resource)))
    return invalidTarget("a resource is an absolute URI without a fragment");
  const [wanted, ...others] = new Set([...resources, ...(form.get("audience") ?? [])]);
  if (others.length > 0)
    return invalidTarget("a token is for one resource or audience; ask for each by itself");
  if (wanted === undefined) {
    const [only, second] = audiences;
    return second === undefined
      ? granted(only as string)
      : invalidTarget("say with resource or audience whom the token is for");
  }
  return audiences.includes(wanted)
    ? granted(wanted)
    : invalidTarget("no token may be had for this resource or audience");
}

/** RFC 8707 §2. */
function isResource(resource: string): boolean {
  return URL.canParse(resource) && !resource.includes("#");
}

/**
 * The scopes of the token: those that are asked for, and all that may be had where none are.
 *
 * @param held those that may be had
 * @see RFC 6749 §3.3
 */
export function scopeOf(form: Form, held: readonly string[]): Narrowing<readonly string[]> {
  const [wanted] = form.get("scope") ?? [];
  // What is no scope by itself could become two others in the list.
  if (wanted === undefined) return granted([...new Set(held)].filter((scope) => SCOPE_TOKEN.test(scope)));
  const scopes = wanted.split(" ");
  if (!scopes.every((scope) => SCOPE_TOKEN.test(scope)))
    return invalidScope("scope is a list of words with one space between them");
  if (!scopes.every((scope) => held.includes(scope)))
    return invalidScope("a scope is asked for that may not be had");
  return granted([...new Set(scopes)]);
}

/** RFC 6749 §3.3. */
const SCOPE_TOKEN = /^[\x21\x23-\x5b\x5d-\x7e]+$/;

function granted<T>(value: T): Narrowing<T> {
  return { kind: "granted", value };
}

function invalidTarget(detail: string): Refused {
  return { kind: "refused", code: "ERR_OAUTH_INVALID_TARGET", detail };
}

function invalidScope(detail: string): Refused {
  return { kind: "refused", code: "ERR_OAUTH_INVALID_SCOPE", detail };
}
