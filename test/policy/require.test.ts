import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/index.ts";
import type { Claims } from "../../src/issuer/claims-set.ts";
import { type Requirement, shortfallOf } from "../../src/policy/require.ts";

function requirement(yaml: string): Requirement {
  const { config } = parseConfig(
    `upstream: http://127.0.0.1:9000
authenticators: {keys: {type: apiKey, keys: []}}
policies: [{name: p, authenticate: [keys], require: ${yaml}}]
`,
    { file: "sidecar.yaml", env: {} },
  );
  return config.policies[0]?.require as Requirement;
}

function lacks(yaml: string, claims: Claims, sub = "alice") {
  return shortfallOf(requirement(yaml), { sub, claims })?.detail;
}

describe("scopes", () => {
  test.each<[string, Claims]>([
    ["a string with spaces", { scope: "orders.read orders.write" }],
    ["a list", { scope: ["orders.write", "orders.read"] }],
    ["scp as a string", { scp: "orders.read orders.write" }],
    ["scp as a list", { scp: ["orders.read", "orders.write"] }],
    ["both at once", { scope: "orders.read", scp: ["orders.write"] }],
  ])("are found in %s", (_form, claims) => {
    expect(lacks("{scopes: [orders.read, orders.write]}", claims)).toBeUndefined();
  });

  test.each<[string, Claims]>([
    ["no scope", {}],
    ["an empty one", { scope: "" }],
    ["a longer one", { scope: "orders.read.all" }],
    ["a part of one", { scope: "orders" }],
    ["one in another case", { scope: "Orders.Read" }],
    ["a list in a list", { scope: [["orders.read"]] }],
    ["a map", { scope: { "orders.read": true } }],
    ["a list of numbers", { scope: [1] }],
    ["one with a comma", { scope: "orders.read,orders.write" }],
  ])("are missing from %s", (_what, claims) => {
    expect(lacks("{scopes: [orders.read]}", claims)).toBe("the scope orders.read is required");
  });

  test("must all be there", () => {
    expect(lacks("{scopes: [a, b, c]}", { scope: "b" })).toBe("the scope a c is required");
  });
});

describe("claims", () => {
  test.each<[string, Claims]>([
    ["{tenant: acme}", { tenant: "acme" }],
    ["{tenant: [acme, globex]}", { tenant: "globex" }],
    ["{roles: admin}", { roles: ["reader", "admin"] }],
    ["{roles: [admin, owner]}", { roles: ["owner"] }],
    ["{level: 3}", { level: 3 }],
    ["{beta: true}", { beta: true }],
    ["{realm_access.roles: editor}", { realm_access: { roles: ["editor"] } }],
    ['{"https://example.com/tenant": a}', { "https://example.com/tenant": "a" }],
    ["{sub: alice}", {}],
    ["{a: x, b: y}", { a: "x", b: "y" }],
  ])("%s is met by %o", (claimsYaml, claims) => {
    expect(lacks(`{claims: ${claimsYaml}}`, claims)).toBeUndefined();
  });

  test.each<[string, Claims, string]>([
    ["{tenant: acme}", {}, "tenant"],
    ["{tenant: acme}", { tenant: null }, "tenant"],
    ["{tenant: acme}", { tenant: "Acme" }, "tenant"],
    ["{tenant: acme}", { tenant: "acme " }, "tenant"],
    ["{tenant: acme}", { tenant: { acme: true } }, "tenant"],
    ["{tenant: acme}", { tenant: [["acme"]] }, "tenant"],
    ["{level: 3}", { level: "3" }, "level"],
    ["{level: '3'}", { level: 3 }, "level"],
    ["{beta: true}", { beta: "true" }, "beta"],
    ["{roles: admin}", { roles: [] }, "roles"],
    ["{roles.length: 0}", { roles: [] }, "roles.length"],
    ["{constructor: x}", {}, "constructor"],
    ["{a: x, b: y}", { a: "x" }, "b"],
  ])("%s is not met by %o", (claimsYaml, claims, name) => {
    expect(lacks(`{claims: ${claimsYaml}}`, claims)).toBe(`the claim ${name} has not the required value`);
  });
});

test("subjects lists those who may", () => {
  expect(lacks("{subjects: [alice, bob]}", {}, "bob")).toBeUndefined();
  expect(lacks("{subjects: [alice, bob]}", {}, "bobby")).toBe("this subject is not allowed");
});

describe("alternatives", () => {
  const yaml = "{claims: {tenant: acme}, anyOf: [{scopes: [admin]}, {subjects: [root]}]}";

  test("of which one holds are enough, beside what is required in any case", () => {
    expect(lacks(yaml, { tenant: "acme", scope: "admin" })).toBeUndefined();
    expect(lacks(yaml, { tenant: "acme" }, "root")).toBeUndefined();
    expect(lacks(yaml, { tenant: "other", scope: "admin" })).toBe(
      "the claim tenant has not the required value",
    );
  });

  test("of which none holds are all told", () => {
    expect(lacks(yaml, { tenant: "acme" })).toBe(
      "the scope admin is required; or this subject is not allowed",
    );
  });
});
