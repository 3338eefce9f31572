import { decodeProtectedHeader } from "jose";
import { beforeAll, describe, expect, test } from "vitest";
import { apiKeyEntry } from "../../support/api-keys.ts";
import {
  ACME_KEY,
  API,
  basic,
  CLIENT_CREDENTIALS,
  OPS_PASSWORD,
  startTokenEndpoint,
  type TestTokenEndpoint,
} from "../../support/token-endpoint.ts";

let endpoint: TestTokenEndpoint;

beforeAll(async () => {
  endpoint = await startTokenEndpoint({
    endpoint: `audiences: [${API}], expiresIn: 2m, additionalClaims: {plan: $user(plan), env: test}`,
  });
  return () => endpoint[Symbol.asyncDispose]();
});

const grant = { grant_type: CLIENT_CREDENTIALS };

test("a client gets an access token for itself", async () => {
  const answer = await endpoint.ask(grant, basic("acme", ACME_KEY));

  expect(answer).toMatchObject({
    status: 200,
    body: { token_type: "Bearer", expires_in: 120, scope: "orders.read orders.write" },
  });
  expect(answer.body).not.toHaveProperty("issued_token_type");
  const claims = await endpoint.claimsOf(answer);
  expect(claims).toEqual({
    iss: endpoint.sidecar.issuer.url,
    sub: "acme",
    aud: API,
    client_id: "acme",
    iat: expect.any(Number),
    exp: (claims.iat ?? 0) + 120,
    jti: expect.any(String),
    scope: "orders.read orders.write",
    plan: "gold",
    env: "test",
  });
});

test("the token says that it is an access token, and which key signed it", async () => {
  const { body } = await endpoint.ask(grant, basic("acme", ACME_KEY));
  const [key] = endpoint.sidecar.issuer.jwks().keys;
  expect(decodeProtectedHeader(String(body.access_token))).toEqual({
    alg: "EdDSA",
    kid: key?.kid,
    typ: "at+jwt",
  });
});

test("no token is given twice", async () => {
  const first = await endpoint.askAsAcme(grant);
  const second = await endpoint.askAsAcme(grant);
  expect(first.body.access_token).not.toBe(second.body.access_token);
});

test("neither a token nor an error may be kept by anybody", async () => {
  for (const { headers } of [await endpoint.askAsAcme(grant), await endpoint.ask(grant)]) {
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.get("pragma")).toBe("no-cache");
    expect(headers.get("content-type")).toBe("application/json");
  }
});

describe("a client shows its secret", () => {
  test("in the body", async () => {
    const answer = await endpoint.ask({ ...grant, client_id: "acme", client_secret: ACME_KEY });
    expect(await endpoint.claimsOf(answer)).toMatchObject({ sub: "acme" });
  });

  test("whose name is written with combining characters, on either side", async () => {
    const key = "key of the café, long enough";
    await using other = await startTokenEndpoint({
      callers: "authenticate: [more]",
      moreAuthenticators: `more: {type: apiKey, header: X-Key, keys: [${apiKeyEntry(key, "cafe\u0301")}]}`,
    });
    for (const clientId of ["cafe\u0301", "caf\u00e9"]) {
      const grant = { grant_type: CLIENT_CREDENTIALS, client_id: clientId, client_secret: key };
      expect((await other.ask(grant)).status).toBe(200);
    }
  });

  test("that is a password", async () => {
    const answer = await endpoint.ask(grant, basic("ops", OPS_PASSWORD));
    expect(answer.body).not.toHaveProperty("scope");
    expect(await endpoint.claimsOf(answer)).toMatchObject({ sub: "ops", client_id: "ops" });
  });

  test("in the Authorization field, and its name in the body too", async () => {
    const answer = await endpoint.ask({ ...grant, client_id: "acme" }, basic("acme", ACME_KEY));
    expect(answer.status).toBe(200);
  });
});

describe("invalid_client is answered, with a challenge, to a client", () => {
  test.each([
    ["that says nothing of itself", {}, {}],
    ["with a wrong secret", {}, basic("acme", "wrong")],
    ["with the secret of another client", {}, basic("ops", ACME_KEY)],
    ["with a wrong password", {}, basic("ops", "wrong")],
    ["that nobody knows", {}, basic("nobody", ACME_KEY)],
    ["with a wrong secret in the body", { client_id: "acme", client_secret: "wrong" }, {}],
    ["without the secret that it has", { client_id: "acme" }, {}],
    ["whose credential is a Bearer token", {}, { authorization: "Bearer abc" }],
    ["whose Basic credentials are not in base64", {}, { authorization: "Basic {}" }],
    [
      "whose Basic credentials have a percent sign by itself",
      {},
      { authorization: `Basic ${btoa("acme:100%")}` },
    ],
    ["with a name of 300 characters", {}, basic("a".repeat(300), ACME_KEY)],
  ])("%s", async (_, parameters, headers) => {
    const answer = await endpoint.ask({ ...grant, ...parameters }, headers as Record<string, string>);
    expect(answer).toMatchObject({ status: 401, body: { error: "invalid_client" } });
    expect(answer.headers.get("www-authenticate")).toMatch(/^Basic realm=/);
  });

  test("and the words are the same for a name that is known and one that is not", async () => {
    const known = await endpoint.ask(grant, basic("acme", "wrong"));
    const unknown = await endpoint.ask(grant, basic("who", "wrong"));
    expect(known.body).toEqual(unknown.body);
  });
});

