import { CompactSign } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JwtOptions } from "../../../src/policy/authenticators/options.ts";
import { callerRequest, callerWith, createTestClock, openTestJwt } from "../../support/caller.ts";
import {
  startIdentityProvider,
  TEST_AUDIENCE,
  type TestClaims,
  type TestIdentityProvider,
} from "../../support/identity-provider.ts";

const clock = createTestClock();
const NOW = clock.now() / 1000;
let provider: TestIdentityProvider;

beforeAll(async () => {
  provider = await startIdentityProvider({ now: clock.now });
});
afterAll(() => provider[Symbol.asyncDispose]());

const open = (options?: Partial<JwtOptions>) => openTestJwt(provider.url, clock, options);

/** What an authenticator says of a token with these claims and header. */
async function outcomeOf(
  claims: TestClaims,
  header: Readonly<Record<string, unknown>> = {},
  options?: Partial<JwtOptions>,
) {
  using login = await open(options);
  return await login.ask(await provider.sign(claims, header));
}

test("a good token says who is calling, and its payload is what is known of them", async () => {
  const claims = { sub: "ada", scope: "orders.read", groups: ["a", "b"], address: { country: "DE" } };

  const outcome = await outcomeOf(claims);

  expect(outcome).toEqual({
    kind: "user",
    user: {
      sub: "ada",
      claims: { ...claims, iss: provider.url, aud: TEST_AUDIENCE, iat: NOW, exp: NOW + 300 },
    },
  });
});

test("a request without a token is not this authenticator's", async () => {
  using login = await open();
  expect(login.authenticator.authenticate(callerRequest())).toMatchObject({ kind: "not-mine" });
  expect(login.authenticator.authenticate(callerRequest({ Authorization: "Basic YTpi" }))).toMatchObject({
    kind: "not-mine",
  });
});

test("a JWT of another issuer is not this authenticator's, and no key is looked for", async () => {
  await using other = await startIdentityProvider({ now: clock.now });
  using login = await open();
  const outcome = login.authenticator.authenticate(callerWith(await other.sign()));
  expect(outcome).toEqual({ kind: "not-mine", reason: "it is a JWT of another issuer" });
  expect(other.requests).toEqual([]);
});

test.each([
  ["a slash more", (url: string) => `${url}/`],
  ["a longer host", (url: string) => `${url}.attacker.example`],
  ["a path", (url: string) => `${url}/tenant`],
  ["a part of it", (url: string) => url.slice(0, -1)],
  ["upper case", (url: string) => url.toUpperCase()],
  ["a space before", (url: string) => ` ${url}`],
])("an iss with %s is another issuer", async (_what, change) => {
  expect(await outcomeOf({ iss: change(provider.url) })).toMatchObject({ kind: "not-mine" });
});

test.each([[undefined], [42], [["https://login.example.com"]], [null], [{}]])(
  "a token whose iss is %j is refused",
  async (iss) => {
    expect(await outcomeOf({ iss })).toEqual({ kind: "invalid", reason: "the token has no claim iss" });
  },
);

const EXPIRED = "the token has expired";
const TOO_EARLY = "the token is not valid yet";
const ANOTHER_AUDIENCE = "the token is for another audience";

test.each<[string, TestClaims, string]>([
  ["that has expired by more than the skew", { exp: NOW - 60 }, EXPIRED],
  ["that expired long ago", { exp: 0 }, EXPIRED],
  ["without exp", { exp: undefined }, "the token has no claim exp"],
  ["whose exp is a string", { exp: String(NOW + 300) }, "the claim exp of the token is not a NumericDate"],
  ["whose exp is null", { exp: null }, "the claim exp of the token is not a NumericDate"],
  ["that is not valid yet", { nbf: NOW + 61 }, TOO_EARLY],
  ["whose nbf is a string", { nbf: "now" }, "the claim nbf of the token is not a NumericDate"],
  ["whose iat is a string", { iat: "now" }, "the claim iat of the token is not a NumericDate"],
  ["for another audience", { aud: "billing" }, ANOTHER_AUDIENCE],
  ["for other audiences", { aud: ["billing", "orders2"] }, ANOTHER_AUDIENCE],
  ["without aud", { aud: undefined }, "the token has no claim aud"],
  ["for nobody", { aud: [] }, ANOTHER_AUDIENCE],
  ["whose aud is a map", { aud: { orders: true } }, ANOTHER_AUDIENCE],
  ["whose aud holds a list", { aud: [["orders"]] }, ANOTHER_AUDIENCE],
])("a token %s is refused, with the reason", async (_what, claims, reason) => {
  expect(await outcomeOf(claims)).toEqual({ kind: "invalid", reason });
});

