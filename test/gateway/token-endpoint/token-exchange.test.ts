import { decodeJwt } from "jose";
import { beforeAll, describe, expect, test } from "vitest";
import { MAX_ACTORS } from "../../../src/policy/actor.ts";
import {
  generateTestKeyPair,
  startIdentityProvider,
  type TestIdentityProvider,
} from "../../support/identity-provider.ts";
import { keptLog } from "../../support/log.ts";
import {
  API,
  BATCH_KEY,
  basic,
  CLIENT_CREDENTIALS,
  JWT_TYPE,
  startTokenEndpoint,
  type TestTokenEndpoint,
  TOKEN_EXCHANGE,
} from "../../support/token-endpoint.ts";

const ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:id_token";

const now = Date.now();
let endpoint: TestTokenEndpoint;

beforeAll(async () => {
  endpoint = await startTokenEndpoint({
    endpoint: `audiences: [${API}], additionalClaims: {tenant: $user(tenant)}`,
    now: () => now,
  });
  return () => endpoint[Symbol.asyncDispose]();
});

test("a client exchanges a user's token, and the new one says for whom it acts", async () => {
  const answer = await endpoint.exchange({ sub: "alice", tenant: "north", scope: "orders.read openid" });

  expect(answer).toMatchObject({
    status: 200,
    body: {
      issued_token_type: ACCESS_TOKEN_TYPE,
      token_type: "Bearer",
      expires_in: 300,
      scope: "orders.read",
    },
  });
  expect(await endpoint.claimsOf(answer)).toEqual({
    iss: endpoint.sidecar.issuer.url,
    sub: "alice",
    aud: API,
    client_id: "acme",
    act: { sub: "acme" },
    scope: "orders.read",
    tenant: "north",
    iat: expect.any(Number),
    exp: expect.any(Number),
    jti: expect.any(String),
  });
});

test.each([ACCESS_TOKEN_TYPE, JWT_TYPE, ID_TOKEN_TYPE])("a subject token may be called %s", async (type) => {
  expect(await endpoint.exchange({}, { subject_token_type: type })).toMatchObject({ status: 200 });
});

test("the answer has the type that was asked for", async () => {
  const answer = await endpoint.exchange({}, { requested_token_type: JWT_TYPE });
  expect(answer.body.issued_token_type).toBe(JWT_TYPE);
});

describe("the scope", () => {
  test("is what the client and the user both have", async () => {
    const answer = await endpoint.exchange({ scp: ["orders.read", "admin"] });
    expect(answer.body.scope).toBe("orders.read");
  });

  test("is what the client and the user both have, where the client's are a list", async () => {
    const client = { client_id: "batch", client_secret: BATCH_KEY };
    const answer = await endpoint.exchange({ scope: "orders.read admin" }, client);
    expect(answer.body.scope).toBe("orders.read");
  });

  test("is what the user has where the client has no scopes of its own", async () => {
    const subjectToken = await endpoint.provider.sign({ scope: "admin" });
    const answer = await endpoint.ask({
      grant_type: TOKEN_EXCHANGE,
      client_id: "app",
      subject_token: subjectToken,
      subject_token_type: JWT_TYPE,
    });
    expect(answer.body.scope).toBe("admin");
  });

  test.each([
    ["a list with an entry that would become two scopes", { scp: ["orders.read admin", "openid"] }, "openid"],
    ["an entry that no scope can be", { scope: ["\u0000", '"', "", "openid"] }, "openid"],
    ["a text with too many spaces", { scope: " openid  email " }, "openid email"],
    ["an empty text", { scope: "" }, undefined],
  ])("is made of words alone: %s", async (_, claims, scope) => {
    const answer = await endpoint.ask({
      grant_type: TOKEN_EXCHANGE,
      client_id: "app",
      subject_token: await endpoint.provider.sign(claims),
      subject_token_type: JWT_TYPE,
    });
    expect(answer.body.scope).toBe(scope);
    expect((await endpoint.claimsOf(answer)).scope).toBe(scope);
  });

  test.each(["admin", "orders.write"])("does not become wider: %s is refused", async (scope) => {
    const answer = await endpoint.exchange({ scope: "orders.read admin" }, { scope });
    expect(answer).toMatchObject({ status: 400, body: { error: "invalid_scope" } });
  });
});

