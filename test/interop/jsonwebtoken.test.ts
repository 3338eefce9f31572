import jsonwebtoken from "jsonwebtoken";
import jwksRsa from "jwks-rsa";
import { expect, test } from "vitest";
import { AUDIENCE, startTokenService, type TokenService, withPayloadByteChanged } from "../support/tokens.ts";

// No row for EdDSA: jsonwebtoken 9 has RS*, PS*, ES* and HS* alone.
test.each(["ES256", "RS256", "PS256"] as const)(
  "jsonwebtoken verifies a token signed with %s by the JWKS URL",
  async (algorithm) => {
    await using service = await startTokenService(algorithm);

    const payload = await verify(await service.token(), service, algorithm);

    expect(payload).toMatchObject({ iss: service.issuer, sub: "api-gateway", aud: AUDIENCE });
  },
);

test.each([
  ["for another audience", "jwt audience invalid"],
  ["of another issuer", "jwt issuer invalid"],
  ["that expired", "jwt expired"],
] as const)("jsonwebtoken refuses a token %s", async (kind, message) => {
  await using service = await startTokenService("ES256");

  await expect(verify(await service.token(kind), service, "ES256")).rejects.toThrow(message);
});

test("jsonwebtoken refuses a token with one changed payload byte", async () => {
  await using service = await startTokenService("ES256");

  const changed = withPayloadByteChanged(await service.token());

  await expect(verify(changed, service, "ES256")).rejects.toThrow("invalid signature");
});

async function verify(token: string, { issuer, jwksUri }: TokenService, algorithm: jsonwebtoken.Algorithm) {
  const client = jwksRsa({ jwksUri });
  const kid = jsonwebtoken.decode(token, { complete: true })?.header.kid;
  const key = await client.getSigningKey(kid);
  return jsonwebtoken.verify(token, key.getPublicKey(), {
    issuer,
    audience: AUDIENCE,
    algorithms: [algorithm],
  });
}
