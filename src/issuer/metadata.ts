import type { SigningKey } from "./signing-key.ts";

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

/** Describes the issuer at `url` which signs with `keys`. */
export function metadataOf(url: string, keys: readonly SigningKey[]): ProviderMetadata {
  return {
    issuer: url,
    jwks_uri: `${url}/.well-known/jwks.json`,
    response_types_supported: ["id_token"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: [...new Set(keys.map((key) => key.algorithm))],
    claims_supported: CLAIMS_SUPPORTED,
  };
}
