import { createHmac, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import { decodeProtectedHeader, type JSONWebKeySet, type JWTPayload } from "jose";
import { expect } from "vitest";
import type { RunningExample } from "./example.ts";
import { AUDIENCE, withPayloadByteChanged } from "./tokens.ts";

/** Claims that a request through the sidecar is answered, by a backend which read the claims of its token. */
export async function expectRequestIsAnswered({ sidecar }: RunningExample): Promise<void> {
  const response = await sidecar.request();
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({
    hello: "api-gateway",
    claims: { iss: sidecar.issuer.url, aud: AUDIENCE },
  });
}

/** Claims that every request is answered 401 which did not come through the sidecar, or not with the right token. */
export async function expectOthersAreRefused({ sidecar, url }: RunningExample): Promise<void> {
  const token = await sidecar.issuer.signJwt({
    subject: "api-gateway",
    audience: AUDIENCE,
    expiresIn: 60,
  });
  const direct = (headers: Record<string, string>) => fetch(`${url}/orders`, { headers });
  const answers = {
    // The token is right, so that what is wrong with the others is what the backend refuses.
    "direct, with the token": await direct({ authorization: `Bearer ${token}` }),
    "direct, without a token": await direct({}),
    "direct, with something else": await direct({ authorization: "Bearer something-else" }),
    "direct, with a changed token": await direct({
      authorization: `Bearer ${withPayloadByteChanged(token)}`,
    }),
    "for another audience": await sidecar.request("for another audience"),
    "of another issuer": await sidecar.request("of another issuer"),
    "that expired": await sidecar.request("that expired"),
  };
  const statuses = Object.entries(answers).map(([name, { status }]) => [name, status]);
  expect(Object.fromEntries(statuses)).toEqual({
    "direct, with the token": 200,
    "direct, without a token": 401,
    "direct, with something else": 401,
    "direct, with a changed token": 401,
    "for another audience": 401,
    "of another issuer": 401,
    "that expired": 401,
  });
}

/**
 * Claims that tokens are refused which the sidecar's key signed, and which lack something or are not yet valid.
 *
 * @param differences what a program is known to do otherwise, and its page says
 */
export async function expectIncompleteTokensAreRefused(
  { sidecar, url }: RunningExample,
  differences: Readonly<Record<string, number>> = {},
): Promise<void> {
  const now = Math.floor(Date.now() / 1000);
  const whole = { iss: sidecar.issuer.url, sub: "api-gateway", aud: AUDIENCE, iat: now, exp: now + 60 };
  const without = (claim: keyof typeof whole): JWTPayload =>
    Object.fromEntries(Object.entries(whole).filter(([name]) => name !== claim));
  const claims: Readonly<Record<string, JWTPayload>> = {
    whole,
    "for several, this one among them": { ...whole, aud: ["https://billing.internal", AUDIENCE] },
    "10 seconds too old": { ...whole, iat: now - 70, exp: now - 10 },
    "without iss": without("iss"),
    "without sub": without("sub"),
    "without aud": without("aud"),
    "without exp": without("exp"),
    "for several others": { ...whole, aud: ["https://billing.internal", `${AUDIENCE}.example`] },
    "for one that begins like this one": { ...whole, aud: `${AUDIENCE}.example` },
    "not yet valid": { ...whole, nbf: now + 600 },
    "60 seconds too old": { ...whole, iat: now - 360, exp: now - 60 },
  };
  const statuses = Object.entries(claims).map(async ([name, content]) => {
    const headers = { authorization: `Bearer ${await sidecar.sign(content)}` };
    return [name, (await fetch(`${url}/orders`, { headers })).status] as const;
  });
  expect(Object.fromEntries(await Promise.all(statuses))).toEqual({
    ...Object.fromEntries(Object.keys(claims).map((name) => [name, 401])),
    whole: 200,
    "for several, this one among them": 200,
    "10 seconds too old": 200,
    ...differences,
  });
}

/** Claims that the backend refuses even a right token, as its algorithm is not on the backend's list. */
export async function expectAlgorithmIsRefused({ sidecar }: RunningExample): Promise<void> {
  expect((await sidecar.request()).status).toBe(401);
}

/**
 * Claims that tokens with the right claims are refused which nobody signed, or somebody else.
 *
 * @param secrets what an HMAC could be made with, beside the public key
 */
export async function expectForgeriesAreRefused(
  { sidecar, url }: RunningExample,
  secrets: readonly string[] = [],
): Promise<void> {
  const genuine = await sidecar.issuer.signJwt({
    subject: "api-gateway",
    audience: AUDIENCE,
    expiresIn: 60,
  });
  const { kid, alg } = decodeProtectedHeader(genuine);
  const [, payload] = genuine.split(".");
  const response = await fetch(`${sidecar.issuer.url}/.well-known/jwks.json`);
  const { keys } = (await response.json()) as JSONWebKeySet;
  const publicKey = createPublicKey({ key: keys[0] ?? {}, format: "jwk" });
  const pem = publicKey.export({ type: "spki", format: "pem" }) as string;
  const forged = (header: object, signature: (signed: string) => string) => {
    const signed = `${encode({ typ: "JWT", ...header })}.${payload}`;
    return `${signed}.${signature(signed)}`;
  };
  const hmac = (secret: string | Buffer) =>
    forged({ alg: "HS256", kid }, (signed) =>
      createHmac("sha256", secret).update(signed).digest("base64url"),
    );
  const other = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const byOther = (signed: string) =>
    sign("sha256", Buffer.from(signed), { key: other.privateKey, dsaEncoding: "ieee-p1363" }).toString(
      "base64url",
    );
  const tokens = {
    "without a signature": forged({ alg: "none", kid }, () => ""),
    "with another's signature": forged({ alg, kid }, byOther),
    "with the key that it brings along": forged(
      { alg: "ES256", jwk: other.publicKey.export({ format: "jwk" }) },
      byOther,
    ),
    "with the public key in PEM as a secret": hmac(pem),
    "with the public key in DER as a secret": hmac(publicKey.export({ type: "spki", format: "der" })),
    ...Object.fromEntries(secrets.map((secret) => [`with ${secret} as a secret`, hmac(secret)])),
  };
  const statuses = Object.entries(tokens).map(async ([name, token]) => {
    const { status } = await fetch(`${url}/orders`, { headers: { authorization: `Bearer ${token}` } });
    return [name, status] as const;
  });
  expect(Object.fromEntries(await Promise.all(statuses))).toEqual(
    Object.fromEntries(Object.keys(tokens).map((name) => [name, 401])),
  );
}

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString("base64url");
}