test("a token does not outlive the one that it was exchanged for", async () => {
  const exp = Math.floor(now / 1000) + 42;
  const answer = await endpoint.exchange({ exp });
  expect(answer.body.expires_in).toBe(42);
  expect(await endpoint.claimsOf(answer)).toMatchObject({ exp });
});

test("a token does not outlive it however late it is signed", async () => {
  // Whoever looks at the clock again finds the next second.
  let time = now;
  await using other = await startTokenEndpoint({ now: () => (time += 1000) });
  const exp = Math.floor(now / 1000) + 200;
  const { body } = await other.exchange({ exp });
  expect(decodeJwt(String(body.access_token)).exp).toBe(exp);
});

test("a token that is only good by the allowance for clocks is not exchanged", async () => {
  const answer = await endpoint.exchange({ exp: Math.floor(now / 1000) - 1 });
  expect(answer).toMatchObject({
    status: 400,
    body: { error: "invalid_request", error_description: "the subject_token has expired" },
  });
});

describe("who acts", () => {
  test("is the holder of the actor token, named with its issuer", async () => {
    const answer = await endpoint.exchange(
      { sub: "alice" },
      { actor_token: await endpoint.provider.sign({ sub: "agent" }), actor_token_type: JWT_TYPE },
    );
    expect(await endpoint.claimsOf(answer)).toMatchObject({
      sub: "alice",
      client_id: "acme",
      act: { sub: "agent", iss: endpoint.provider.url },
    });
  });

  test("is nobody whose token this issuer has made, as its subject may be anybody's", async () => {
    // Nobody has to answer at the URL: the keys of an issuer's own tokens are at hand.
    const issuer = "http://127.0.0.1:9/__issuer";
    await using other = await startTokenEndpoint({
      callers: "authenticate: [partners, own, login]",
      moreAuthenticators: `own: {type: jwt, issuer: "${issuer}", audience: ${API}, algorithms: [EdDSA]}`,
      yaml: `issuer: {url: "${issuer}", keys: {ephemeral: true}}`,
    });
    const own = await other.sidecar.issuer.signJwt({ subject: "acme", audience: API });
    const answer = await other.exchange(
      { may_act: { sub: "acme", iss: issuer } },
      { actor_token: own, actor_token_type: JWT_TYPE },
    );
    expect(answer).toMatchObject({
      status: 400,
      body: { error: "invalid_request", error_description: "the actor_token is one of this issuer" },
    });
  });

  test("stands around those who acted before, and of them nothing but sub and iss is kept", async () => {
    const act = { sub: "gateway", iss: "https://edge", note: "x", act: { sub: "edge" } };
    const answer = await endpoint.exchange({ act });
    expect((await endpoint.claimsOf(answer)).act).toEqual({
      sub: "acme",
      act: { sub: "gateway", iss: "https://edge", act: { sub: "edge" } },
    });
  });

  test("is nobody new where the client has not proved who it is", async () => {
    const ask = async (claims: object) =>
      endpoint.claimsOf(
        await endpoint.ask({
          grant_type: TOKEN_EXCHANGE,
          client_id: "app",
          subject_token: await endpoint.provider.sign({ ...claims }),
          subject_token_type: JWT_TYPE,
        }),
      );
    expect(await ask({})).toMatchObject({ client_id: "app" });
    expect(await ask({})).not.toHaveProperty("act");
    expect(await ask({ act: { sub: "edge" } })).toMatchObject({ act: { sub: "edge" } });
  });

  test.each([
    ["names the client", { sub: "acme" }, 200],
    ["names the client of this issuer", () => ({ sub: "acme", iss: endpoint.sidecar.issuer.url }), 200],
    ["names another", { sub: "other" }, 400],
    ["names a client of another issuer", { sub: "acme", iss: "https://other" }, 400],
    ["names nobody", {}, 400],
    ["has a member that cannot be compared", { sub: "acme", email: "a@example.com" }, 400],
    ["is no object", "acme", 400],
  ])("is allowed by may_act that %s: %o is %i", async (_, mayAct, status) => {
    const claim = typeof mayAct === "function" ? mayAct() : mayAct;
    const answer = await endpoint.exchange({ may_act: claim });
    expect(answer.status).toBe(status);
    if (status === 400) expect(answer.body.error).toBe("invalid_request");
  });

  test("is not a client of this issuer where the user's own issuer says so", async () => {
    const answer = await endpoint.ask({
      grant_type: TOKEN_EXCHANGE,
      client_id: "app",
      subject_token: await endpoint.provider.sign({ act: { sub: "acme" } }),
      subject_token_type: JWT_TYPE,
    });
    expect((await endpoint.claimsOf(answer)).act).toEqual({ sub: "acme", iss: endpoint.provider.url });
  });

  test("is not somebody of a third issuer whom may_act names by sub alone", async () => {
    await using third = await startIdentityProvider({ now: () => now });
    await using other = await startTokenEndpoint({
      callers: "authenticate: [third, login], publicClients: [app]",
      moreAuthenticators: `third: {type: jwt, issuer: "${third.url}", audience: orders, algorithms: [ES256]}`,
      now: () => now,
    });
    const ask = async (mayAct: object, actor: TestIdentityProvider) =>
      other.ask({
        grant_type: TOKEN_EXCHANGE,
        client_id: "app",
        subject_token: await other.provider.sign({ may_act: mayAct }),
        subject_token_type: JWT_TYPE,
        actor_token: await actor.sign({ sub: "agent" }),
        actor_token_type: JWT_TYPE,
      });
    expect(await ask({ sub: "agent" }, other.provider)).toMatchObject({ status: 200 });
    expect(await ask({ sub: "agent" }, third)).toMatchObject({ status: 400 });
    expect(await ask({ sub: "agent", iss: third.url }, third)).toMatchObject({ status: 200 });
  });

  test("is not a client without a secret, where may_act says who may", async () => {
    const answer = await endpoint.ask({
      grant_type: TOKEN_EXCHANGE,
      client_id: "app",
      subject_token: await endpoint.provider.sign({ may_act: { sub: "app" } }),
      subject_token_type: JWT_TYPE,
    });
    expect(answer).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });

  test.each([
    ["a text", "edge"],
    ["a list", [{ sub: "edge" }]],
    ["one without sub", { iss: "https://edge" }],
    ["one whose inner one is malformed", { sub: "edge", act: { sub: 1 } }],
    ["more than there may be", chainOf(MAX_ACTORS)],
  ])("is not known from a malformed act: %s", async (_, act) => {
    expect(await endpoint.exchange({ act })).toMatchObject({
      status: 400,
      body: { error: "invalid_request" },
    });
  });
});

