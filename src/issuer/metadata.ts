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
  /** This and what follows is there where there is a token endpoint. */
  readonly token_endpoint?: string;
  readonly token_endpoint_auth_methods_supported?: readonly string[];
  readonly grant_types_supported?: readonly string[];
}

/** What clients have to know of a token endpoint (RFC 8414 §2). */
export interface TokenEndpointMetadata {
  /** `undefined`: `token` below the issuer's URL. */
  readonly url: string | undefined;
  readonly authenticationMethods: readonly string[];
  readonly grantTypes: readonly string[];
}

/** The claims that its tokens may have beside the usual ones (RFC 9068 §2.2, RFC 8693 §4.1). */
const TOKEN_ENDPOINT_CLAIMS = ["client_id", "scope", "act"];

/**
 * Describes the issuer at `url`.
 *
 * @param published the keys that verify its tokens now
 * @param identityClaims the names of the claims that its ID tokens have beside the usual ones
 * @param tokenEndpoint `undefined`: there is none
 */
export function metadataOf(
  url: string,
  published: readonly PublicJwk[],
  identityClaims: readonly string[],
  tokenEndpoint: TokenEndpointMetadata | undefined,
): ProviderMetadata {
  const frozen = (values: Iterable<string>) => Object.freeze([...values]);
  return Object.freeze({
    issuer: url,
    jwks_uri: `${url}/.well-known/jwks.json`,
    response_types_supported: frozen(["id_token"]),
    subject_types_supported: frozen(["public"]),
    id_token_signing_alg_values_supported: frozen(new Set(published.map(({ alg }) => alg))),
    claims_supported: frozen([
      ...CLAIMS_SUPPORTED,
      ...identityClaims,
      ...(tokenEndpoint ? TOKEN_ENDPOINT_CLAIMS : []),
    ]),
    ...(tokenEndpoint && {
      token_endpoint: tokenEndpoint.url ?? `${url}/token`,
      token_endpoint_auth_methods_supported: frozen(tokenEndpoint.authenticationMethods),
      grant_types_supported: frozen(tokenEndpoint.grantTypes),
    }),
  });
}
