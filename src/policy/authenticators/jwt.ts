import { errors, type JWTPayload, jwtVerify } from "jose";
import { reasonOf, shielded } from "../../errors.ts";
import type { Claims } from "../../issuer/claims-set.ts";
import {
  type Authenticator,
  describable,
  invalid,
  type Outcome,
  REALM,
  type Surroundings,
} from "./authenticator.ts";
import { findCredential, placeOf } from "./credential-source.ts";
import type { JwtOptions } from "./options.ts";
import { openOwnKeys } from "./own-keys.ts";
import { openProviderKeys } from "./provider-keys.ts";
import { readUntrusted, type UntrustedToken } from "./untrusted-token.ts";
import { candidatesFor, type VerificationKey, type VerificationKeySet } from "./verification-keys.ts";
import { createVerifiedTokens, type TokenTimes } from "./verified-tokens.ts";

/** What tests set. */
export interface JwtInternals {
  readonly fetchTimeoutMilliseconds?: number;
}

const FETCH_TIMEOUT_MILLISECONDS = 5000;

/** None of the keys has signed the token, as far as can be told. */
const NO_KEY = { kind: "no-key" } as const;
const UNKNOWN_KEY = invalid("the token is signed with a key that the issuer does not have");
const FORGED = invalid("the signature of the token is not that of the key");
const EXPIRED = invalid("the token has expired");
const TOO_EARLY = invalid("the token is not valid yet");
const ANOTHER_AUDIENCE = invalid("the token is for another audience");
const ENDLESS = invalid("the claim exp of the token is not a NumericDate");
const UNKNOWN_EXTENSION = invalid("the token needs an extension that is not supported");
const UNREADABLE = invalid("the token cannot be verified");

/**
 * Opens an authenticator that knows callers by the JWTs of one issuer.
 *
 * @throws {Error} when the file of keys cannot be read, or holds no key that can be used
 */
export async function openJwt(
  name: string,
  options: JwtOptions,
  { now, own, onEvent }: Surroundings,
  { fetchTimeoutMilliseconds = FETCH_TIMEOUT_MILLISECONDS }: JwtInternals = {},
): Promise<Authenticator> {
  const { source, clockSkewSeconds } = options;
  const keys =
    own?.url === options.issuer && options.keys.kind === "discovery"
      ? openOwnKeys(own, options.algorithms)
      : await openProviderKeys({
          ...options,
          now,
          // What happens beside the requests has nobody to throw to.
          onEvent: shielded((event) => onEvent({ authenticator: name, ...event })),
          fetchTimeoutMilliseconds,
        });
  const verifiedTokens = createVerifiedTokens({ now, clockSkewSeconds });

  async function verify(untrusted: UntrustedToken): Promise<Outcome> {
    let keySet = keys.current();
    for (;;) {
      const result = keySet ? await verifyWith(keySet, untrusted) : NO_KEY;
      if (result.kind !== "no-key") return result;
      const answer = await keys.newerThan(keySet);
      if (answer.kind === "unavailable")
        return { ...answer, reason: "the keys of the token's issuer cannot be fetched" };
      if (answer.keySet === keySet) return UNKNOWN_KEY;
      keySet = answer.keySet;
    }
  }

  async function verifyWith(
    keySet: VerificationKeySet,
    { token, algorithm, kid }: UntrustedToken,
  ): Promise<Outcome | typeof NO_KEY> {
    const candidates = candidatesFor(keySet, algorithm, kid);
    for (const key of candidates) {
      const claims = await claimsOf(token, key);
      if (claims === FORGED) continue;
      if (claims.kind !== "claims") return claims;
      const outcome = outcomeOf(claims.payload, token, options);
      if (outcome.kind === "user") verifiedTokens.remember(token, keySet, claims.times, outcome);
      return outcome;
    }
    // Without a kid it may be the key of a newer set.
    return candidates.length === 0 || kid === undefined ? NO_KEY : FORGED;
  }

  async function claimsOf(
    token: string,
    { key, algorithms }: VerificationKey,
  ): Promise<VerifiedClaims | Outcome> {
    try {
      const { payload } = await jwtVerify(token, key, {
        algorithms: [...algorithms],
        issuer: options.issuer,
        audience: [...options.audiences],
        requiredClaims: ["exp", "iss", "aud", ...options.requiredClaims],
        clockTolerance: clockSkewSeconds,
        currentDate: new Date(now()),
      });
      const { exp, nbf } = payload;
      // JSON has numbers that become Infinity, such as 1e999: a token that never ends.
      return Number.isFinite(exp) ? { kind: "claims", payload, times: { exp: exp as number, nbf } } : ENDLESS;
    } catch (error) {
      return refusalOf(error);
    }
  }

  function checkToken(token: string): Outcome | Promise<Outcome> {
    const known = verifiedTokens.find(token, keys.current());
    if (known) return known;
    const untrusted = readUntrusted(token, options);
    if (untrusted.kind !== "untrusted") return untrusted;
    return verify(untrusted).catch((error: unknown) => ({
      kind: "unavailable",
      reason: "the token cannot be verified now",
      cause: reasonOf(error),
    }));
  }

  return {
    name,
    type: "jwt",
    place: placeOf(source),
    forwardCredential: options.forwardCredential,
    originalTokenHeader: options.originalTokenHeader,
    authenticate(request) {
      const found = findCredential(request, source);
      return found.kind === "found" ? checkToken(found.credential) : found;
    },
    checkToken,
    challenge(invalidReason) {
      const scheme = (source.kind === "header" && source.scheme) || "Bearer";
      const challenge = `${scheme} realm="${REALM}"`;
      if (invalidReason === undefined) return challenge;
      return `${challenge}, error="invalid_token", error_description="${describable(invalidReason)}"`;
    },
    close: () => keys.close(),
  };
}

