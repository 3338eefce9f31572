import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { jwtOptionsOf, jwtSection } from "../../../src/config/authenticators/jwt.ts";

const FILE = { type: "jwt", issuer: "https://login.example.com", audience: "orders" };

/** The options that a section of the file becomes. */
const optionsOf = (section: unknown) => jwtOptionsOf(jwtSection.parse(section), "/etc/countersign");

/** What is wrong with a section: the way to each value, and the message. */
function problemsOf(section: unknown): string[] {
  const checked = jwtSection.safeParse(section);
  return (checked.error?.issues ?? []).map(({ path, message }) => `${path.join(".")}: ${message}`);
}

test("issuer and audience are enough", () => {
  expect(optionsOf(FILE)).toEqual({
    type: "jwt",
    source: { kind: "header", name: "authorization", scheme: "Bearer" },
    issuer: "https://login.example.com",
    audiences: ["orders"],
    algorithms: ["RS256"],
    keys: { kind: "discovery" },
    requiredClaims: [],
    typ: undefined,
    clockSkewSeconds: 60,
    subjectClaim: "sub",
    originalTokenHeader: undefined,
    forwardCredential: false,
  });
});

test("an issuer without discovery need not be a URL, and a file is found beside the configuration", () => {
  expect(optionsOf({ ...FILE, issuer: "batch", jwks: "keys.json" }).keys).toEqual({
    kind: "file",
    path: "/etc/countersign/keys.json",
  });
  expect(optionsOf({ ...FILE, issuer: "batch", jwksUri: "https://a.example/keys?p=1" }).keys).toEqual({
    kind: "jwksUri",
    url: "https://a.example/keys?p=1",
  });
});

test.each([
  "batch",
  "http://",
  "http://[",
  "https://login.example.com/?tenant=a",
  "https://login.example.com/#a",
  "https://user@login.example.com",
  "ftp://login.example.com",
  " https://login.example.com",
])("an issuer that cannot be discovered is refused: %j", (issuer) => {
  expect(problemsOf({ ...FILE, issuer })).toEqual([
    "issuer: expected an http or https URL without a query, for discovery; an issuer that is none needs the key jwksUri or jwks",
  ]);
});

test.each(["HS256", "none", "RS1", "ES256K"])("the algorithm %s cannot be chosen", (algorithm) => {
  expect(problemsOf({ ...FILE, algorithms: [algorithm] })).toEqual([
    expect.stringMatching(/^algorithms\.0: expected one of/),
  ]);
});

test.each([
  [{ audience: [] }, /^audience: expected at least one audience$/],
  [{ audience: "" }, /^audience: /],
  [{ algorithms: [] }, /^algorithms: expected at least one algorithm$/],
  [{ jwks: "a", jwksUri: "https://a.example/" }, /^jwks: expected only one of the keys jwksUri and jwks$/],
  [{ clockSkew: "11m" }, /^clockSkew: /],
  [{ header: "X-Token", cookie: "token" }, /^cookie: expected only one of the keys header and cookie/],
  [{ originalTokenHeader: "Host" }, /^originalTokenHeader: expected another field name/],
])("%j is refused", (change, message) => {
  expect(problemsOf({ ...FILE, ...change })).toEqual([expect.stringMatching(message)]);
});

test("every authenticator in docs/authenticators/jwt.md is one", () => {
  const page = readFileSync(new URL("../../../docs/authenticators/jwt.md", import.meta.url), "utf8");
  const files = [...page.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, yaml = ""]) => parse(yaml));
  const sections = files.flatMap(({ authenticators }) => Object.values(authenticators));
  expect(sections).toHaveLength(4);
  for (const section of sections) expect(problemsOf(section)).toEqual([]);
});

test("every key of the authenticator is explained in docs/authenticators/jwt.md", () => {
  const page = readFileSync(new URL("../../../docs/authenticators/jwt.md", import.meta.url), "utf8");
  const keys = Object.keys(jwtSection.shape).filter((key) => key !== "type");
  expect(keys.filter((key) => !new RegExp(`^\\|[^|]*\`${key}\``, "m").test(page))).toEqual([]);
});
