import type { TokenRequest } from "../issuer/claims-set.ts";
import type { TokenSettings } from "./policy.ts";

/**
 * Says what the token of one request is to claim.
 *
 * @param requestUrl the URL of the request, for a policy without an `audience`; called only then
 */
export function tokenRequestOf(settings: TokenSettings, requestUrl: () => string): TokenRequest {
  const { subject, audience, lifetimeSeconds, additionalClaims, notBefore, tokenId, reuse, algorithm } =
    settings;
  return {
    subject,
    audience: audience ?? requestUrl(),
    lifetimeSeconds,
    additionalClaims,
    notBefore,
    tokenId,
    reuse,
    algorithm,
    purpose: "token",
  };
}
