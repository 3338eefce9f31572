import { JwtVerifier } from "aws-jwt-verify";
import type { Fetcher } from "aws-jwt-verify/https";
import { SimpleJwksCache } from "aws-jwt-verify/jwk";
import { AUDIENCE } from "./tokens.ts";

/** aws-jwt-verify's own fetcher speaks HTTPS alone. Another one may be given to its cache of JWK Sets. */
const httpFetcher: Fetcher = {
  async fetch(uri) {
    const response = await fetch(uri);
    if (!response.ok) throw new Error(`${uri} answered ${response.status}`);
    return response.arrayBuffer();
  },
};

/** A verifier that finds the JWK Set under the issuer, where aws-jwt-verify looks by default. */
export function createAwsVerifier(issuer: string) {
  const jwksCache = new SimpleJwksCache({ fetcher: httpFetcher });
  return JwtVerifier.create({ issuer, audience: AUDIENCE }, { jwksCache });
}
