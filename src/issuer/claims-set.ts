import { randomUUID } from "node:crypto";

/** A JSON value, as a claim may hold. */
export type JsonValue = string | number | boolean | null | JsonValue[] | { [name: string]: JsonValue };

/** Claims by name. */
export type Claims = Readonly<Record<string, JsonValue>>;

/** What one token is to say. */
export interface TokenRequest {
  /** `sub` */
  readonly subject: string;
  /** `aud`; the claim is left out where it is absent. */
  readonly audience?: string | readonly string[] | undefined;
  /** How long the token is valid, in whole seconds: `exp` is `iat` plus this. */
  readonly lifetimeSeconds: number;
  /** Merged over the standard claims; `iss` is the only one of them that it may replace. */
  readonly additionalClaims?: Claims | undefined;
  /** Adds `nbf`, equal to `iat`. */
  readonly notBefore?: boolean | undefined;
  /** Adds a unique `jti`. */
  readonly tokenId?: boolean | undefined;
}

/** The claims that `additionalClaims` may not hold, and what to do instead in the configuration. */
export const REMEDY_BY_RESERVED_CLAIM: Readonly<Record<string, string>> = Object.freeze({
  sub: "use the key `subject` of token",
  aud: "use the key `audience` of token",
  exp: "use the key `expiresIn` of token",
  iat: "it is the time of signing",
  nbf: "use the key `notBefore` of token",
  jti: "use the key `tokenId` of token",
});

/**
 * Builds the claims set of one token (RFC 7519 §4.1), in this order: iss, sub, aud, iat, exp, then the rest.
 *
 * @param issuedAt NumericDate: whole seconds since 1970-01-01T00:00:00Z
 */
export function claimsSetOf(
  request: TokenRequest,
  issuer: string,
  issuedAt: number,
): Record<string, unknown> {
  return {
    iss: issuer,
    sub: request.subject,
    ...(request.audience !== undefined && { aud: request.audience }),
    iat: issuedAt,
    exp: issuedAt + request.lifetimeSeconds,
    ...(request.notBefore && { nbf: issuedAt }),
    ...(request.tokenId && { jti: randomUUID() }),
    ...request.additionalClaims,
  };
}
