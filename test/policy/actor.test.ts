import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/index.ts";
import type { Claims, JsonValue } from "../../src/issuer/claims-set.ts";
import { actorsBefore, MAX_ACTORS } from "../../src/policy/actor.ts";
import type { TokenOverrides } from "../../src/policy/token-request.ts";
import { tokenRequestOf } from "../../src/policy/token-request.ts";
import type { User } from "../../src/policy/user.ts";

const EDGE = "https://edge.example/__issuer";

function configOf(yaml: string) {
  return parseConfig(`upstream: http://127.0.0.1:9000\n${yaml}\n`, { file: "sidecar.yaml", env: {} }).config;
}

/** A caller with the token of another sidecar. */
function callerOf(claims: Claims = {}): User {
  return { sub: "alice", claims: { iss: EDGE, ...claims } };
}

/** The claims beside the standard ones, in the token of the first policy. */
function claimsFor(yaml: string, user: User | undefined, overrides?: TokenOverrides): Claims {
  const [policy] = configOf(yaml).policies;
  const nothing = () => undefined;
  const context = { user, fact: nothing, param: nothing, header: nothing, query: nothing };
  if (policy?.token === "none" || !policy) throw new Error("no token");
  return tokenRequestOf(policy.token, context, overrides).additionalClaims;
}

const ACTOR = "token: {actor: $user(iss)}";
const actFor = (act: JsonValue, actor = ACTOR) => claimsFor(actor, callerOf({ act })).act;

/** As many actors, one in another: the last number is the innermost one. */
function chainOf(count: number): JsonValue {
  const names = Array.from({ length: count }, (_, index) => `gateway ${index + 1}`);
  return names.reduceRight<JsonValue>((act, sub) => ({ sub, ...(act !== null && { act }) }), null);
}

describe("the claim act", () => {
  test("names through whom the request came", () => {
    expect(claimsFor(ACTOR, callerOf())).toEqual({ act: { sub: EDGE } });
    expect(claimsFor("token: {actor: edge of $user(tenant)}", callerOf({ tenant: "acme" }))).toEqual({
      act: { sub: "edge of acme" },
    });
    expect(claimsFor("token: {actor: edge}", callerOf())).toEqual({ act: { sub: "edge" } });
  });

  test("stands behind the other claims, and a policy's module has the last word", () => {
    const yaml = "token: {actor: $user(iss), additionalClaims: {tenant: $user(tenant), env: test}}";
    const caller = callerOf({ tenant: "acme" });
    expect(Object.keys(claimsFor(yaml, caller))).toEqual(["tenant", "env", "act"]);
    expect(claimsFor(yaml, caller, { claims: { act: { sub: "module" } } }).act).toEqual({ sub: "module" });
    expect(claimsFor(yaml, caller, { claims: { act: null } })).toEqual({ tenant: "acme", env: "test" });
  });

  test("has the actors before inside, the most recent one outermost (RFC 8693 §4.1)", () => {
    expect(actFor({ sub: "b", act: { sub: "a" } })).toEqual({
      sub: EDGE,
      act: { sub: "b", act: { sub: "a" } },
    });
  });

  test("carries who issued the name of an actor, and nothing else that is said of one", () => {
    const before = { sub: "b", iss: "https://login.example", aud: "orders", roles: ["admin"], exp: 1 };
    expect(actFor(before)).toEqual({ sub: EDGE, act: { sub: "b", iss: "https://login.example" } });
  });

  test.each<[string, JsonValue]>([
    ["a text", "b"],
    ["a list", [{ sub: "b" }]],
    ["null", null],
    ["a map without sub", { iss: "https://login.example" }],
    ["a sub that is no text", { sub: 7 }],
    ["a sub that is empty", { sub: "" }],
    ["an iss that is no text", { sub: "b", iss: { a: 1 } }],
  ])("ends before an actor that is none: %s", (_, act) => {
    expect(actFor(act)).toEqual({ sub: EDGE });
    expect(actFor({ sub: "c", act })).toEqual({ sub: EDGE, act: { sub: "c" } });
    // Nor does one come back that stands in what is none.
    expect(actFor({ sub: 7, act: { sub: "hidden" } })).toEqual({ sub: EDGE });
  });

  test.each([
    ["for a caller that nobody knows", ACTOR, undefined],
    ["for such a caller where the actor is a fixed text", "token: {actor: edge}", undefined],
    [
      "where the actor has no value, whatever act the caller brings",
      "token: {actor: $user(azp)}",
      callerOf({ act: { sub: "b" } }),
    ],
    [
      "where the actor is no text",
      "token: {actor: $user(list)}",
      callerOf({ list: ["a"], act: { sub: "b" } }),
    ],
    ["where no actor is configured, whatever act the caller brings", "", callerOf({ act: { sub: "b" } })],
    ["where a policy switches it off", `${ACTOR}\npolicies: [{name: a, token: {actor: false}}]`, callerOf()],
  ])("is not there %s", (_, yaml, user) => {
    expect(claimsFor(yaml, user)).toEqual({});
  });

  test("is inherited, and a policy can say another one", () => {
    expect(claimsFor(`${ACTOR}\npolicies: [{name: a}]`, callerOf())).toEqual({ act: { sub: EDGE } });
    expect(claimsFor(`${ACTOR}\npolicies: [{name: a, token: {actor: edge}}]`, callerOf())).toEqual({
      act: { sub: "edge" },
    });
  });

  test("does not look into what every object inherits", () => {
    const user = { sub: "alice", claims: Object.create({ act: { sub: "b" } }, {}) as Claims };
    expect(claimsFor("token: {actor: edge}", user)).toEqual({ act: { sub: "edge" } });
  });
});

