import { createPublicKey } from "node:crypto";
import { createVerifier, type DecodedJwt } from "fast-jwt";
import createGetJwks from "get-jwks";
import { createRemoteJWKSet, jwtVerify } from "jose";
import jsonwebtoken from "jsonwebtoken";
import jwksRsa from "jwks-rsa";
import {
  allowInsecureRequests,
  discovery,
  implicitAuthentication,
  useIdTokenResponseType,
} from "openid-client";
import { expect, test } from "vitest";
import type { SigningAlgorithm } from "../../src/issuer/algorithms.ts";
import { createAwsVerifier } from "../support/aws-jwt-verify.ts";
import { startBackend } from "../support/backend.ts";
import {
  kidOf,
  passTime,
  publishedKids,
  startRotatingSidecar,
  startRotation,
  withdrawKey,
} from "../support/rotation.ts";
import { AUDIENCE } from "../support/tokens.ts";

/** Resolves where the token is accepted, with its claims. It keeps keys as its library does. */
type Verify = (token: string) => Promise<unknown>;

/** What a verifier is made from. */
interface Expected {
  readonly issuer: string;
  readonly algorithm: SigningAlgorithm;
}

interface Client {
  readonly name: string;
  readonly algorithms: readonly SigningAlgorithm[];
  /** How it says that the key of a token is not in the JWK Set. */
  readonly unknownKey: string;
  createVerify(expected: Expected): Verify | Promise<Verify>;
}

/** openid-client wants one in each ID token. */
const NONCE = "n-0S6_WzA2Mj";

const CLIENTS: readonly Client[] = [
  {
    name: "jose",
    algorithms: ["EdDSA", "RS256"],
    unknownKey: "no applicable key found in the JSON Web Key Set",
    createVerify({ issuer, algorithm }) {
      const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));
      const expected = { issuer, audience: AUDIENCE, algorithms: [algorithm] };
      return async (token) => (await jwtVerify(token, keys, expected)).payload;
    },
  },
  {
    name: "jsonwebtoken with jwks-rsa",
    algorithms: ["RS256", "ES256"],
    unknownKey: "Unable to find a signing key that matches",
    createVerify({ issuer, algorithm }) {
      const client = jwksRsa({ jwksUri: `${issuer}/.well-known/jwks.json` });
      return async (token) => {
        const key = await client.getSigningKey(kidOf(token));
        return jsonwebtoken.verify(token, key.getPublicKey(), {
          issuer,
          audience: AUDIENCE,
          algorithms: [algorithm as jsonwebtoken.Algorithm],
        });
      };
    },
  },
  {
    name: "openid-client",
    algorithms: ["EdDSA", "PS256"],
    unknownKey: "no applicable keys found",
    // As a client of the implicit flow it gets an ID token from wherever, and verifies it by itself.
    async createVerify({ issuer }) {
      const execute = [allowInsecureRequests, useIdTokenResponseType]; // http: is for this machine alone
      const configuration = await discovery(new URL(issuer), AUDIENCE, undefined, undefined, { execute });
      return (token) => {
        const redirected = new URL(`http://127.0.0.1/callback#id_token=${token}`);
        return implicitAuthentication(configuration, redirected, NONCE);
      };
    },
  },
  {
    name: "aws-jwt-verify",
    algorithms: ["EdDSA", "ES256", "RS256"],
    unknownKey: "not found in the JWKS",
    createVerify({ issuer }) {
      const verifier = createAwsVerifier(issuer);
      return (token) => verifier.verify(token);
    },
  },
  {
    name: "fast-jwt with get-jwks",
    algorithms: ["ES256"],
    unknownKey: "Cannot fetch key",
    createVerify({ issuer, algorithm }) {
      const getJwks = createGetJwks({ providerDiscovery: true });
      return createVerifier({
        async key({ header }: DecodedJwt) {
          const jwk = await getJwks.getJwk({ domain: issuer, alg: header.alg, kid: header.kid });
          return createPublicKey({ key: jwk, format: "jwk" }).export({ format: "pem", type: "spki" });
        },
        algorithms: [algorithm],
        allowedIss: issuer,
        allowedAud: AUDIENCE,
      });
    },
  },
];

const ROWS = CLIENTS.flatMap((client) => client.algorithms.map((algorithm) => ({ ...client, algorithm })));

test.each(ROWS)(
  "$name accepts tokens before, during and after a rotation of the $algorithm key",
  async ({ createVerify, algorithm }) => {
    await using service = await startRotatingService(algorithm);
    const verify = await createVerify(service);

    const before = await service.token();
    expect(await verify(before)).toMatchObject({ iss: service.issuer, aud: AUDIENCE });

    const { pendingSeconds, retiringSeconds } = await startRotation(service.sidecar);
    const [oldKid, newKid] = await publishedKids(service.sidecar);
    const during = await service.token();
    expect([kidOf(before), kidOf(during)]).toEqual([oldKid, oldKid]);
    await verify(during);

    passTime(pendingSeconds - 1);
    const last = await service.token();
    expect(kidOf(last)).toBe(oldKid);
    await verify(last);

    passTime(1);
    const first = await service.token();
    expect(kidOf(first)).toBe(newKid);
    await verify(first);
    await verify(last);
    const verifyFromNowOn = await createVerify(service);
    await verifyFromNowOn(last);
    await verifyFromNowOn(first);

    passTime(retiringSeconds);
    expect(await publishedKids(service.sidecar)).toEqual([newKid]);
    const after = await service.token();
    await verify(after);
    await verifyFromNowOn(after);
  },
);

test.each(CLIENTS)(
  "$name accepts the first token of a new key although it has slept through its publication",
  async ({ createVerify }) => {
    await using service = await startRotatingService("ES256");
    const verify = await createVerify(service);
    await verify(await service.token());

    const { pendingSeconds } = await startRotation(service.sidecar);
    passTime(pendingSeconds);
    const first = await service.token();

    expect(kidOf(first)).toBe((await publishedKids(service.sidecar))[0]);
    await verify(first);
  },
);

test.each(CLIENTS)(
  "$name that starts after a key was withdrawn refuses its tokens",
  async ({ createVerify, unknownKey }) => {
    await using service = await startRotatingService("ES256");
    const withdrawn = await service.token();
    await (await createVerify(service))(withdrawn);

    await withdrawKey(service.sidecar);
    const verify = await createVerify(service);

    await expect(verify(withdrawn)).rejects.toThrow(unknownKey);
    await verify(await service.token());
  },
);

test.each(CLIENTS)(
  "$name that has been running accepts the tokens of a key that replaced a withdrawn one within a minute",
  async ({ createVerify }) => {
    await using service = await startRotatingService("ES256");
    const verify = await createVerify(service);
    await verify(await service.token());

    await withdrawKey(service.sidecar);
    passTime(60);

    await verify(await service.token());
  },
);

/** A sidecar with a key directory, and behind it a backend that keeps what it gets. */
async function startRotatingService(algorithm: SigningAlgorithm) {
  const backend = await startBackend();
  const sidecar = await startRotatingSidecar(backend.url, {
    issuer: `algorithm: ${algorithm},`,
    yaml: `token: {audience: ${AUDIENCE}, expiresIn: 5m, additionalClaims: {nonce: ${NONCE}}}`,
  });
  return {
    sidecar,
    algorithm,
    issuer: sidecar.issuer.url,
    async token() {
      await fetch(sidecar.url);
      return backend.requests.at(-1)?.headers.authorization?.replace(/^Bearer /, "") ?? "";
    },
    async [Symbol.asyncDispose]() {
      await sidecar[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
}
