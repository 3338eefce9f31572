import { createHmac, sign } from "node:crypto";
import { decodeJwt, exportSPKI } from "jose";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { createTestClock } from "../support/caller.ts";
import { generateTestKeyPair, publicJwkOf, startIdentityProvider } from "../support/identity-provider.ts";
import { startRawBackend } from "../support/raw-backend.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

const clock = createTestClock();
const NOW = clock.now() / 1000;
const login = await startIdentityProvider({ algorithm: "RS256", now: clock.now });
const attacker = generateTestKeyPair("key-1", "RS256");
const fetched: string[] = [];
const attackersServer = await startBackend(async (request, response) => {
  fetched.push(String(request.url));
  response.end(JSON.stringify({ keys: [await publicJwkOf(attacker)] }));
});
const backend = await startRawBackend();
const sidecar = await startSidecar(backend.url, {
  now: clock.now,
  yaml: `
authenticators:
  login: {type: jwt, issuer: "${login.url}", audience: orders, algorithms: [RS256, ES256]}
  strict: {type: jwt, issuer: "${login.url}", audience: orders, algorithms: [RS256], typ: at+jwt}
policies:
  - {name: strict, match: {path: /strict}, authenticate: [strict, anonymous]}
  - {name: alone, match: {path: /alone}, authenticate: [login]}
  - {name: no-token, match: {path: /no-token}, authenticate: [login, anonymous], token: none}
  - {name: rest, authenticate: [login, anonymous]}
`,
});
let forwardedBefore = 0;
beforeEach(() => {
  forwardedBefore = backend.requestLines().length;
});

afterAll(async () => {
  await sidecar.close();
  for (const server of [backend, attackersServer, login]) await server[Symbol.asyncDispose]();
});

/** Sends a token; gives the answer. */
const send = (token: string, path = "/", method = "GET") =>
  sendRaw(
    sidecar.port,
    `${method} ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`,
  );

const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
const claims = { iss: login.url, sub: "admin", aud: "orders", exp: NOW + 300 };
const [, , goodSignature] = (await login.sign()).split(".");
const publicKey = await exportSPKI(login.key().publicKey);

function withHs256(secret: string): string {
  const signed = `${encoded({ alg: "HS256", kid: "key-1" })}.${encoded(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** Rightly signed, with an extension that nobody knows (RFC 7515 §4.1.11). */
function withCritical(name: string): string {
  const header = { alg: "RS256", kid: "key-1", crit: [name], [name]: true };
  const signed = `${encoded(header)}.${encoded(claims)}`;
  return `${signed}.${sign("sha256", Buffer.from(signed), login.key().privateKey).toString("base64url")}`;
}

const FORGERIES: Readonly<Record<string, string>> = {
  "alg none, without a signature": `${encoded({ alg: "none" })}.${encoded(claims)}.`,
  "alg none, with a signature": `${encoded({ alg: "none", kid: "key-1" })}.${encoded(claims)}.${goodSignature}`,
  "alg nOnE": `${encoded({ alg: "nOnE", kid: "key-1" })}.${encoded(claims)}.AA`,
  "HS256 with the public key": withHs256(publicKey),
  "HS256 with the public key, trimmed": withHs256(publicKey.trim()),
  "HS256 with the JWK": withHs256(JSON.stringify(await publicJwkOf(login.key()))),
  "other claims under a good signature": `${encoded({ alg: "RS256", kid: "key-1" })}.${encoded(claims)}.${goodSignature}`,
  "a key of the attacker's": await login.sign(claims, {}, attacker),
  "a key of the attacker's, without a kid": await login.sign(claims, { kid: undefined }, attacker),
  jku: await login.sign(claims, { kid: "evil", jku: `${attackersServer.url}/jku` }, attacker),
  x5u: await login.sign(claims, { x5u: `${attackersServer.url}/x5u` }, attacker),
  jwk: await login.sign(claims, { jwk: await publicJwkOf(attacker) }, attacker),
  "an extension that is critical": withCritical("urn:example:bound"),
  "a kid that is a path": await login.sign(claims, { kid: "../../../../dev/null" }),
  "of the type of a logout token": await login.sign(claims, { typ: "logout+jwt" }),
  "of the type of a DPoP proof": await login.sign(claims, { typ: "dpop+jwt" }),
  expired: await login.sign({ exp: NOW - 61 }),
  "not valid yet": await login.sign({ nbf: NOW + 61 }),
  "without an end": await login.sign({ exp: undefined }),
  "with an end that is a text": await login.sign({ exp: String(NOW + 300) }),
  "for another audience": await login.sign({ aud: "billing" }),
  "without an audience": await login.sign({ aud: undefined }),
  "without an issuer": await login.sign({ iss: undefined }),
  encrypted: "e30.e30.e30.e30.e30",
};

describe("a JWT that is not good is refused, and its bearer is not anonymous either (RFC 8725)", () => {
  test.each(Object.entries(FORGERIES))("%s", async (_title, token) => {
    for (const path of ["/", "/alone", "/no-token"])
      for (const method of ["GET", "OPTIONS"]) {
        const answer = await send(token, path, method);
        expect(statusesOf(answer)).toEqual([401]);
        expect(answer).toContain("ERR_CREDENTIAL_INVALID");
        expect(answer).toMatch(/^www-authenticate: Bearer realm="countersign", error="invalid_token"/im);
        for (const part of token.split(".").filter(({ length }) => length > 8))
          expect(answer).not.toContain(part);
      }
    expect(backend.requestLines()).toHaveLength(forwardedBefore);
  });

  test("no token makes the sidecar ask its own server for keys", () => {
    expect(fetched).toEqual([]);
  });
});

test("a policy that wants one type of token takes no other", async () => {
  for (const typ of [undefined, "JWT", "id+jwt", "at+jwt2"])
    expect(statusesOf(await send(await login.sign({}, { typ }), "/strict"))).toEqual([401]);
  expect(backend.requestLines()).toHaveLength(forwardedBefore);
  for (const typ of ["at+jwt", "application/AT+JWT"])
    expect(statusesOf(await send(await login.sign({}, { typ }), "/strict"))).toEqual([200]);
});

test("a good JWT comes through, and of it nothing but what the policy says", async () => {
  const token = await login.sign({ sub: "dave", role: "root", email: "dave@example.com" });
  expect(statusesOf(await send(token, "/alone"))).toEqual([200]);
  const received = backend.received();
  expect(received).not.toContain(token.split(".")[2]);
  const [, own = ""] =
    /^authorization: Bearer (\S+)\r$/im.exec(received.slice(received.lastIndexOf("GET "))) ?? [];
  expect(decodeJwt(own)).toEqual({
    iss: sidecar.issuer.url,
    sub: "dave",
    aud: "http://a/alone",
    iat: NOW,
    exp: NOW + 300,
  });
});

test("a signature of other bytes for the same numbers is not taken from memory", async () => {
  const token = await login.sign();
  expect(statusesOf(await send(token))).toEqual([200]);
  for (const other of [
    `${token}=`,
    `${token}A`,
    token.slice(0, -1),
    token.replace(/.$/, (last) => (last === "A" ? "B" : "A")),
  ])
    expect(statusesOf(await send(other))).toEqual([401]);
});