interface VerifiedClaims {
  readonly kind: "claims";
  readonly payload: JWTPayload;
  readonly times: TokenTimes;
}

function outcomeOf(payload: JWTPayload, token: string, options: JwtOptions): Outcome {
  const { subjectClaim, originalTokenHeader } = options;
  const sub = subjectIn(payload, subjectClaim);
  if (sub === undefined) return invalid(`the claim ${subjectClaim} of the token does not say who is calling`);
  return {
    kind: "user",
    // Many requests share what is remembered: none may change it for the others.
    user: { sub, claims: deepFrozen(payload) as Claims },
    ...(originalTokenHeader !== undefined && { originalToken: token }),
  };
}

function subjectIn(payload: JWTPayload, claim: string): string | undefined {
  const value = Object.hasOwn(payload, claim) ? payload[claim] : undefined;
  if (typeof value === "string") return value === "" ? undefined : value;
  // JavaScript rounds larger numbers, and so two subjects could become one.
  return Number.isSafeInteger(value) ? String(value) : undefined;
}

function refusalOf(error: unknown): Outcome {
  if (error instanceof errors.JWTExpired) return EXPIRED;
  if (error instanceof errors.JWSSignatureVerificationFailed) return FORGED;
  if (error instanceof errors.JOSENotSupported) return UNKNOWN_EXTENSION;
  if (!(error instanceof errors.JWTClaimValidationFailed)) return UNREADABLE;
  const { claim, reason } = error;
  if (reason === "missing") return invalid(`the token has no claim ${claim}`);
  if (reason === "invalid") return invalid(`the claim ${claim} of the token is not a NumericDate`);
  return claim === "nbf" ? TOO_EARLY : ANOTHER_AUDIENCE;
}

/** Without recursion: a payload may be nested deeper than the stack. */
function deepFrozen<T extends object>(root: T): T {
  const objects: object[] = [root];
  for (const object of objects) {
    Object.freeze(object);
    for (const value of Object.values(object))
      if (typeof value === "object" && value !== null) objects.push(value);
  }
  return root;
}
