import { createRemoteJWKSet, jwtVerify } from "jose";
import { allowInsecureRequests, type DiscoveryRequestOptions, discovery } from "openid-client";
import { expect, test } from "vitest";
import { AUDIENCE, startTokenService, withPayloadByteChanged } from "../support/tokens.ts";

test.each(["EdDSA", "ES256", "RS256", "PS256"] as const)(
  "a token signed with %s verifies with what openid-client discovers",
  async (algorithm) => {
    await using service = await startTokenService(algorithm);
    const verify = await discoverVerifier(service.issuer);

    const { payload, protectedHeader } = await verify(await service.token());

    expect(protectedHeader.alg).toBe(algorithm);
    expect(payload).toMatchObject({ iss: service.issuer, sub: "api-gateway", aud: AUDIENCE });
  },
);

test("a token verifies with the OAuth 2.0 authorization server metadata that openid-client discovers", async () => {
  await using service = await startTokenService("EdDSA");
  const verify = await discoverVerifier(service.issuer, { algorithm: "oauth2" });

  expect((await verify(await service.token())).payload).toMatchObject({ iss: service.issuer });
});

test("openid-client refuses an issuer that is discovered under another name", async () => {
  await using service = await startTokenService("EdDSA");
  const alias = service.issuer.replace("127.0.0.1", "localhost");

  await expect(discoverVerifier(alias)).rejects.toMatchObject({
    code: "OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED",
  });
});

test.each([
  ["for another audience", { claim: "aud" }],
  ["of another issuer", { claim: "iss" }],
  ["that expired", { code: "ERR_JWT_EXPIRED" }],
] as const)("a verifier from openid-client's discovery refuses a token %s", async (kind, error) => {
  await using service = await startTokenService("EdDSA");
  const verify = await discoverVerifier(service.issuer);

  await expect(verify(await service.token(kind))).rejects.toMatchObject(error);
});

test("a verifier from openid-client's discovery refuses a token with one changed payload byte", async () => {
  await using service = await startTokenService("EdDSA");
  const verify = await discoverVerifier(service.issuer);

  const changed = withPayloadByteChanged(await service.token());

  await expect(verify(changed)).rejects.toMatchObject({ code: "ERR_JWS_SIGNATURE_VERIFICATION_FAILED" });
});

/** openid-client itself verifies only tokens that it asked for, so jose does, with all that discovery said. */
async function discoverVerifier(issuer: string, options: DiscoveryRequestOptions = {}) {
  const execute = [allowInsecureRequests]; // http: is for this machine alone
  const configuration = await discovery(new URL(issuer), "orders", undefined, undefined, {
    ...options,
    execute,
  });
  const metadata = configuration.serverMetadata();
  const keys = createRemoteJWKSet(new URL(metadata.jwks_uri ?? ""));
  const algorithms = metadata.id_token_signing_alg_values_supported as string[];
  return (token: string) =>
    jwtVerify(token, keys, { issuer: metadata.issuer, audience: AUDIENCE, algorithms });
}
