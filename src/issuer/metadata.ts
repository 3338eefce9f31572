import type { PublicJwk } from "./keys/signing-key.ts";

/** The claims that every token may carry, for `claims_supported`. */
const CLAIMS_SUPPORTED = ["iss", "sub", "aud", "iat", "exp", "nbf", "jti"] as const;

/** The provider's metadata (OpenID Connect Discovery 1.0 §3, RFC 8414 §2). */
export interface ProviderMetadata {
  readonly issuer: string;
  readonly jwks_uri: string;
  readonly response_types_supported: readonly string[];
  readonly subject_types_supported: readonly string[];
  readonly id_token_signing_alg_values_supported: readonly string[];
  readonly claims_supported: readonly string[];
}

/**
 * Describes the issuer at `url`.
 *
 * @param published the keys that verify its tokens now
 * @param identityClaims the names of the claims that its ID tokens have beside the usual ones
 */
export function metadataOf(
  url: string,
  published: readonly PublicJwk[],
  identityClaims: readonly string[],
): ProviderMetadata {
  const frozen = (values: Iterable<string>) => Object.freeze([...values]);
  return Object.freeze({
    issuer: url,
    jwks_uri: `${url}/.well-known/jwks.json`,
    response_types_supported: frozen(["id_token"]),
    subject_types_supported: frozen(["public"]),
    id_token_signing_alg_values_supported: frozen(new Set(published.map(({ alg }) => alg))),
    claims_supported: frozen([...CLAIMS_SUPPORTED, ...identityClaims]),
  });
}
