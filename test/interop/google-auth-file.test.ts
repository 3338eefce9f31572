import { IdentityPoolClient, type IdentityPoolClientOptions } from "google-auth-library";
import { afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import {
  BAD_TOKEN_ROWS,
  type FederatedDeployment,
  startFederatedDeployment,
} from "../support/federated-deployment.ts";
import { verifyFederated } from "../support/federated-trust.ts";
import { kidOf } from "../support/rotation.ts";
import {
  PROVIDER,
  PROVIDER_AUDIENCE,
  startTokenExchange,
  type TokenExchange,
} from "../support/token-exchange.ts";

let deployment: FederatedDeployment;
let tokenExchange: TokenExchange;
beforeAll(async () => {
  deployment = await startFederatedDeployment(PROVIDER_AUDIENCE);
  tokenExchange = await startTokenExchange(deployment.trust);
  return async () => {
    await tokenExchange[Symbol.asyncDispose]();
    await deployment[Symbol.asyncDispose]();
  };
});
// Where the environment names a proxy, the library asks even this machine through it.
beforeEach(() => void vi.stubEnv("NO_PROXY", "127.0.0.1"));
afterEach(() => void vi.unstubAllEnvs());

/** Another one keeps another access token. */
function createClient(tokenFile = deployment.tokenFile): IdentityPoolClient {
  // As `gcloud iam workload-identity-pools create-cred-config` writes it, but for token_url.
  const configuration: IdentityPoolClientOptions = {
    type: "external_account",
    audience: PROVIDER,
    subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
    token_url: tokenExchange.tokenUrl,
    credential_source: { file: tokenFile, format: { type: "text" } },
  };
  return new IdentityPoolClient(configuration);
}

test("google-auth-library gets an access token for the token in the file", async () => {
  const { token } = await createClient().getAccessToken();
  expect(token).toBe("access-token-1");
  expect(tokenExchange.accepted).toMatchObject([
    {
      token: deployment.token(),
      claims: { iss: deployment.sidecar.issuer.url, sub: "acme/shop/blue", aud: PROVIDER_AUDIENCE },
    },
  ]);
});

test("google-auth-library gets access tokens for a token of the next key after a rotation, and for the last of the old one", async () => {
  const last = await deployment.rotate();
  const next = deployment.token();
  expect(kidOf(next)).not.toBe(kidOf(last));
  await createClient().getAccessToken();
  await createClient(deployment.fileWith(last)).getAccessToken();
  expect(tokenExchange.accepted.slice(-2).map(({ token }) => token)).toEqual([next, last]);
});

test.each(BAD_TOKEN_ROWS)("google-auth-library gets no access token for a token %s", async (kind, reason) => {
  const { length } = tokenExchange.accepted;
  const client = createClient(deployment.fileWith(await deployment.badToken(kind)));
  await expect(client.getAccessToken()).rejects.toThrow(reason);
  expect(tokenExchange.accepted).toHaveLength(length);
});

test("a token is not verified by a discovery document that names another issuer", async () => {
  const issuer = deployment.trust.issuer.replace("127.0.0.1", "localhost");
  await expect(verifyFederated(deployment.token(), { ...deployment.trust, issuer })).rejects.toThrow(
    "the discovery document names another issuer",
  );
});
