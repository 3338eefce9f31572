import { SignJWT } from "jose";
import { claimsSetOf, type TokenRequest } from "./claims-set.ts";
import { metadataOf, type ProviderMetadata } from "./metadata.ts";
import type { PublicJwk, SigningKeys } from "./signing-key.ts";

/** What {@link createIssuer} needs. */
export interface IssuerOptions {
  /** The `iss` of every token and the base of the discovery URLs; no slash at its end. */
  readonly url: string;
  /** The keys to publish; the first one signs. */
  readonly keys: SigningKeys;
  /** How long verifiers may keep the JWK Set, in seconds. */
  readonly jwksMaxAgeSeconds: number;
  /** Milliseconds since the epoch. Default: `Date.now`. */
  readonly now?: () => number;
}

/** Signs tokens, and says how they are verified. */
export interface Issuer {
  readonly url: string;
  readonly jwksMaxAgeSeconds: number;
  /** Signs one token (JWS Compact Serialization, RFC 7515 §3.1). */
  signJwt(request: TokenRequest): Promise<string>;
  /** The public keys, the signing one first (RFC 7517 §5). */
  jwks(): { readonly keys: readonly PublicJwk[] };
  /** The provider's metadata, for discovery. */
  metadata(): ProviderMetadata;
}

/** Creates an issuer over keys that have been opened. */
export function createIssuer({ url, keys, jwksMaxAgeSeconds, now = Date.now }: IssuerOptions): Issuer {
  const [signingKey] = keys;
  const header = { alg: signingKey.algorithm, kid: signingKey.kid, typ: "JWT" };
  const jwks = Object.freeze({ keys: Object.freeze(keys.map((key) => key.publicJwk)) });
  const metadata = Object.freeze(metadataOf(url, keys));
  return {
    url,
    jwksMaxAgeSeconds,
    signJwt: (request) =>
      new SignJWT(claimsSetOf(request, url, Math.floor(now() / 1000)))
        .setProtectedHeader(header)
        .sign(signingKey.privateKey),
    jwks: () => jwks,
    metadata: () => metadata,
  };
}