describe("a chain of actors", () => {
  test(`has at most ${MAX_ACTORS} of them, the new one counted`, () => {
    const longest = callerOf({ act: chainOf(MAX_ACTORS - 1) });
    expect(actorsBefore(longest.claims).isFull).toBe(false);
    expect(claimsFor(ACTOR, longest).act).toEqual({ sub: EDGE, act: chainOf(MAX_ACTORS - 1) });
    expect(actorsBefore({ act: chainOf(MAX_ACTORS) }).isFull).toBe(true);
  });

  test("that is nested deeper than the stack is only looked at as far as it matters", () => {
    expect(actorsBefore({ act: chainOf(100_000) }).isFull).toBe(true);
  });
});

describe("the file is refused", () => {
  const TWICE =
    "the claim act is said twice, by actor and by additionalClaims; keep one: `actor: false` or `act: null` switches off what the top of the file says";

  test.each([
    ["token: {actor: edge, additionalClaims: {act: {sub: a}}}", `2:46 token.additionalClaims.act: ${TWICE}`],
    [
      "token: {actor: edge}\npolicies: [{name: a, token: {additionalClaims: {act: {sub: a}}}}]",
      `3:54 policies[0].token.additionalClaims.act: ${TWICE}`,
    ],
    [
      "token: {additionalClaims: {act: {sub: a}}}\npolicies: [{name: a, token: {actor: edge}}]",
      `3:37 policies[0].token.actor: ${TWICE}`,
    ],
    [
      "token: {actor: edge}\npolicies: [{name: a, token: {additionalClaims: {act: null}}}]",
      "3:54 policies[0].token.additionalClaims.act: the claim act is what actor at the top of the file makes of it; switch it off with `actor: false` here",
    ],
    [
      "token: {actor: $header(X-Gateway)}",
      "2:16 token.actor: expected $user(iss), another claim of the user, or a fixed text: whoever sends a request must not choose through whom it came",
    ],
    ['token: {actor: ""}', "2:16 token.actor: expected a string that is not empty"],
    ["token: {actor: true}", '2:16 token.actor: expected a text such as "$user(iss)", or false'],
  ])("%s", (yaml, problem) => {
    expect(() => configOf(yaml)).toThrow(`sidecar.yaml:${problem}`);
  });

  test.each([
    "token: {actor: edge}\npolicies: [{name: a, token: {actor: false, additionalClaims: {act: {sub: a}}}}]",
    "token: {additionalClaims: {act: {sub: a}}}\npolicies: [{name: a, token: {actor: edge, additionalClaims: {act: null}}}]",
    "token: {actor: edge, additionalClaims: {act: null}}",
    "token: {actor: edge}\npolicies: [{name: a, token: none}]",
  ])("and not where one of the two is switched off: %s", (yaml) => {
    expect(() => configOf(yaml)).not.toThrow();
  });
});
