import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compileTemplate } from "../../src/config/templates.ts";
import { parseConfig } from "../../src/index.ts";
import type { Claims, JsonValue } from "../../src/issuer/claims-set.ts";
import { claimOf } from "../../src/policy/claim-path.ts";
import { evaluate, MAX_CLIENT_TEXT_LENGTH, type TemplateContext } from "../../src/policy/template.ts";
import { tokenRequestOf } from "../../src/policy/token-request.ts";
import type { User } from "../../src/policy/user.ts";

const ALICE: User = {
  sub: "alice",
  claims: {
    email: "alice@example.com",
    level: 3,
    beta: false,
    nothing: null,
    roles: ["reader", "writer"],
    address: { country: "NZ", lines: ["1 Queen St"] },
    "address.country": "as a whole",
    "https://example.com/tenant": "acme",
    empty: "",
  },
};

const REQUEST: Omit<TemplateContext, "user"> = {
  fact: (fact) =>
    ({
      method: "GET",
      url: "https://api.example.com/orders/42?page=2",
      origin: "https://api.example.com",
      host: "api.example.com",
      path: "/orders/42",
      id: "r-1",
      ip: "192.0.2.1",
    })[fact],
  param: (name) => ({ id: "42" })[name],
  header: (name) =>
    ({ "x-region": "eu", "x-empty": "", "x-long": "x".repeat(MAX_CLIENT_TEXT_LENGTH + 1) })[name],
  query: (name) => ({ page: "2" })[name],
};

/** The token of a policy with these settings, for a caller. */
function tokenFor(settings: string, user: User | undefined = ALICE, env: Record<string, string> = {}) {
  const { config } = parseConfig(
    `upstream: http://127.0.0.1:9000
policies:
  - name: p
    match: {path: "/orders/:id"}
    token:
${settings.replaceAll(/^/gm, "      ")}
`,
    { file: "sidecar.yaml", env },
  );
  const token = config.policies[0]?.token;
  if (typeof token !== "object") throw new Error("no token");
  return tokenRequestOf(token, { ...REQUEST, user });
}

/** What a claim becomes that the file writes like this. */
function claim(text: string, user: User | undefined = ALICE): JsonValue | undefined {
  return tokenFor(`additionalClaims: {it: ${text}}`, user).additionalClaims.it;
}

describe("a claim that is exactly one template", () => {
  test.each<[string, JsonValue]>([
    ["$user(sub)", "alice"],
    ["$user( email )", "alice@example.com"],
    ["$user(level)", 3],
    ["$user(beta)", false],
    ["$user(roles)", ["reader", "writer"]],
    ["$user(roles.1)", "writer"],
    ["$user(address)", { country: "NZ", lines: ["1 Queen St"] }],
    ["$user(address.lines.0)", "1 Queen St"],
    ["$user(address.country)", "as a whole"],
    ["$user(https://example.com/tenant)", "acme"],
    ["$request(method)", "GET"],
    ["$request(url)", "https://api.example.com/orders/42?page=2"],
    ["$request(origin)", "https://api.example.com"],
    ["$request(host)", "api.example.com"],
    ["$request(path)", "/orders/42"],
    ["$request(id)", "r-1"],
    ["$request(ip)", "192.0.2.1"],
    ["$param(id)", "42"],
    ["$header(X-Region)", "eu"],
    ["$query(page)", "2"],
  ])("%s keeps the type of its value", (text, value) => {
    expect(claim(`"${text}"`)).toEqual(value);
  });

  test.each([
    ["a claim that the user has not", "$user(missing)"],
    ["a claim that is null", "$user(nothing)"],
    ["a way through what is no map", "$user(email.domain)"],
    ["a way past the end of a list", "$user(roles.2)"],
    ["the length of a list", "$user(roles.length)"],
    ["what every object has", "$user(constructor)"],
    ["what every object has, further in", "$user(address.toString)"],
    ["the prototype", "$user(__proto__)"],
    ["a header that is not there", "$header(x-none)"],
    ["an empty header", "$header(x-empty)"],
    ["a header that is too long", "$header(x-long)"],
    ["a parameter of the query that is not there", "$query(none)"],
  ])("is dropped where it is %s", (_what, text) => {
    expect(tokenFor(`additionalClaims: {it: "${text}", other: 1}`).additionalClaims).toEqual({ other: 1 });
  });

  test("is dropped for a caller that nobody knows", () => {
    expect(tokenFor(`additionalClaims: {it: $user(sub)}`, undefined).additionalClaims).toEqual({
      it: "alice",
    });
    const anonymous = tokenRequestOf(
      { ...settingsOf("additionalClaims: {it: $user(sub)}") },
      { ...REQUEST, user: undefined },
    );
    expect(anonymous.additionalClaims).toEqual({});
  });
});

function settingsOf(settings: string) {
  const { config } = parseConfig(`upstream: http://127.0.0.1:9000\ntoken: {${settings}}\n`, {
    file: "sidecar.yaml",
    env: {},
  });
  return config.token;
}

describe("a template in a longer text", () => {
  test.each([
    ["order $param(id) of $user(sub)", "order 42 of alice"],
    ["$user(level)/$user(beta)", "3/false"],
    ["roles: $user(roles)", 'roles: ["reader","writer"]'],
    ["$param(id)$param(id)", "4242"],
    ["$5 and $ and (x)", "$5 and $ and (x)"],
  ])("%s is filled in", (text, value) => {
    expect(claim(`"${text}"`)).toBe(value);
  });

  test("drops the whole claim where it is missing", () => {
    expect(claim('"tenant $user(missing)"')).toBeUndefined();
  });
});

