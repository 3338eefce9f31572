import type { Claims, JsonValue } from "../../issuer/claims-set.ts";
import { type Actor, actClaim, actorsBefore, MAX_ACTORS } from "../../policy/actor.ts";

/** Whoever acts for a user, as its own issuer names it. */
export interface Party {
  readonly sub: string;
  readonly iss: string;
}

/** What the token says of who acts for its user; or why nobody may. */
export type Acting =
  | { readonly kind: "acting"; readonly act: JsonValue | undefined }
  | { readonly kind: "refused"; readonly detail: string };

/**
 * The `act` claim of a token that is exchanged: `party`, where there is one, and within it those who acted before.
 *
 * @param subjectClaims of the token that is exchanged; its `may_act` says who may act for its subject (RFC 8693 §4.4)
 * @param issuer of this endpoint: parties of its own are named by `sub` alone
 * @see RFC 8693 §4.1
 */
export function actingParty(subjectClaims: Claims, party: Party | undefined, issuer: string): Acting {
  const { may_act: mayAct, iss: subjectIssuer } = subjectClaims;
  const nearIssuers = [issuer, subjectIssuer];
  if (mayAct !== undefined && !isAllowed(mayAct, party, nearIssuers)) return NOT_ALLOWED;
  const { actors, isBroken, isFull } = actorsBefore(subjectClaims);
  if (isBroken || isFull) return UNUSABLE;
  if (!party) return { kind: "acting", act: actClaim(namedInFull(actors, subjectIssuer, issuer)) };
  const actor = { sub: party.sub, iss: party.iss === issuer ? undefined : party.iss };
  return { kind: "acting", act: actClaim([actor, ...actors]) };
}

/**
 * A member that cannot be compared might be the one that tells two parties apart.
 *
 * @param nearIssuers whose parties may be named by `sub` alone: somebody of a third issuer can have the same name
 */
function isAllowed(
  mayAct: JsonValue,
  party: Party | undefined,
  nearIssuers: readonly (JsonValue | undefined)[],
): boolean {
  if (typeof mayAct !== "object" || mayAct === null || Array.isArray(mayAct) || !party) return false;
  const { sub, iss, ...others } = mayAct;
  const isOfIssuer = iss === undefined ? nearIssuers.includes(party.iss) : iss === party.iss;
  return sub === party.sub && isOfIssuer && Object.keys(others).length === 0;
}

/** Whom another issuer names by `sub` alone is its own, and none of the clients here: the first gets its name in full. */
function namedInFull(
  [first, ...before]: readonly Actor[],
  subjectIssuer: JsonValue | undefined,
  issuer: string,
): readonly Actor[] {
  if (!first) return [];
  const iss = first.iss ?? (subjectIssuer === issuer ? undefined : String(subjectIssuer));
  return [{ ...first, iss }, ...before];
}

const NOT_ALLOWED: Acting = {
  kind: "refused",
  detail: "the claim may_act of the subject_token does not name whoever asks",
};
const UNUSABLE: Acting = {
  kind: "refused",
  detail: `the claim act of the subject_token is malformed, or names ${MAX_ACTORS} actors already`,
};
