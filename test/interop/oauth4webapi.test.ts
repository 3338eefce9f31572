import {
  type AuthorizationServer,
  allowInsecureRequests,
  type ClientAuth,
  ClientSecretBasic,
  ClientSecretPost,
  clientCredentialsGrantRequest,
  discoveryRequest,
  genericTokenEndpointRequest,
  processClientCredentialsResponse,
  processDiscoveryResponse,
  processGenericTokenEndpointResponse,
  validateJwtAccessToken,
} from "oauth4webapi";
import { beforeAll, describe, expect, test } from "vitest";
import {
  ACME_KEY,
  API,
  JWT_TYPE,
  startTokenEndpoint,
  type TestTokenEndpoint,
  TOKEN_EXCHANGE,
} from "../support/token-endpoint.ts";

// http: is for this machine alone.
const INSECURE = { [allowInsecureRequests]: true };
const ACME = { client_id: "acme" };

let endpoint: TestTokenEndpoint;
let server: AuthorizationServer;

beforeAll(async () => {
  endpoint = await startTokenEndpoint();
  const issuer = new URL(endpoint.sidecar.issuer.url);
  const response = await discoveryRequest(issuer, { algorithm: "oauth2", ...INSECURE });
  server = await processDiscoveryResponse(issuer, response);
  return () => endpoint[Symbol.asyncDispose]();
});

/** What a resource server that follows RFC 9068 reads of a token. */
async function validated(accessToken: string) {
  const request = new Request(API, { headers: { authorization: `Bearer ${accessToken}` } });
  return validateJwtAccessToken(server, request, API, INSECURE);
}

describe.each([
  ["client_secret_basic", ClientSecretBasic],
  ["client_secret_post", ClientSecretPost],
] as const)("oauth4webapi with %s", (_, authentication) => {
  const secret: ClientAuth = authentication(ACME_KEY);

  test("gets a token for the client itself, and validates it as RFC 9068 says", async () => {
    const response = await clientCredentialsGrantRequest(server, ACME, secret, { resource: API }, INSECURE);
    const tokens = await processClientCredentialsResponse(server, ACME, response);
    expect(await validated(tokens.access_token)).toMatchObject({ sub: "acme", client_id: "acme" });
  });

  test("exchanges a user's token, and validates the new one", async () => {
    const parameters = {
      subject_token: await endpoint.provider.sign({ sub: "alice" }),
      subject_token_type: JWT_TYPE,
      resource: API,
    };
    const response = await genericTokenEndpointRequest(
      server,
      ACME,
      secret,
      TOKEN_EXCHANGE,
      parameters,
      INSECURE,
    );
    const tokens = await processGenericTokenEndpointResponse(server, ACME, response);
    expect(await validated(tokens.access_token)).toMatchObject({ sub: "alice", act: { sub: "acme" } });
  });
});

test.each([
  ["a target that is not allowed", { resource: "https://other.example.com" }, "invalid_target"],
  ["a scope that is not held", { scope: "admin" }, "invalid_scope"],
])("oauth4webapi reads the error for %s", async (_, parameters, error) => {
  const response = await clientCredentialsGrantRequest(
    server,
    ACME,
    ClientSecretPost(ACME_KEY),
    parameters,
    INSECURE,
  );
  await expect(processClientCredentialsResponse(server, ACME, response)).rejects.toMatchObject({
    error,
    error_description: expect.any(String),
    status: 400,
  });
});

test("oauth4webapi takes no token that was made for a backend for an access token", async () => {
  const token = await endpoint.sidecar.issuer.signJwt({ subject: "acme", audience: API });
  await expect(validated(token)).rejects.toThrow();
});