test.each<[string, TestClaims]>([
  ["expired within the skew", { exp: NOW - 59 }],
  ["is valid from a moment within the skew on", { nbf: NOW + 60 }],
  ["has the audience among others", { aud: ["billing", TEST_AUDIENCE] }],
  // RFC 7519 §4.1.6: iat tells the age; from when a token is valid is for nbf to say.
  ["was issued by a clock that is fast", { iat: NOW + 3600 }],
])("a token that %s is good", async (_what, claims) => {
  expect(await outcomeOf(claims)).toMatchObject({ kind: "user" });
});

test("an exp so large that it becomes Infinity is refused", async () => {
  const endless = JSON.stringify({ iss: provider.url, sub: "ada", aud: TEST_AUDIENCE, exp: 0 });
  using login = await open();
  const token = await signText(endless.replace('"exp":0', '"exp":1e999'));
  expect(await login.ask(token)).toMatchObject({ kind: "invalid" });
});

test("of a claim that stands there twice the last counts, for the issuer as for all", async () => {
  const { url } = provider;
  using login = await open();
  const rest = `"sub":"ada","aud":"${TEST_AUDIENCE}","exp":${NOW + 300}`;
  const mine = await signText(`{"iss":"https://attacker.example","iss":"${url}",${rest}}`);
  const another = await signText(`{"iss":"${url}","iss":"https://attacker.example",${rest}}`);
  expect(await login.ask(mine)).toMatchObject({ kind: "user" });
  expect(await login.ask(another)).toMatchObject({ kind: "not-mine" });
});

test("any of several audiences will do", async () => {
  const options = { audiences: ["orders-v1", "orders-v2"] };
  expect(await outcomeOf({ aud: "orders-v2" }, {}, options)).toMatchObject({ kind: "user" });
  expect(await outcomeOf({ aud: "orders" }, {}, options)).toMatchObject({ kind: "invalid" });
});

test("without a skew a token ends when its exp says", async () => {
  const options = { clockSkewSeconds: 0 };
  expect(await outcomeOf({ exp: NOW }, {}, options)).toMatchObject({ kind: "invalid" });
  expect(await outcomeOf({ exp: NOW + 1 }, {}, options)).toMatchObject({ kind: "user" });
});

test("claims that are required must be there", async () => {
  const options = { requiredClaims: ["tenant"] };
  expect(await outcomeOf({}, {}, options)).toEqual({
    kind: "invalid",
    reason: "the token has no claim tenant",
  });
  expect(await outcomeOf({ tenant: "acme" }, {}, options)).toMatchObject({ kind: "user" });
});

test.each([undefined, "JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT"])(
  "a token of the typ %s is taken",
  async (typ) => {
    expect(await outcomeOf({}, { typ })).toMatchObject({ kind: "user" });
  },
);

test.each([
  "logout+jwt",
  "dpop+jwt",
  "secevent+jwt",
  "application/logout+jwt",
  "JOSE",
  "",
  " JWT",
  1,
  null,
  ["JWT"],
])("a token of the typ %j is for something else, and refused", async (typ) => {
  expect(await outcomeOf({}, { typ })).toEqual({ kind: "invalid", reason: "the token is of another type" });
});

test("where a typ is wanted, a token must have it", async () => {
  const options = { typ: "application/AT+jwt" };
  expect(await outcomeOf({}, { typ: "at+jwt" }, options)).toMatchObject({ kind: "user" });
  expect(await outcomeOf({}, { typ: "JWT" }, options)).toMatchObject({ kind: "invalid" });
  expect(await outcomeOf({}, {}, options)).toMatchObject({ kind: "invalid" });
});

