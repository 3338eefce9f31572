import type { IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { startBackend } from "./backend.ts";
import { type AcceptedToken, type FederatedTrust, verifyFederated } from "./federated-trust.ts";

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
  readonly accepted: AcceptedToken[];
  /** Sends a subject token by itself, with nothing wrong around it. */
  exchange(subjectToken: string): Promise<Response>;
}

/**
 * Starts a stub of a token exchange that trusts one subject of one issuer. It speaks only what the client library needs
 * of OAuth 2.0 Token Exchange, as https://sts.googleapis.com/v1/token does: a form with `subject_token` and its type
 * (RFC 8693 §2.1) is answered with an access token (§2.2.1) or with `invalid_request` (§2.2.2). What is not like
 * Google's: it takes an issuer without `https:`, and its access tokens open nothing.
 *
 * @see https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token
 */
export async function startTokenExchange(trust: Omit<FederatedTrust, "audience">): Promise<TokenExchange> {
  const accepted: AcceptedToken[] = [];

  async function answerTo(request: IncomingMessage): Promise<object> {
    const form = new URLSearchParams(await text(request));
    for (const [name, value] of Object.entries(EXPECTED_FORM))
      if (form.get(name) !== value) throw new Error(`${name} is not ${value}`);
    const subjectToken = form.get("subject_token") ?? "";
    accepted.push(await verifyFederated(subjectToken, { ...trust, audience: PROVIDER_AUDIENCE }));
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
