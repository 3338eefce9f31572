import express, { type ErrorRequestHandler, type RequestHandler } from "express";
import { expressjwt, type Request, type UnauthorizedError } from "express-jwt";
import jwksRsa from "jwks-rsa";
import { expect, test } from "vitest";
import type { SigningAlgorithm } from "../../src/issuer/algorithms.ts";
import { startBackend } from "../support/backend.ts";
import { AUDIENCE, startTokenSidecar, withPayloadByteChanged } from "../support/tokens.ts";

/** No EdDSA: express-jwt 8 verifies with jsonwebtoken 9, which has RS*, PS*, ES* and HS* alone. */
type Algorithm = Extract<SigningAlgorithm, "ES256" | "RS256" | "PS256">;

test.each(["ES256", "RS256", "PS256"] as const)(
  "express-jwt lets a request through whose token is signed with %s",
  async (algorithm) => {
    await using service = await startExpressService(algorithm);

    const response = await service.sidecar.request();

    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ sub: "api-gateway", aud: AUDIENCE });
  },
);

test.each([
  ["for another audience", "jwt audience invalid"],
  ["of another issuer", "jwt issuer invalid"],
  ["that expired", "jwt expired"],
] as const)("express-jwt refuses a request with a token %s", async (kind, message) => {
  await using service = await startExpressService("ES256");

  const response = await service.sidecar.request(kind);

  expect(response.status).toBe(401);
  expect(await response.text()).toContain(message);
});

test("express-jwt refuses a request whose token has one changed payload byte", async () => {
  await using service = await startExpressService("ES256");
  const token = await service.sidecar.issuer.signJwt({
    subject: "api-gateway",
    audience: AUDIENCE,
    expiresIn: 60,
  });
  const send = (jwt: string) => fetch(service.url, { headers: { authorization: `Bearer ${jwt}` } });

  expect((await send(token)).status).toBe(200);
  const response = await send(withPayloadByteChanged(token));

  expect(response.status).toBe(401);
  expect(await response.text()).toContain("invalid signature");
});

test("express-jwt refuses a request that did not come through the sidecar", async () => {
  await using service = await startExpressService("ES256");

  const response = await fetch(service.url);

  expect(response.status).toBe(401);
  expect(await response.text()).toContain("No authorization token was found");
});

/** An Express application which trusts the sidecar in front of it; it answers with the claims of the token. */
async function startExpressService(algorithm: Algorithm) {
  const app = express();
  const backend = await startBackend(app);
  const sidecar = await startTokenSidecar(backend.url, algorithm);
  const { url: issuer } = sidecar.issuer;
  const secret = jwksRsa.expressJwtSecret({ jwksUri: `${issuer}/.well-known/jwks.json` });
  app.use(expressjwt({ secret, issuer, audience: AUDIENCE, algorithms: [algorithm] }));
  app.use(answerClaims, answerError);
  return {
    url: backend.url,
    sidecar,
    async [Symbol.asyncDispose]() {
      await sidecar.close();
      await backend[Symbol.asyncDispose]();
    },
  };
}

const answerClaims: RequestHandler = (request: Request, response) => {
  response.json(request.auth);
};

/** Express knows an error handler by its four parameters. */
const answerError: ErrorRequestHandler = (error: UnauthorizedError, _request, response, _next) => {
  response.status(error.status).send(error.message);
};
