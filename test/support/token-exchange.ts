import type { IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { createRemoteJWKSet, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from "jose";
import { startBackend } from "./backend.ts";

/** The provider of a workload identity pool, as a token exchange names it. */
export const PROVIDER =
  "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/deployments/providers/countersign";

/** The audience that identity tokens for {@link PROVIDER} have, unless it names others. */
export const PROVIDER_AUDIENCE = `https:${PROVIDER}`;

/** Stands in for Google's Security Token Service. */
export interface TokenExchange extends AsyncDisposable {
  /** What a credential configuration calls `token_url`. */
  readonly tokenUrl: string;
  /** The subject tokens that were accepted, in order, and what they say. */
  readonly accepted: { readonly subjectToken: string; readonly claims: JWTPayload }[];
  /** Sends a subject token by itself, with nothing wrong around it. */
  exchange(subjectToken: string): Promise<Response>;
}

/**
 * Starts a stub of a token exchange that trusts one issuer. It speaks OAuth 2.0 Token Exchange as
 * https://sts.googleapis.com/v1/token does: a form with `subject_token` and its type (RFC 8693 §2.1) is answered with
 * an access token (§2.2.1) or with `invalid_request` (§2.2.2). The subject token has to be a JWT that says RS256, this
 * issuer and {@link PROVIDER_AUDIENCE}, has not expired, and verifies with the keys that the issuer's discovery leads
 * to. What is not like Google's: it takes an issuer without `https:`, and its access tokens open nothing.
 *
 * @see https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token
 */
export async function startTokenExchange(issuer: string): Promise<TokenExchange> {
  const accepted: { subjectToken: string; claims: JWTPayload }[] = [];
  let keys: JWTVerifyGetKey | undefined;

  async function answerTo(request: IncomingMessage): Promise<object> {
    const form = new URLSearchParams(await text(request));
    for (const [name, value] of Object.entries(EXPECTED_FORM))
      if (form.get(name) !== value) throw new Error(`${name} is not ${value}`);
    const subjectToken = form.get("subject_token") ?? "";
    keys ??= await discoverKeys(issuer);
    const { payload: claims } = await jwtVerify(subjectToken, keys, {
      issuer,
      audience: PROVIDER_AUDIENCE,
      algorithms: ["RS256"],
      requiredClaims: ["sub", "iat", "exp"],
    });
    accepted.push({ subjectToken, claims });
    return {
      access_token: `access-token-${accepted.length}`,
      issued_token_type: EXPECTED_FORM.requested_token_type,
      token_type: "Bearer",
      expires_in: 3600,
    };
  }

  const server = await startBackend(async (request, response) => {
    const [status, answer] = await answerTo(request).then(
      (granted) => [200, granted] as const,
      (error: Error) => [400, { error: "invalid_request", error_description: error.message }] as const,
    );
    response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" });
    response.end(JSON.stringify(answer));
  });
  const tokenUrl = `${server.url}/v1/token`;
  return {
    tokenUrl,
    accepted,
    exchange: (subjectToken) =>
      fetch(tokenUrl, {
        method: "POST",
        body: new URLSearchParams({ ...EXPECTED_FORM, subject_token: subjectToken }),
      }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** RFC 8693 §2.1 and §3. */
const EXPECTED_FORM = {
  grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
  audience: PROVIDER,
  scope: "https://www.googleapis.com/auth/cloud-platform",
  requested_token_type: "urn:ietf:params:oauth:token-type:access_token",
  subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
};

/** OpenID Connect Discovery 1.0 §4. */
async function discoverKeys(issuer: string): Promise<JWTVerifyGetKey> {
  const response = await fetch(`${issuer}/.well-known/openid-configuration`);
  const metadata = (await response.json()) as { issuer: string; jwks_uri: string };
  if (metadata.issuer !== issuer) throw new Error("the discovery document names another issuer");
  return createRemoteJWKSet(new URL(metadata.jwks_uri));
}
