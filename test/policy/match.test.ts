import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/index.ts";
import { createMatcher, mismatchOf } from "../../src/policy/match.ts";
import { compilePathPattern, paramOf } from "../../src/policy/path-pattern.ts";
import type { Policy } from "../../src/policy/policy.ts";

function policiesOf(yaml: string) {
  return parseConfig(`upstream: http://127.0.0.1:9000\npolicies:\n${yaml}`, { file: "sidecar.yaml" }).config
    .policies;
}

function nameOf(yaml: string, path: string, method = "GET", host = "api.example.com") {
  const match = createMatcher(policiesOf(yaml).map((policy) => ({ policy })));
  return match({ method, host, path })?.policy.name;
}

describe("paths", () => {
  test.each([
    ["/orders/:id", "/orders/42", true],
    ["/orders/:id", "/orders/", false],
    ["/orders/:id", "/orders/42/items", false],
    ["/orders", "/orders", true],
    ["/orders", "/orders/", false],
    ["/orders", "/Orders", false],
    ["/orders{/}", "/orders/", true],
    ["/*rest", "/", true],
    ["/*rest", "/a/b/c", true],
    ["/files/*rest", "/files/a/b", true],
    ["/files/*rest", "/files/", true],
    ["/files/*rest", "/files", false],
    ["/files{/*rest}", "/files", true],
    ["/a/*middle/z", "/a/b/c/z", true],
    ["/orders/:id/*rest", "/orders/42/items/1", true],
    ["/orders/:id/*rest", "/orders/42/", true],
    ["/orders/:id/*rest", "/orders/42", false],
    ["/reports{/:year}", "/reports", true],
    ["/reports{/:year}", "/reports/2026", true],
    ["/caf%C3%A9", "/café", true],
    ["/café", "/café", true],
    ["/v1.0/x", "/v1a0/x", false],
    ["/a%2fb", "/a%2Fb", true],
    ["/a%2fb", "/a/b", false],
  ])("%s on %s: %s", (pattern, path, matches) => {
    expect(nameOf(`  - {name: it, match: {path: "${pattern}"}}`, path)).toBe(matches ? "it" : undefined);
  });
});

test("the first policy that matches wins", () => {
  const yaml = `
  - {name: first, match: {path: "/a/*rest"}}
  - {name: second, match: {path: "/a/b"}}
  - {name: rest}`;
  expect(nameOf(yaml, "/a/b")).toBe("first");
  expect(nameOf(yaml, "/b")).toBe("rest");
});

test("methods are compared as they are, and GET does not include HEAD", () => {
  const yaml = "  - {name: it, match: {methods: [GET, POST]}}";
  expect(nameOf(yaml, "/", "POST")).toBe("it");
  expect(nameOf(yaml, "/", "HEAD")).toBeUndefined();
  expect(nameOf(yaml, "/", "get")).toBeUndefined();
});

test.each([
  ["api.example.com", "api.example.com", true],
  ["API.Example.com", "api.example.com", true],
  ["api.example.com", "www.example.com", false],
  ["*.example.com", "api.example.com", true],
  ["*.example.com", "a.b.example.com", true],
  ["*.example.com", "example.com", false],
  ["*.example.com", ".example.com", false],
  ["*.example.com", "evilexample.com", false],
  ["'[::1]'", "[::1]", true],
  ["api.example.com", "", false],
])("the host pattern %s on %s: %s", (pattern, host, matches) => {
  expect(
    nameOf(
      `  - {name: it, match: {hosts: [${pattern.startsWith("*") ? `"${pattern}"` : pattern}]}}`,
      "/",
      "GET",
      host,
    ),
  ).toBe(matches ? "it" : undefined);
});

test("every part of match has to hold", () => {
  const yaml = "  - {name: it, match: {path: /a, methods: [GET], hosts: [api.example.com]}}";
  expect(nameOf(yaml, "/a")).toBe("it");
  expect(nameOf(yaml, "/b")).toBeUndefined();
  expect(nameOf(yaml, "/a", "POST")).toBeUndefined();
  expect(nameOf(yaml, "/a", "GET", "other")).toBeUndefined();
});

test.each([
  ["/orders/:id/*rest", "/orders/42/items/1", { id: "42", rest: "items/1" }],
  ["/orders/:id/*rest", "/orders/42/", { id: "42", rest: undefined }],
  ["/reports/:kind{/:year}{/*rest}", "/reports/tax/2026", { kind: "tax", year: "2026", rest: undefined }],
  ["/reports/:kind{/:year}", "/reports/tax", { kind: "tax", year: undefined }],
])("the parameters of %s in %s", (source, path, params) => {
  const pattern = compilePathPattern(source);
  expect(pattern.names).toEqual(Object.keys(params));
  for (const [name, value] of Object.entries(params)) expect(paramOf(pattern, path, name)).toBe(value);
});

describe("a policy is found whatever other patterns there are", () => {
  const segment = fc.constantFrom("a", "b", "ab", "é", "%2F", "\\:x", ":p", "*w", "a:p", "b{c}", "a.b");
  const optional = fc.constantFrom("/", "/", "{/");
  const pattern = fc
    .tuple(fc.array(fc.tuple(optional, segment), { maxLength: 4 }), fc.constantFrom("", "/", "/*z", "{/:y}"))
    .map(
      ([parts, end]) =>
        parts.map(([open, text]) => `${open}${text}${open === "{/" ? "}" : ""}`).join("") + end,
    );
  const path = fc
    .array(fc.constantFrom("a", "b", "ab", "é", "%2F", ":x", "", "bc", "a.b"), { maxLength: 6 })
    .map((segments) => `/${segments.join("/")}`);

  const hosts = fc.option(
    fc.array(fc.constantFrom("a.com", "b.com", "x.a.com", "*.a.com", "*.com"), {
      minLength: 1,
      maxLength: 3,
    }),
    { nil: undefined },
  );
  const input = fc.record({
    method: fc.constant("GET"),
    host: fc.constantFrom("", "a.com", "b.com", "x.a.com", "c.org"),
    path,
  });

  test("and it is the one that asking each in order would find", () => {
    const asked = fc.array(input, { minLength: 1 });
    fc.assert(
      fc.property(fc.array(fc.tuple(pattern, hosts), { minLength: 1 }), asked, (matches, inputs) => {
        const routes = matches.flatMap(([source, hosts]) => routeFor(source, hosts) ?? []);
        const match = createMatcher(routes);
        for (const each of inputs)
          expect(match(each)).toBe(routes.find(({ policy }) => mismatchOf(policy.match, each) === undefined));
      }),
      { numRuns: 300 },
    );
  });
});

function routeFor(
  source: string,
  hosts: readonly string[] | undefined,
): { readonly policy: Policy } | undefined {
  try {
    return { policy: { match: { path: compilePathPattern(source), hosts } } as Policy };
  } catch {
    return undefined;
  }
}

test("a name that stands twice in a pattern is refused", () => {
  expect(() => policiesOf('  - {name: it, match: {path: "/:a/:b/*a"}}')).toThrow(
    "the name a stands here twice",
  );
});