test.each<[unknown, string | undefined]>([
  ["ada", "ada"],
  [42, "42"],
  ["", undefined],
  [undefined, undefined],
  [null, undefined],
  [true, undefined],
  [1.5, undefined],
  // 2^53 + 1: JavaScript reads 2^53, which is another subject.
  [2 ** 53, undefined],
  [["ada"], undefined],
  [{ toString: "ada" }, undefined],
])("a subject of %j is %j", async (employee, sub) => {
  const outcome = await outcomeOf({ employee }, {}, { subjectClaim: "employee" });
  if (sub === undefined)
    expect(outcome).toEqual({
      kind: "invalid",
      reason: "the claim employee of the token does not say who is calling",
    });
  else expect(outcome).toMatchObject({ kind: "user", user: { sub } });
});

test.each(["constructor", "toString", "__proto__"])(
  "what every object has is no subject: %s",
  async (subjectClaim) => {
    expect(await outcomeOf({}, {}, { subjectClaim })).toMatchObject({ kind: "invalid" });
  },
);

test("a claim __proto__ changes nothing but itself", async () => {
  using login = await open();
  const text = `{"iss":"${provider.url}","aud":"${TEST_AUDIENCE}","exp":${NOW + 300},"sub":"ada","__proto__":{"role":"admin"}}`;
  const outcome = await login.ask(await signText(text));
  expect(outcome).toMatchObject({ kind: "user" });
  expect((outcome as { user: { claims: { role?: string } } }).user.claims.role).toBeUndefined();
  expect(({} as { role?: string }).role).toBeUndefined();
});

test("the caller's own token goes along only where a field for it is named", async () => {
  const token = await provider.sign();
  using login = await open({ originalTokenHeader: "X-Original-Token" });
  expect(login.authenticator.originalTokenHeader).toBe("X-Original-Token");
  expect(await login.ask(token)).toMatchObject({ kind: "user", originalToken: token });
  using another = await open();
  expect(await another.ask(token)).not.toHaveProperty("originalToken");
});

test("a token is found where it is said to be, and its place is told", async () => {
  const token = await provider.sign();
  using inField = await open({ source: { kind: "header", name: "x-token", scheme: undefined } });
  using inCookie = await open({ source: { kind: "cookie", name: "session" } });
  using inQuery = await open({ source: { kind: "query", name: "access_token" } });

  const outcomes = await Promise.all([
    inField.authenticator.authenticate(callerRequest({ "X-Token": token })),
    inCookie.authenticator.authenticate(callerRequest({ Cookie: `a=b; session=${token}` })),
    inQuery.authenticator.authenticate(callerRequest({}, `/?access_token=${token}`)),
  ]);

  expect(outcomes.map(({ kind }) => kind)).toEqual(["user", "user", "user"]);
  expect([inField, inCookie, inQuery].map(({ authenticator }) => authenticator.place)).toEqual([
    { fields: ["x-token"] },
    { cookie: "session" },
    { query: "access_token" },
  ]);
});

test("a caller without a token is told what to come back with, one with a bad token also why it is bad", async () => {
  using login = await open();
  const { authenticator } = login;
  expect(authenticator.challenge(undefined)).toBe('Bearer realm="countersign"');
  expect(authenticator.challenge("the token has expired")).toBe(
    'Bearer realm="countersign", error="invalid_token", error_description="the token has expired"',
  );
});

test("no reason breaks out of the challenge", async () => {
  using login = await open({ requiredClaims: ['te"na\\nt\r\nX: ü'] });
  const outcome = await login.ask(await provider.sign());
  const { reason } = outcome as { reason: string };
  expect(login.authenticator.challenge(reason)).toBe(
    `Bearer realm="countersign", error="invalid_token", error_description="the token has no claim te'na'nt''X: '"`,
  );
});

/** Signs a text as it is. */
async function signText(payload: string): Promise<string> {
  const { kid, algorithm, privateKey } = provider.key();
  return new CompactSign(new TextEncoder().encode(payload))
    .setProtectedHeader({ alg: algorithm, kid })
    .sign(privateKey);
}
