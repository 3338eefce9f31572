import { createPublicKey } from "node:crypto";
import { type Algorithm, createVerifier, type DecodedJwt } from "fast-jwt";
import createGetJwks from "get-jwks";
import { expect, test } from "vitest";
import { AUDIENCE, startTokenService, withPayloadByteChanged } from "../support/tokens.ts";

test.each(["EdDSA", "ES256", "RS256", "PS256"] as const)(
  "fast-jwt verifies a token signed with %s by discovery",
  async (algorithm) => {
    await using service = await startTokenService(algorithm);
    const verify = verifierOf(service.issuer, algorithm, { providerDiscovery: true });

    const payload = await verify(await service.token());

    expect(payload).toMatchObject({ iss: service.issuer, sub: "api-gateway", aud: AUDIENCE });
  },
);

test("fast-jwt verifies a token by the JWKS URL that get-jwks takes where nothing is configured", async () => {
  await using service = await startTokenService("ES256");
  const verify = verifierOf(service.issuer, "ES256");

  expect(await verify(await service.token())).toMatchObject({ iss: service.issuer });
});

test.each([
  ["for another audience", "FAST_JWT_INVALID_CLAIM_VALUE", "aud"],
  ["of another issuer", "FAST_JWT_INVALID_CLAIM_VALUE", "iss"],
  ["that expired", "FAST_JWT_EXPIRED", "expired"],
] as const)("fast-jwt refuses a token %s", async (kind, code, message) => {
  await using service = await startTokenService("ES256");
  const verify = verifierOf(service.issuer, "ES256");

  await expect(verify(await service.token(kind))).rejects.toMatchObject({
    code,
    message: expect.stringContaining(message),
  });
});

test("fast-jwt refuses a token with one changed payload byte", async () => {
  await using service = await startTokenService("ES256");
  const verify = verifierOf(service.issuer, "ES256");

  const changed = withPayloadByteChanged(await service.token());

  await expect(verify(changed)).rejects.toMatchObject({ code: "FAST_JWT_INVALID_SIGNATURE" });
});

test("get-jwks refuses an issuer that is not on its allow-list", async () => {
  await using trusted = await startTokenService("ES256");
  await using stranger = await startTokenService("ES256");
  const verify = verifierOf(stranger.issuer, "ES256", { issuersWhitelist: [trusted.issuer] });

  await expect(verify(await stranger.token())).rejects.toMatchObject({
    code: "FAST_JWT_KEY_FETCHING_ERROR",
    originalError: { code: "DOMAIN_NOT_ALLOWED" },
  });
});

function verifierOf(issuer: string, algorithm: Algorithm, options?: createGetJwks.GetJwksOptions) {
  const getJwks = createGetJwks(options);
  return createVerifier({
    // Not getPublicKey: the package that it turns a JWK into PEM with does not know Ed25519.
    async key({ header }: DecodedJwt) {
      const jwk = await getJwks.getJwk({ domain: issuer, alg: header.alg, kid: header.kid });
      return createPublicKey({ key: jwk, format: "jwk" }).export({ format: "pem", type: "spki" });
    },
    algorithms: [algorithm],
    allowedIss: issuer,
    allowedAud: AUDIENCE,
  });
}