/** An `act` claim of this many actors. */
function chainOf(count: number): object {
  return { sub: `hop-${count}`, ...(count > 1 && { act: chainOf(count - 1) }) };
}

describe("invalid_request is answered where", () => {
  test.each([
    ["there is no subject token", { subject_token: "" }],
    ["the type of the subject token is missing", { subject_token_type: "" }],
    ["the type is not that of a JWT", { subject_token_type: "urn:ietf:params:oauth:token-type:saml2" }],
    ["the subject token is none", { subject_token: "abc" }],
    ["two subject tokens are there", { subject_token: ["a", "b"] }],
    ["an actor token has no type", { actor_token: "abc" }],
    ["there is a type without an actor token", { actor_token_type: JWT_TYPE }],
    ["the actor token is none", { actor_token: "abc", actor_token_type: JWT_TYPE }],
    ["another type is wanted", { requested_token_type: "urn:ietf:params:oauth:token-type:refresh_token" }],
  ])("%s", async (_, parameters) => {
    const answer = await endpoint.exchange({}, parameters);
    expect(answer).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });

  test.each([
    ["has expired", { exp: 1_000_000_000 }],
    ["is for another audience", { aud: "billing" }],
    ["has no subject", { sub: "" }],
    ["never ends", { exp: undefined }],
    ["is of another issuer", { iss: "https://other.example.com" }],
  ])("the subject token %s", async (_, claims) => {
    expect(await endpoint.exchange(claims)).toMatchObject({
      status: 400,
      body: { error: "invalid_request" },
    });
  });

  test("the subject token, or that of the actor, is forged", async () => {
    const forged = await endpoint.provider.sign({}, {}, { ...generateTestKeyPair("key-1", "ES256") });
    for (const parameters of [{ subject_token: forged }, { actor_token: forged, actor_token_type: JWT_TYPE }])
      expect(await endpoint.exchange({}, parameters)).toMatchObject({
        status: 400,
        body: { error: "invalid_request" },
      });
  });
});

