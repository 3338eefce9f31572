import { isDeepStrictEqual } from "node:util";
import { createLocalJWKSet, type JWTPayload, jwtVerify } from "jose";
import type { SigningAlgorithm } from "../algorithms.ts";
import { type Claims, claimsSetOf, type TokenRequest } from "../claims-set.ts";
import type { PublicJwk } from "../keys/signing-key.ts";

/** A file that is to hold an ID token. */
export interface IdentityFile {
  /** Absolute. */
  readonly path: string;
  /** Who may read it beside its owner, by name or id; `undefined`: nobody. */
  readonly group: string | number | undefined;
  readonly subject: string;
  readonly audience: string;
  readonly lifetimeSeconds: number;
  /** Beside the standard ones. */
  readonly claims: Claims;
  readonly algorithm: SigningAlgorithm;
}

/** A token that a verifier would take. Times are in milliseconds since the epoch. */
export interface HeldToken {
  /** Of the key that signed it. */
  readonly kid: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
  /** Whether it says what the file's token is to say: all its claims, for as long as they are wanted. */
  readonly isAsConfigured: boolean;
}

/** How a token of a file is verified. */
export interface VerifyingOptions {
  /** The issuer's. */
  readonly url: string;
  /** The keys that verifiers see. */
  readonly published: readonly PublicJwk[];
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** JWS Compact Serialization (RFC 7515 §3.1). */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** What is to be signed for a file. */
export function requestFor(file: IdentityFile): TokenRequest {
  const { subject, audience, lifetimeSeconds, claims, algorithm } = file;
  return {
    ...{ subject, audience, lifetimeSeconds, algorithm },
    additionalClaims: claims,
    notBefore: false,
    tokenId: false,
    reuse: false,
    purpose: "identity",
  };
}

/**
 * Verifies what stands in a file as whoever gets it does: the signature by a key that is published, issuer, subject,
 * audience and times.
 *
 * @param text whatever was found
 * @throws {Error} with what is wrong
 */
export async function verifyHeld(
  text: string,
  file: IdentityFile,
  { url, published, now }: VerifyingOptions,
): Promise<HeldToken> {
  // A line end behind it would be part of what some programs send.
  if (!COMPACT.test(text)) throw new Error("this is not a token and nothing else");
  const keys = createLocalJWKSet({ keys: [...published] });
  const { payload, protectedHeader } = await jwtVerify(text, keys, {
    issuer: url,
    subject: file.subject,
    audience: file.audience,
    algorithms: [file.algorithm],
    requiredClaims: ["iat", "exp"],
    currentDate: new Date(now),
  });
  const { iat, exp } = payload as Required<Pick<JWTPayload, "iat" | "exp">>;
  const wanted: unknown = JSON.parse(claimsSetOf(requestFor(file), url, iat));
  return {
    kid: String(protectedHeader.kid),
    issuedAt: iat * 1000,
    expiresAt: exp * 1000,
    isAsConfigured: isDeepStrictEqual({ ...payload }, wanted),
  };
}
