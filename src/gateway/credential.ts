import type { RequestErrorCode } from "../errors.ts";
import type { Authentication } from "../policy/authenticate.ts";
import { type Authenticator, REALM } from "../policy/authenticators/authenticator.ts";
import { queryParameters } from "../policy/authenticators/credential-source.ts";
import type { Shortfall } from "../policy/require.ts";
import { canonicalFieldName } from "./field-names.ts";
import type { Refusal } from "./problem.ts";

/** What of a request holds the caller's credential, and so does not go on. */
export interface CredentialRemoval {
  /** Canonical names. */
  readonly credentialFields: readonly string[];
  readonly credentialCookie: string | undefined;
  readonly credentialQuery: string | undefined;
}

const NOTHING: CredentialRemoval = {
  credentialFields: [],
  credentialCookie: undefined,
  credentialQuery: undefined,
};

/** What to take out of a request behind whose credential somebody was found. */
export function removalOf(authentication: Authentication): CredentialRemoval {
  if (authentication.kind !== "user" || authentication.authenticator.forwardCredential) return NOTHING;
  const { fields = [], cookie, query } = authentication.authenticator.place;
  return {
    credentialFields: fields.map(canonicalFieldName),
    credentialCookie: cookie,
    credentialQuery: query,
  };
}

/** A target without the parameters of its query that have this name; the rest is byte for byte as it was. */
export function withoutQueryParameter(target: string, name: string | undefined): string {
  const start = target.indexOf("?");
  if (name === undefined || start === -1) return target;
  const pairs = target.slice(start + 1).split("&");
  const others = pairs.filter((pair) => !queryParameters(pair).has(name));
  if (others.length === pairs.length) return target;
  return others.length === 0 ? target.slice(0, start) : `${target.slice(0, start)}?${others.join("&")}`;
}

/** Why a request whose caller is not known is refused; `undefined` where it may go on. */
export function credentialProblem(
  authentication: Authentication,
  authenticators: readonly Authenticator[],
): (Refusal & { readonly cause?: string }) | undefined {
  switch (authentication.kind) {
    case "missing":
      return credentialMissing(authenticators);
    case "invalid":
      return unauthorized("ERR_CREDENTIAL_INVALID", authentication.reason, authenticators, authentication);
    case "unavailable":
      return authenticationUnavailable(authentication);
    default:
      return undefined;
  }
}

/** What is answered where nobody can know now who is calling. */
export function authenticationUnavailable({
  reason,
  cause,
}: Authentication & { kind: "unavailable" }): Refusal & { readonly cause: string } {
  return { kind: "refused", code: "ERR_AUTHENTICATION_UNAVAILABLE", detail: reason, cause };
}

/** What is answered to a caller who shows no credential where one is needed. */
export function credentialMissing(authenticators: readonly Authenticator[]): Refusal {
  return unauthorized("ERR_CREDENTIAL_MISSING", "this request needs a credential", authenticators);
}

/** With a challenge of each authenticator (RFC 9110 §15.5.2). */
function unauthorized(
  code: RequestErrorCode,
  detail: string,
  authenticators: readonly Authenticator[],
  invalid?: { readonly authenticator: Authenticator; readonly reason: string },
): Refusal {
  const challenges = authenticators.map((authenticator) =>
    authenticator.challenge(invalid?.authenticator === authenticator ? invalid.reason : undefined),
  );
  return {
    kind: "refused",
    code,
    detail,
    fields: { "www-authenticate": [...new Set(challenges)].join(", ") },
  };
}

/** Why a user who is known is refused. Where a scope is missing a Bearer challenge says which (RFC 6750 §3.1). */
export function forbidden(shortfall: Shortfall, authenticators: readonly Authenticator[]): Refusal {
  const { detail, scopes } = shortfall;
  const refusal: Refusal = { kind: "refused", code: "ERR_REQUIREMENT_NOT_MET", detail };
  if (scopes.length === 0 || !authenticators.some(({ type }) => type === "jwt")) return refusal;
  const challenge = `Bearer realm="${REALM}", error="insufficient_scope", scope="${scopes.join(" ")}"`;
  return { ...refusal, fields: { "www-authenticate": challenge } };
}