test.each([
  ["a wrong secret", basic("acme", "wrong")],
  ["no client", {}],
  ["a name that is not listed", { client_id: "other" }],
])("a token is not exchanged for %s", async (_, client) => {
  const isField = "authorization" in client;
  const parameters = {
    grant_type: TOKEN_EXCHANGE,
    subject_token: await endpoint.provider.sign(),
    subject_token_type: JWT_TYPE,
    ...(isField ? {} : client),
  };
  const answer = await endpoint.ask(
    parameters,
    isField ? { authorization: String(client.authorization) } : {},
  );
  expect(answer).toMatchObject({ status: 401, body: { error: "invalid_client" } });
});

test("where the provider's keys cannot be had the client may try again, and the operator is told", async () => {
  await using other = await startTokenEndpoint();
  await other.provider.takeDown();
  const answer = await other.exchange();
  expect(answer).toMatchObject({ status: 503, body: { error: "temporarily_unavailable" } });
  expect(other.sidecar.failures).toEqual([
    expect.objectContaining({ code: "ERR_AUTHENTICATION_UNAVAILABLE" }),
  ]);
});

test("a token that would be too large is refused", async () => {
  const answer = await endpoint.exchange({ tenant: "x".repeat(9000) });
  expect(answer).toMatchObject({ status: 400, body: { error: "invalid_request" } });
});

test("the log says which client asked for a token, as it says whom it is about", async () => {
  const kept = keptLog({ subject: "plain" });
  await using other = await startTokenEndpoint({ onRequestEnd: (record) => kept.log.request(record) });
  await other.exchange({ sub: "alice" });
  await other.exchange({ sub: "alice" }, { scope: "admin" });
  await other.exchange({}, { client_id: "app", client_secret: "" });
  await other.askAsAcme({ grant_type: CLIENT_CREDENTIALS });
  // Whoever says its name alone is nobody yet.
  await other.exchange({}, { client_secret: "wrong" });
  const ofEndpoint = () => kept.objects().filter(({ path }) => path === "/__issuer/token");
  await expect
    .poll(ofEndpoint)
    .toMatchObject([
      { status: 200, authenticator: "login", subject: "alice", oauthClient: "acme" },
      { status: 400, authenticator: "login", subject: "alice", oauthClient: "acme" },
      { status: 200, authenticator: "login", subject: "caller", oauthClient: "app" },
      { status: 200, authenticator: "partners", subject: "acme", oauthClient: "acme" },
      { status: 401 },
    ]);
  expect(ofEndpoint().at(-1)).not.toHaveProperty("oauthClient");
});
