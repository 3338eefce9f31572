import { createLocalJWKSet, type JSONWebKeySet, type JWTPayload, jwtVerify } from "jose";

/** What a cloud was told to trust. */
export interface FederatedTrust {
  /** The `iss` of tokens, and the URL that their keys are found by. */
  readonly issuer: string;
  readonly subject: string;
  readonly audience: string;
}

/** A token that was accepted, and what it says. */
export interface AcceptedToken {
  readonly token: string;
  readonly claims: JWTPayload;
}

/**
 * Verifies a token as clouds say that they do, with nothing known but the issuer's URL: the discovery document, which
 * has to name this very issuer (OpenID Connect Discovery 1.0 §4.3), the JWK Set that it leads to, the signature with
 * RS256, issuer, audience, subject and times. Nothing is kept from one token to the next.
 *
 * @throws {Error} with what is wrong
 */
export async function verifyFederated(
  token: string,
  { issuer, subject, audience }: FederatedTrust,
): Promise<AcceptedToken> {
  const metadata = (await fetchJson(`${issuer}/.well-known/openid-configuration`)) as {
    issuer: string;
    jwks_uri: string;
  };
  if (metadata.issuer !== issuer) throw new Error("the discovery document names another issuer");
  const keys = createLocalJWKSet((await fetchJson(metadata.jwks_uri)) as JSONWebKeySet);
  const { payload: claims } = await jwtVerify(token, keys, {
    ...{ issuer, subject, audience },
    algorithms: ["RS256"],
    requiredClaims: ["iss", "sub", "aud", "iat", "exp"],
  });
  return { token, claims };
}

async function fetchJson(url: string): Promise<unknown> {
  const response = await fetch(url);
  if (response.status !== 200) throw new Error(`${url} is answered with ${response.status}`);
  return response.json();
}
