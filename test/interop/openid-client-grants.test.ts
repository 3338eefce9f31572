import {
  allowInsecureRequests,
  type ClientAuth,
  ClientSecretBasic,
  ClientSecretPost,
  clientCredentialsGrant,
  discovery,
  genericGrantRequest,
  None,
} from "openid-client";
import { beforeAll, describe, expect, test } from "vitest";
import {
  ACME_KEY,
  API,
  JWT_TYPE,
  startTokenEndpoint,
  type TestTokenEndpoint,
  TOKEN_EXCHANGE,
} from "../support/token-endpoint.ts";

let endpoint: TestTokenEndpoint;

beforeAll(async () => {
  endpoint = await startTokenEndpoint();
  return () => endpoint[Symbol.asyncDispose]();
});

/** What openid-client finds out of the issuer by itself. */
async function discoverAs(clientId: string, authentication: ClientAuth) {
  return discovery(new URL(endpoint.sidecar.issuer.url), clientId, undefined, authentication, {
    algorithm: "oauth2",
    execute: [allowInsecureRequests],
  });
}

/** The claims of an access token, checked. */
async function claimsOf(tokens: { readonly access_token: string }) {
  return endpoint.claimsOf({ status: 200, headers: new Headers(), body: { ...tokens } });
}

describe.each([
  ["client_secret_basic", ClientSecretBasic],
  ["client_secret_post", ClientSecretPost],
] as const)("openid-client with %s", (_, authentication) => {
  test("gets a token for the client itself, of the scope and the resource that it asks for", async () => {
    const configuration = await discoverAs("acme", authentication(ACME_KEY));
    const tokens = await clientCredentialsGrant(configuration, { scope: "orders.read", resource: API });
    expect(tokens).toMatchObject({ token_type: "bearer", expires_in: 300, scope: "orders.read" });
    expect(await claimsOf(tokens)).toMatchObject({ sub: "acme", client_id: "acme", scope: "orders.read" });
  });

  test("exchanges a user's token", async () => {
    const configuration = await discoverAs("acme", authentication(ACME_KEY));
    const tokens = await genericGrantRequest(configuration, TOKEN_EXCHANGE, {
      subject_token: await endpoint.provider.sign({ sub: "alice" }),
      subject_token_type: JWT_TYPE,
      audience: API,
    });
    expect(await claimsOf(tokens)).toMatchObject({ sub: "alice", client_id: "acme", act: { sub: "acme" } });
  });

  test("tells its user that the secret is wrong, or the scope", async () => {
    const impostor = await discoverAs("acme", authentication("wrong"));
    await expect(clientCredentialsGrant(impostor)).rejects.toMatchObject({ status: 401 });
    const configuration = await discoverAs("acme", authentication(ACME_KEY));
    await expect(clientCredentialsGrant(configuration, { scope: "admin" })).rejects.toMatchObject({
      error: "invalid_scope",
      status: 400,
    });
  });
});

test("openid-client exchanges a user's token for a client without a secret", async () => {
  const configuration = await discoverAs("app", None());
  const tokens = await genericGrantRequest(configuration, TOKEN_EXCHANGE, {
    subject_token: await endpoint.provider.sign({ sub: "alice" }),
    subject_token_type: JWT_TYPE,
  });
  expect(await claimsOf(tokens)).toMatchObject({ sub: "alice", client_id: "app" });
});
