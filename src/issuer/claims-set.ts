import { randomUUID } from "node:crypto";
import type { SigningAlgorithm } from "./algorithms.ts";
import type { KeyPurpose } from "./keys/ring.ts";

/** A JSON value, as a claim may hold. */
export type JsonValue = string | number | boolean | null | JsonValue[] | { [name: string]: JsonValue };

/** Claims by name. */
export type Claims = Readonly<Record<string, JsonValue>>;

/** What one token is to say, and how it is made. */
export interface TokenRequest {
  /** `sub` */
  readonly subject: string;
  /** `aud`; the claim is left out where it is absent. */
  readonly audience: string | readonly string[] | undefined;
  /** How long the token is valid, in whole seconds: `exp` is `iat` plus this. */
  readonly lifetimeSeconds: number;
  /** The NumericDate that `exp` is at most, however late the token is signed; such a token is never reused. */
  readonly expiresBy?: number | undefined;
  /** Merged over the standard claims; `iss` is the only one of them that it may replace. */
  readonly additionalClaims: Claims;
  /** Adds `nbf`, equal to `iat`. */
  readonly notBefore: boolean;
  /** Adds a unique `jti`; such a token is never reused. */
  readonly tokenId: boolean;
  /** Whether a token that was made before, with the same claims, will do. */
  readonly reuse: boolean;
  readonly algorithm: SigningAlgorithm;
  readonly purpose: KeyPurpose;
  /** The `typ` of its header (RFC 7519 §5.1). Default: JWT. */
  readonly type?: TokenType | undefined;
}

/** `at+jwt`: an access token that an authorization server gave to a client (RFC 9068 §2.1). */
export type TokenType = "JWT" | "at+jwt";

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
 * The claims set of one token in JSON (RFC 7519 §4.1), in this order: iss, sub, aud, iat, exp, nbf, jti, then the rest.
 *
 * @param issuedAt NumericDate: whole seconds since 1970-01-01T00:00:00Z
 */
export function claimsSetOf(request: TokenRequest, issuer: string, issuedAt: number): string {
  const { subject, audience, lifetimeSeconds, expiresBy = Number.POSITIVE_INFINITY } = request;
  return JSON.stringify({
    iss: issuer,
    sub: subject,
    ...(audience !== undefined && { aud: audience }),
    iat: issuedAt,
    exp: Math.min(issuedAt + lifetimeSeconds, expiresBy),
    ...(request.notBefore && { nbf: issuedAt }),
    ...(request.tokenId && { jti: randomUUID() }),
    ...request.additionalClaims,
  });
}