test("unauthorized_client is answered to a client without a secret that asks for itself", async () => {
  const answer = await endpoint.ask({ ...grant, client_id: "app" });
  expect(answer).toMatchObject({ status: 400, body: { error: "unauthorized_client" } });
});

describe("unsupported_grant_type is answered to", () => {
  test.each(["authorization_code", "password", "refresh_token", "__proto__"])("%s", async (grantType) => {
    const answer = await endpoint.askAsAcme({ grant_type: grantType });
    expect(answer).toMatchObject({ status: 400, body: { error: "unsupported_grant_type" } });
  });
});

describe("invalid_request is answered to a client", () => {
  test.each([
    ["without grant_type", { grant_type: "" }, {}],
    ["with two values of grant_type", { grant_type: [CLIENT_CREDENTIALS, CLIENT_CREDENTIALS] }, {}],
    ["with two names", { client_id: "ops" }, basic("acme", ACME_KEY)],
    ["with two secrets", { client_id: "acme", client_secret: ACME_KEY }, basic("acme", ACME_KEY)],
    ["with a secret and no name", { client_secret: ACME_KEY }, {}],
  ])("%s", async (_, parameters, headers) => {
    const answer = await endpoint.ask({ ...grant, ...parameters }, headers as Record<string, string>);
    expect(answer).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });
});

describe("the scope", () => {
  test.each([
    ["one that the client has", "orders.read", "orders.read"],
    ["both, in another order", "orders.write orders.read", "orders.write orders.read"],
    ["one twice", "orders.read orders.read", "orders.read"],
  ])("is narrowed to %s", async (_, scope, granted) => {
    const answer = await endpoint.askAsAcme({ ...grant, scope });
    expect(answer.body.scope).toBe(granted);
    expect(await endpoint.claimsOf(answer)).toMatchObject({ scope: granted });
  });

  test.each([
    ["one that the client has not", "admin"],
    ["one that it has and one that it has not", "orders.read admin"],
  ])("is refused with invalid_scope: %s", async (_, scope) => {
    const answer = await endpoint.askAsAcme({ ...grant, scope });
    expect(answer).toMatchObject({ status: 400, body: { error: "invalid_scope" } });
  });

  test.each(["orders.read  orders.write", "orders.read ", 'orders.read "', "orders.read\torders.write"])(
    "is refused where it is malformed, and the client is told what it may be: %j",
    async (scope) => {
      expect((await endpoint.askAsAcme({ ...grant, scope })).body).toEqual({
        error: "invalid_scope",
        error_description: "scope is a list of words with one space between them",
      });
    },
  );

  test("is refused to a client that has none", async () => {
    const answer = await endpoint.ask({ ...grant, scope: "orders.read" }, basic("ops", OPS_PASSWORD));
    expect(answer.body.error).toBe("invalid_scope");
  });
});

describe("the target", () => {
  test.each([{ resource: API }, { audience: API }, { resource: API, audience: API }])(
    "may be %j",
    async (target) => {
      expect(await endpoint.claimsOf(await endpoint.askAsAcme({ ...grant, ...target }))).toMatchObject({
        aud: API,
      });
    },
  );

  test.each([
    ["one that is not allowed", { resource: "https://other.example.com" }],
    ["an audience that is not allowed", { audience: "other" }],
    ["an allowed one and another", { resource: [API, "https://other.example.com"] }],
    ["an allowed one in another spelling", { resource: `${API}/` }],
  ])("is refused with invalid_target: %s", async (_, target) => {
    const answer = await endpoint.askAsAcme({ ...grant, ...target });
    expect(answer).toMatchObject({ status: 400, body: { error: "invalid_target" } });
  });

  test.each(["billing", `${API}#part`])(
    "may be the audience %s, and not the resource, which is a URI without a fragment",
    async (name) => {
      await using other = await startTokenEndpoint({ endpoint: `audiences: ["${name}"]` });
      expect((await other.askAsAcme({ ...grant, audience: name })).status).toBe(200);
      expect(await other.askAsAcme({ ...grant, resource: name })).toMatchObject({
        status: 400,
        body: { error: "invalid_target" },
      });
    },
  );

  test("has to be named where there are several, and only that one is in the token", async () => {
    await using several = await startTokenEndpoint({ endpoint: `audiences: [${API}, "urn:billing"]` });
    expect(await several.askAsAcme(grant)).toMatchObject({ body: { error: "invalid_target" } });
    expect(await several.askAsAcme({ ...grant, resource: [API, "urn:billing"] })).toMatchObject({
      body: { error: "invalid_target" },
    });
    expect(await several.claimsOf(await several.askAsAcme({ ...grant, audience: API }))).toMatchObject({
      aud: API,
    });
  });
});
