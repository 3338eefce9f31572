import { JwtVerifier } from "aws-jwt-verify";
import {
  JwtExpiredError,
  JwtInvalidAudienceError,
  JwtInvalidIssuerError,
  JwtInvalidSignatureAlgorithmError,
  JwtInvalidSignatureError,
} from "aws-jwt-verify/error";
import { expect, test } from "vitest";
import { createAwsVerifier } from "../support/aws-jwt-verify.ts";
import { AUDIENCE, startTokenService, withPayloadByteChanged } from "../support/tokens.ts";

test.each(["EdDSA", "ES256", "RS256"] as const)(
  "aws-jwt-verify verifies a token signed with %s by the issuer alone",
  async (algorithm) => {
    await using service = await startTokenService(algorithm);

    const payload = await createAwsVerifier(service.issuer).verify(await service.token());

    expect(payload).toMatchObject({ iss: service.issuer, sub: "api-gateway", aud: AUDIENCE });
  },
);

test("aws-jwt-verify knows no PS256", async () => {
  await using service = await startTokenService("PS256");

  const verification = createAwsVerifier(service.issuer).verify(await service.token());

  await expect(verification).rejects.toThrow(JwtInvalidSignatureAlgorithmError);
});

test.each([
  ["for another audience", JwtInvalidAudienceError],
  ["of another issuer", JwtInvalidIssuerError],
  ["that expired", JwtExpiredError],
] as const)("aws-jwt-verify refuses a token %s", async (kind, error) => {
  await using service = await startTokenService("ES256");

  const verification = createAwsVerifier(service.issuer).verify(await service.token(kind));

  await expect(verification).rejects.toThrow(error);
});

test("aws-jwt-verify refuses a token with one changed payload byte", async () => {
  await using service = await startTokenService("ES256");

  const changed = withPayloadByteChanged(await service.token());

  await expect(createAwsVerifier(service.issuer).verify(changed)).rejects.toThrow(JwtInvalidSignatureError);
});

test("aws-jwt-verify fetches nothing over plain HTTP by itself", async () => {
  await using service = await startTokenService("ES256");
  const verifier = JwtVerifier.create({ issuer: service.issuer, audience: AUDIENCE });

  await expect(verifier.verify(await service.token())).rejects.toThrow('Protocol "http:" not supported');
});
