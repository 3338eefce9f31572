import type { Authenticator, Outcome } from "./authenticators/authenticator.ts";
import type { CallerRequest } from "./caller-request.ts";
import type { User } from "./user.ts";

/** Who is calling, or why that is not known. */
export type Authentication =
  | {
      readonly kind: "user";
      readonly user: User;
      /** Whose credential it was. */
      readonly authenticator: Authenticator;
      readonly originalToken: string | undefined;
    }
  | { readonly kind: "anonymous" }
  /** There is no credential, and one is needed. */
  | { readonly kind: "missing" }
  | { readonly kind: "invalid"; readonly authenticator: Authenticator; readonly reason: string }
  | { readonly kind: "unavailable"; readonly reason: string; readonly cause: string };

const ANONYMOUS: Authentication = { kind: "anonymous" };
const MISSING: Authentication = { kind: "missing" };

/**
 * Asks authenticators in their order until one knows the caller. A credential that one of them found bad makes nobody
 * anonymous, and neither does one that could not be checked.
 *
 * @returns at once where nothing has to be waited for
 */
export function authenticate(
  authenticators: readonly Authenticator[],
  allowsAnonymous: boolean,
  request: CallerRequest,
): Authentication | Promise<Authentication> {
  const ask = (authenticator: Authenticator) => authenticator.authenticate(request);
  return firstUser(authenticators, ask, allowsAnonymous ? ANONYMOUS : MISSING);
}

/**
 * The first user whom one of the authenticators knows, in their order.
 *
 * @param ask what to ask of each; `undefined`: it knows nothing of the kind
 * @param nobody what it comes to where none found a credential of its own
 * @returns at once where nothing has to be waited for
 */
export function firstUser(
  authenticators: readonly Authenticator[],
  ask: (authenticator: Authenticator) => Outcome | Promise<Outcome> | undefined,
  nobody: Authentication = MISSING,
): Authentication | Promise<Authentication> {
  let failure: Authentication | undefined;

  function askFrom(index: number): Authentication | Promise<Authentication> {
    for (let i = index; i < authenticators.length; i++) {
      const authenticator = authenticators[i] as Authenticator;
      const outcome = ask(authenticator);
      if (outcome instanceof Promise)
        return outcome.then((late) => conclude(authenticator, late) ?? askFrom(i + 1));
      const conclusion = conclude(authenticator, outcome);
      if (conclusion) return conclusion;
    }
    return failure ?? nobody;
  }

  function conclude(authenticator: Authenticator, outcome: Outcome | undefined): Authentication | undefined {
    if (outcome?.kind === "user") {
      const { user, originalToken } = outcome;
      return { kind: "user", user, authenticator, originalToken };
    }
    // The first that was bad is told; that one could not be checked weighs more, as it may have been good.
    if (outcome?.kind === "invalid") failure ??= { kind: "invalid", authenticator, reason: outcome.reason };
    if (outcome?.kind === "unavailable" && failure?.kind !== "unavailable") failure = outcome;
    return undefined;
  }

  return askFrom(0);
}
