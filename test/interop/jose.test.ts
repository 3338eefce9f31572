import { createRemoteJWKSet, decodeJwt, type JWTPayload, jwtVerify } from "jose";
import { expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startSidecar } from "../support/sidecar.ts";
import { AUDIENCE, startTokenService, withPayloadByteChanged } from "../support/tokens.ts";

test.each(["EdDSA", "ES256", "RS256", "PS256"] as const)(
  "jose verifies a token signed with %s by the JWKS URL",
  async (algorithm) => {
    await using service = await startTokenService(algorithm);
    const keys = createRemoteJWKSet(new URL(service.jwksUri));

    const { payload, protectedHeader } = await jwtVerify(await service.token(), keys, {
      issuer: service.issuer,
      audience: AUDIENCE,
      algorithms: [algorithm],
    });

    expect(protectedHeader).toMatchObject({ alg: algorithm, kid: expect.any(String), typ: "JWT" });
    expect(payload).toMatchObject({ iss: service.issuer, sub: "api-gateway", aud: AUDIENCE });
  },
);

test.each([
  ["for another audience", { code: "ERR_JWT_CLAIM_VALIDATION_FAILED", claim: "aud" }],
  ["of another issuer", { code: "ERR_JWT_CLAIM_VALIDATION_FAILED", claim: "iss" }],
  ["that expired", { code: "ERR_JWT_EXPIRED" }],
] as const)("jose refuses a token %s", async (kind, error) => {
  await using service = await startTokenService("EdDSA");
  const keys = createRemoteJWKSet(new URL(service.jwksUri));
  const expected = { issuer: service.issuer, audience: AUDIENCE };

  await expect(jwtVerify(await service.token(kind), keys, expected)).rejects.toMatchObject(error);
});

test("jose refuses a token with one changed payload byte", async () => {
  await using service = await startTokenService("EdDSA");
  const keys = createRemoteJWKSet(new URL(service.jwksUri));

  const changed = withPayloadByteChanged(await service.token());

  await expect(jwtVerify(changed, keys)).rejects.toMatchObject({
    code: "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
  });
});

test("jose verifies the tokens of two issuers, each by discovery, where both are on the allow-list", async () => {
  await using orders = await startTokenService("EdDSA");
  await using billing = await startTokenService("ES256");
  const verify = createDiscoveringVerifier([orders.issuer, billing.issuer]);

  expect(await verify(await orders.token())).toMatchObject({ iss: orders.issuer });
  expect(await verify(await billing.token())).toMatchObject({ iss: billing.issuer });
});

test("a token of an issuer that is not on the allow-list is refused before anything is fetched", async () => {
  await using trusted = await startTokenService("EdDSA");
  await using elsewhere = await startBackend();
  await using backend = await startBackend();
  await using stranger = await startSidecar(backend.url, {
    yaml: `issuer: {url: "${elsewhere.url}/issuer", keys: {ephemeral: true}}`,
  });
  await fetch(stranger.url);
  const token = backend.requests[0]?.headers.authorization?.replace("Bearer ", "") ?? "";

  const verify = createDiscoveringVerifier([trusted.issuer]);
  await expect(verify(token)).rejects.toThrow(`the issuer ${elsewhere.url}/issuer is not trusted`);
  expect(elsewhere.requests).toEqual([]);

  // With the issuer on the list that server would have been asked.
  await expect(createDiscoveringVerifier([stranger.issuer.url])(token)).rejects.toThrow();
  expect(elsewhere.requests.map(({ url }) => url)).toEqual(["/issuer/.well-known/openid-configuration"]);
});

/** Verifies tokens of several issuers: which one is read from the token, and looked up in the list before use. */
function createDiscoveringVerifier(allowedIssuers: readonly string[]) {
  const keysByIssuer = new Map<string, ReturnType<typeof createRemoteJWKSet>>();

  async function keysOf(issuer: string) {
    const known = keysByIssuer.get(issuer);
    if (known) return known;
    const response = await fetch(`${issuer}/.well-known/openid-configuration`);
    const metadata = (await response.json()) as { issuer: string; jwks_uri: string };
    if (metadata.issuer !== issuer) throw new Error("the discovery document names another issuer");
    const keys = createRemoteJWKSet(new URL(metadata.jwks_uri));
    keysByIssuer.set(issuer, keys);
    return keys;
  }

  return async (token: string): Promise<JWTPayload> => {
    const { iss: issuer = "" } = decodeJwt(token);
    if (!allowedIssuers.includes(issuer)) throw new Error(`the issuer ${issuer} is not trusted`);
    const keys = await keysOf(issuer);
    const { payload } = await jwtVerify(token, keys, {
      issuer,
      audience: AUDIENCE,
      algorithms: ["EdDSA", "ES256"],
    });
    return payload;
  };
}
