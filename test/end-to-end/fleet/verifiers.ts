import { createPublicKey } from "node:crypto";
import { createVerifier, type DecodedJwt } from "fast-jwt";
import createGetJwks from "get-jwks";
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import jsonwebtoken from "jsonwebtoken";
import jwksRsa from "jwks-rsa";
import type { Random } from "../../issuer/keys/random.ts";
import { createAwsVerifier } from "../../support/aws-jwt-verify.ts";
import { AUDIENCE } from "../../support/tokens.ts";

/** Somebody who gets tokens, with a real library that keeps the JWK Set. */
export interface Verifier {
  readonly library: string;
  readonly algorithms: readonly string[];
  /** Rejects where it refuses the token. The time, in milliseconds since the epoch, is that of the token's clock. */
  verify(token: string, time: number): Promise<unknown>;
}

/** What a verifier is made from. */
interface Expected {
  readonly issuer: string;
  /** For how long it keeps what it has fetched, in milliseconds. */
  readonly maxAge: number;
}

/**
 * It fetches again when the time has come, and not because of a key that it does not know: whether keys are published
 * early enough is for this one to tell.
 */
function withJose({ issuer, maxAge }: Expected): Verifier {
  const jwksUri = new URL(`${issuer}/.well-known/jwks.json`);
  const keys = createRemoteJWKSet(jwksUri, {
    cacheMaxAge: maxAge,
    cooldownDuration: maxAge,
    timeoutDuration: 30_000,
  });
  return {
    library: "jose",
    algorithms: ["EdDSA", "ES256", "ES384", "ES512"],
    verify: (token, time) =>
      jwtVerify(token, keys, { issuer, audience: AUDIENCE, currentDate: new Date(time) }),
  };
}

// The others fetch again at once for a key that they do not know: whichever replica they ask has to know it.

function withJwksRsa({ issuer, maxAge }: Expected): Verifier {
  const client = jwksRsa({ jwksUri: `${issuer}/.well-known/jwks.json`, cacheMaxAge: maxAge });
  return {
    library: "jsonwebtoken with jwks-rsa",
    algorithms: ["ES384"],
    async verify(token, time) {
      const key = await client.getSigningKey(decodeProtectedHeader(token).kid);
      const clockTimestamp = Math.floor(time / 1000);
      return jsonwebtoken.verify(token, key.getPublicKey(), { issuer, audience: AUDIENCE, clockTimestamp });
    },
  };
}

function withGetJwks({ issuer, maxAge }: Expected): Verifier {
  const getJwks = createGetJwks({ ttl: Math.ceil(maxAge) });
  const key = async ({ header }: DecodedJwt) => {
    const jwk = await getJwks.getJwk({ domain: issuer, alg: header.alg, kid: header.kid });
    return createPublicKey({ key: jwk, format: "jwk" }).export({ format: "pem", type: "spki" });
  };
  return {
    library: "fast-jwt with get-jwks",
    algorithms: ["ES256"],
    verify: (token, time) =>
      createVerifier({ key, allowedIss: issuer, allowedAud: AUDIENCE, clockTimestamp: time })(token),
  };
}

/** It goes by the clock of this process, which is behind that of the tokens. */
function withAws({ issuer }: Expected): Verifier {
  const verifier = createAwsVerifier(issuer);
  return {
    library: "aws-jwt-verify",
    algorithms: ["EdDSA", "ES512"],
    verify: (token) => verifier.verify(token),
  };
}

const LIBRARIES = [
  ...Array.from({ length: 44 }, () => withJose),
  ...Array.from({ length: 2 }, () => withJwksRsa),
  ...Array.from({ length: 2 }, () => withGetJwks),
  ...Array.from({ length: 2 }, () => withAws),
];

/**
 * Makes 50 verifiers. Every second one keeps a JWK Set for as long as it may, the others for a
 * random time between half of that and all of it.
 */
export function createVerifiers({ issuer, maxAge }: Expected, random: Random): readonly Verifier[] {
  return LIBRARIES.map((create, index) =>
    create({ issuer, maxAge: index % 2 === 0 ? maxAge : Math.ceil(maxAge * (0.5 + random.unit() / 2)) }),
  );
}