test("templates further in are filled in, and what is missing there is left out", () => {
  expect(
    claim(
      "{who: $user(sub), none: $user(missing), list: [a, $user(missing), $param(id)], deep: [{x: $user(level)}]}",
    ),
  ).toEqual({ who: "alice", list: ["a", "42"], deep: [{ x: 3 }] });
});

describe("the subject", () => {
  test.each<[string, string]>([
    ["subject: $user(email)", "alice@example.com"],
    ["subject: $user(level)", "3"],
    ["subject: user/$user(sub)", "user/alice"],
    ["subject: $user(missing)", "alice"],
    ["subject: $user(roles)", "alice"],
    ["subject: $user(empty)", "alice"],
    ["subject: fixed", "fixed"],
    ["expiresIn: 5", "alice"],
  ])("%s is %s", (yaml, subject) => {
    expect(tokenFor(yaml).subject).toBe(subject);
  });

  test("of a caller that nobody knows is api-gateway", () => {
    const anonymous = { ...REQUEST, user: undefined };
    expect(tokenRequestOf(settingsOf("subject: $user(email)"), anonymous).subject).toBe("api-gateway");
    expect(tokenRequestOf(settingsOf(""), anonymous).subject).toBe("api-gateway");
  });
});

describe("the audience", () => {
  const url = "https://api.example.com/orders/42?page=2";
  test.each<[string, string | string[]]>([
    ["audience: $request(origin)", "https://api.example.com"],
    ["audience: [$request(origin), https://b.example]", ["https://api.example.com", "https://b.example"]],
    ["audience: $user(roles)", ["reader", "writer"]],
    ["audience: [x, $user(roles)]", ["x", "reader", "writer"]],
    ["audience: [x, $user(missing)]", ["x"]],
    ["audience: [$user(missing)]", url],
    ["audience: $user(missing)", url],
    ["audience: $user(address)", url],
    ["expiresIn: 5", url],
  ])("%s is %o", (yaml, audience) => {
    expect(tokenFor(yaml).audience).toEqual(audience);
  });
});

test("what a variable holds is no template", () => {
  const token = tokenFor(
    "additionalClaims: {it: '$env(SECRET)', mixed: '$env(SECRET) $user(sub)', glued: '$env(DOLLAR)user(sub)'}",
    ALICE,
    { SECRET: "$user(email)", DOLLAR: "$" },
  );
  expect(token.additionalClaims).toEqual({
    it: "$user(email)",
    mixed: "$user(email) alice",
    glued: "$user(sub)",
  });
});

test("templates that an alias repeats are templates in each place", () => {
  const { config } = parseConfig(
    `upstream: http://127.0.0.1:9000
policies:
  - {name: a, match: {path: "/a/:id"}, token: {additionalClaims: &claims {who: $user(sub), id: $param(id)}}}
  - {name: b, match: {path: "/b/:id"}, token: {additionalClaims: *claims}}
`,
    { file: "sidecar.yaml", env: {} },
  );
  for (const { token } of config.policies) {
    if (token === "none") throw new Error("no token");
    expect(tokenRequestOf(token, { ...REQUEST, user: ALICE }).additionalClaims).toEqual({
      who: "alice",
      id: "42",
    });
  }
});

test("any template of any user has a value that JSON can hold, or none", () => {
  const name = fc.oneof(
    fc.constantFrom("sub", "roles", "address.country", "__proto__", "constructor"),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), name, (claims, path) => {
      const user: User = { sub: "a", claims: claims as Claims };
      const value = evaluate(
        { kind: "reference", reference: { fn: "user", argument: path } },
        { ...REQUEST, user },
      );
      if (value !== undefined)
        expect(JSON.parse(JSON.stringify(value))).toEqual(JSON.parse(JSON.stringify(value)));
      expect(value).toEqual(claimOf(user, path) ?? undefined);
    }),
  );
});

test("a map without templates is compiled to itself", () => {
  expect(compileTemplate({ a: [1, { b: "x" }] }, [], () => undefined)).toEqual({
    kind: "literal",
    value: { a: [1, { b: "x" }] },
  });
});

describe("a reference that leads nowhere is refused where it stands:", () => {
  test.each([
    [
      'policies: [{name: a, match: {path: "/o/:id"}, token: {subject: "a $param(di)"}}]',
      "2:67 policies[0].token.subject: match.path has no parameter di; did you mean $param(id)?",
    ],
    [
      'policies: [{name: a, match: {path: "/o/:order"}, token: {additionalClaims: {x: [$param(di)]}}}]',
      "2:81 policies[0].token.additionalClaims.x[0]: match.path has no parameter di; there are order",
    ],
    [
      "token: {additionalClaims: {iss: $user(iss)}}",
      "2:33 token.additionalClaims.iss: expected a fixed text: whoever sends a request must not choose the issuer of its token",
    ],
    [
      "publicUrl: https://$request(host)",
      "2:20 publicUrl: $request(…) is known only in subject, audience and additionalClaims of a token; here $env(NAME) is",
    ],
    [
      "authenticators: {k: {type: apiKey, keys: [{subject: $user(sub), sha256: abc}]}}",
      "2:53 authenticators.k.keys[0].subject: $user(…) is known only in subject, audience, actor and additionalClaims of a token; here $env(NAME) is",
    ],
  ])("%s", (yaml, message) => {
    expect(() =>
      parseConfig(`upstream: http://127.0.0.1:9000\n${yaml}\n`, { file: "f.yaml", env: {} }),
    ).toThrow(`f.yaml:${message}`);
  });
});
