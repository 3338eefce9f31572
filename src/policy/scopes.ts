import type { Claims } from "../issuer/claims-set.ts";

/** The scopes that claims hold: a string with spaces, or a list, in `scope` (RFC 8693 §4.2) or `scp`. */
export function scopesOf({ scope, scp }: Claims): string[] {
  return [scope, scp].flatMap((claim) => {
    if (typeof claim === "string") return claim.split(" ");
    return Array.isArray(claim) ? claim.filter((entry) => typeof entry === "string") : [];
  });
}
