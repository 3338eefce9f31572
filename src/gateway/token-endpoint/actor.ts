import type { Claims, JsonValue } from "../../issuer/claims-set.ts";
import { actClaim, actorsBefore, MAX_ACTORS } from "../../policy/actor.ts";

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
  const { may_act: mayAct } = subjectClaims;
  if (mayAct !== undefined && !isAllowed(mayAct, party)) return NOT_ALLOWED;
  const { actors, isBroken, isFull } = actorsBefore(subjectClaims);
  if (isBroken || isFull) return UNUSABLE;
  if (!party) return { kind: "acting", act: actClaim(actors) };
  const actor = { sub: party.sub, iss: party.iss === issuer ? undefined : party.iss };
  return { kind: "acting", act: actClaim([actor, ...actors]) };
}

/** A member that cannot be compared might be the one that tells two parties apart. */
function isAllowed(mayAct: JsonValue, party: Party | undefined): boolean {
  if (typeof mayAct !== "object" || mayAct === null || Array.isArray(mayAct) || !party) return false;
  const { sub, iss = party.iss, ...others } = mayAct;
  return sub === party.sub && iss === party.iss && Object.keys(others).length === 0;
}

const NOT_ALLOWED: Acting = {
  kind: "refused",
  detail: "the claim may_act of the subject_token does not name whoever asks",
};
const UNUSABLE: Acting = {
  kind: "refused",
  detail: `the claim act of the subject_token is malformed, or names ${MAX_ACTORS} actors already`,
};
