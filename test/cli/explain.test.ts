import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { runCommand, temporaryFolder } from "../support/command-line.ts";
import { runHere } from "./in-process.ts";

const SECRET = "a-secret-of-acme";
const SHA256 = createHash("sha256").update(SECRET).digest("hex");

const CONFIGURATION = `
listen: 127.0.0.1:8080
upstream: http://127.0.0.1:9000
authenticators:
  edge: {type: trustedHeader, header: X-Forwarded-User, from: [10.0.0.0/8]}
  partners: {type: apiKey, header: X-Api-Key, keys: [{subject: acme, sha256: ${SHA256}, claims: {plan: gold}}]}
  links: {type: apiKey, query: key, keys: [{subject: link, sha256: ${SHA256}}]}
  browsers: {type: apiKey, cookie: session, keys: [{subject: browser, sha256: ${SHA256}}]}
authenticate: [edge, partners]
token: {audience: https://orders.internal}
policies:
  - name: health
    match: {path: /healthz, methods: [GET]}
    authenticate: [anonymous]
    token: none
  - name: orders
    match: {path: "/orders/:id", methods: [GET, POST], hosts: [api.example.com]}
    token:
      headerName: X-Service-Token
      tokenPrefix: ""
      expiresIn: 1m
      additionalClaims: {order: $param(id), plan: $user(plan), tenant: $user(tenant), roles: [reader]}
    upstream: http://127.0.0.1:9001
  - name: links
    match: {path: /links}
    authenticate: [links, browsers]
    token: {audience: $request(url), subject: $user(email)}
  - name: large
    match: {path: /large}
    authenticate: [anonymous]
    token: {additionalClaims: {text: ${"x".repeat(4000)}}}
  - name: module
    match: {path: /module}
    authenticate: [anonymous]
    module: ./policy.mjs
    token: {additionalClaims: {role: reader, region: $header(X-Region), iss: https://a.example}}
`;

const MODULE = `export default ({ request }) =>
  request.headers["x-deny"] ? { deny: "not today" } : { subject: "by-module", claims: { role: "writer", extra: 1 } };
`;

/** A folder with the configuration; `explain` runs the command in it. */
function surroundings(yaml = CONFIGURATION) {
  const folder = temporaryFolder();
  writeFileSync(join(folder.path, "sidecar.yaml"), yaml);
  writeFileSync(join(folder.path, "policy.mjs"), MODULE);
  return {
    ...folder,
    explain: (...arguments_: string[]) => runHere(["explain", ...arguments_], { cwd: folder.path }),
    async explained(...arguments_: string[]) {
      const { stdout } = await runHere(["explain", ...arguments_, "--json"], { cwd: folder.path });
      return JSON.parse(stdout);
    },
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

const ORDER = ["GET", "https://api.example.com/orders/42?x=1"];
const KEY = ["-H", `X-Api-Key: ${SECRET}`];

describe("for a person", () => {
  test("a request that is forwarded", async () => {
    using here = surroundings();
    const fields = ["-H", "X-Forwarded-User: eve", "-H", "x_service_token: forged", "-H", "X-Region: eu"];
    const { code, stdout, stderr } = await here.explain(...ORDER, ...KEY, ...fields);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.replaceAll(/\b\d{10}\b/g, "1234567890").replace(/\d+ bytes/, "415 bytes")).toBe(`\
GET /orders/42 for api.example.com, from 127.0.0.1

policy     orders
           not health, which has path: /healthz
asked      edge      not mine: the peer is not one that is believed
           partners  user acme
user       acme
             plan  "gold"
removed    X-Api-Key         the credential of the caller
           X-Forwarded-User  believed only from trusted peers
           x_service_token   a field that only Countersign sets
token      X-Service-Token: …, EdDSA, 415 bytes, signed with a key made for this answer
             iss    "http://127.0.0.1:8080/__issuer"  the address of the listener, with issuer.basePath
             sub    "acme"                            default: the sub of the user
             aud    "https://orders.internal"         token.audience
             iat    1234567890                        the time of signing
             exp    1234567890                        60 s later
             order  "42"                              policies[1].token.additionalClaims.order: $param(id)
             plan   "gold"                            policies[1].token.additionalClaims.plan: $user(plan)
             roles  ["reader"]                        policies[1].token.additionalClaims.roles
             no tenant: policies[1].token.additionalClaims.tenant: $user(tenant) has no value
forwarded  GET /orders/42?x=1 to http://127.0.0.1:9001
`);
  });

  test("a request that is refused", async () => {
    using here = surroundings();
    expect(await here.explain(...ORDER, "-H", "X-Api-Key: wrong-secret")).toEqual({
      code: 1,
      stdout: `\
GET /orders/42 for api.example.com, from 127.0.0.1

policy     orders
           not health, which has path: /healthz
asked      edge      not mine: the peer is not one that is believed
           partners  invalid: the API key is not known
refused    401 Unauthorized, ERR_CREDENTIAL_INVALID
           the API key is not known
`,
      stderr: "",
    });
  });

  test("a request that no policy is for", async () => {
    using here = surroundings(
      "upstream: http://127.0.0.1:9000\npolicies: [{name: a, match: {methods: [GET, HEAD]}}]\n",
    );
    const { code, stdout } = await here.explain("POST", "/a", "--from", "10.0.0.7");
    expect(code).toBe(1);
    expect(stdout).toBe(`\
POST /a for 127.0.0.1, from 10.0.0.7

policy     none matches
           not a, which has methods: GET, HEAD
refused    404 Not Found, ERR_NO_POLICY
           no policy matches this request
`);
  });

  test("a request that asks what the sidecar can do", async () => {
    using here = surroundings();
    expect(await here.explain("OPTIONS", "*")).toMatchObject({
      code: 0,
      stdout: `OPTIONS, from 127.0.0.1

answered   by the sidecar: the request asks what a server can do, and goes no further
`,
    });
  });

  test("a request without a token, and one for the issuer", async () => {
    using here = surroundings();
    expect((await here.explain("GET", "/healthz")).stdout).toContain(
      "user       anonymous\nforwarded  GET /healthz to http://127.0.0.1:9000, without a token\n",
    );
    const { code, stdout } = await here.explain("GET", "/__issuer/.well-known/jwks.json");
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: `GET /__issuer/.well-known/jwks.json for 127.0.0.1, from 127.0.0.1

answered   by the issuer; never forwarded
`,
    });
  });

  test("what a caller sent cannot steer the terminal", async () => {
    using here = surroundings();
    const { stdout } = await here.explain(
      ...ORDER,
      "-H",
      "X-Forwarded-User: a\x9b31mb",
      "--from",
      "10.1.2.3",
    );
    expect(stdout).toContain("user a\\u009b31mb\n");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    expect(stdout).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/);
  });

  test("a large token is warned about", async () => {
    using here = surroundings();
    expect((await here.explain("GET", "/large")).stdout).toMatch(/^warning {4}the token has 5\d{3} bytes; /m);
  });
});

describe("for a program", () => {
  test("every member is there, whatever becomes of the request", async () => {
    using here = surroundings();
    const forwarded = await here.explained(...ORDER, ...KEY);
    expect(forwarded).toMatchObject({
      request: { method: "GET", host: "api.example.com", path: "/orders/42", from: "127.0.0.1" },
      outcome: "forwarded",
      policy: "orders",
      passedOver: [{ policy: "health", key: "path", expected: "/healthz" }],
      answers: [
        {
          authenticator: "edge",
          answer: "not-mine",
          sub: null,
          reason: "the peer is not one that is believed",
          cause: null,
        },
        { authenticator: "partners", answer: "user", sub: "acme", reason: null, cause: null },
      ],
      user: { sub: "acme", claims: { plan: "gold" } },
      removedFields: [{ name: "X-Api-Key", reason: "credential" }],
      removedQueryParameter: null,
      token: {
        headerName: "X-Service-Token",
        tokenPrefix: "",
        algorithm: "EdDSA",
        isSignedWithConfiguredKey: false,
        leftOut: [
          { name: "tenant", key: "policies[1].token.additionalClaims.tenant", template: "$user(tenant)" },
        ],
      },
      target: "/orders/42?x=1",
      upstream: "http://127.0.0.1:9001",
      refusal: null,
      warnings: [],
    });
    expect(forwarded.token.claims[1]).toEqual({
      name: "sub",
      value: "acme",
      source: "default",
      key: "token.subject",
      template: null,
      remark: "the sub of the user",
    });
    const members = Object.keys(forwarded);
    for (const arguments_ of [ORDER, ["GET", "/none"], ["GET", "/__issuer"], ["GET", "/a/../b"]])
      expect(Object.keys(await here.explained(...arguments_))).toEqual(members);
    expect((await here.explained(...ORDER)).refusal).toEqual({
      status: 401,
      code: "ERR_CREDENTIAL_MISSING",
      detail: "this request needs a credential",
      cause: null,
    });
  });

  test("what a module says is told from what is configured", async () => {
    using here = surroundings();
    const { token } = await here.explained("GET", "/module", "-H", "X-Region: eu");
    const source = (name: string) => {
      const { value, source, key, template } = token.claims.find(
        (claim: { name: string }) => claim.name === name,
      );
      return [value, source, key, template];
    };
    const claims = "policies[4].token.additionalClaims";
    expect(source("sub")).toEqual(["by-module", "module", "policies.module.module", null]);
    expect(source("role")).toEqual(["writer", "module", "policies.module.module", null]);
    expect(source("extra")).toEqual([1, "module", "policies.module.module", null]);
    expect(source("region")).toEqual(["eu", "configuration", `${claims}.region`, "$header(x-region)"]);
    expect(source("iss")).toEqual(["https://a.example", "configuration", `${claims}.iss`, null]);
    expect(await here.explained("GET", "/module", "-H", "X-Deny: 1")).toMatchObject({
      refusal: { status: 403, code: "ERR_DENIED", detail: "not today" },
    });
  });

  test("a template without a value is named beside the default that takes its place", async () => {
    using here = surroundings();
    const { token } = await here.explained("GET", "/links", "-H", `Cookie: a=b; session=${SECRET}`);
    expect(token.claims[1]).toEqual({
      name: "sub",
      value: "browser",
      source: "default",
      key: "policies[2].token.subject",
      template: "$user(email)",
      remark: "the sub of the user",
    });
  });

  test("the claim act comes from actor, and is left out for a caller whom nobody knows", async () => {
    using here = surroundings(`
upstream: http://127.0.0.1:9000
authenticators:
  gateway: {type: apiKey, header: X-Api-Key, keys: [{subject: alice, sha256: ${SHA256}, claims: {iss: edge, act: {sub: first}}}]}
authenticate: [gateway, anonymous]
token: {audience: https://orders.internal, actor: $user(iss)}
`);
    const known = await here.explained("GET", "/", ...KEY);
    const anonymous = await here.explained("GET", "/");

    expect(known.token.claims.at(-1)).toEqual({
      name: "act",
      value: { sub: "edge", act: { sub: "first" } },
      source: "configuration",
      key: "token.actor",
      template: "$user(iss)",
      remark: null,
    });
    expect(known.token.leftOut).toEqual([]);
    expect(anonymous.token.claims.map(({ name }: { name: string }) => name)).not.toContain("act");
    expect(anonymous.token.leftOut).toEqual([{ name: "act", key: "token.actor", template: "$user(iss)" }]);
  });
});

describe("the request is read as a real one is", () => {
  test.each([
    ["two Host fields", ["GET", "/", "-H", "Host: a", "-H", "Host: b"], "ERR_HOST_INVALID"],
    ["a host that is none", ["GET", "http://a b/"], "ERR_HOST_INVALID"],
    ["an ambiguous path", ["GET", "http://a/b%2fc"], "ERR_TARGET_AMBIGUOUS"],
    ["a target that is no path", ["GET", "*"], "ERR_TARGET_INVALID"],
    ["a coding that is not known", ["POST", "/", "-H", "Transfer-Encoding: gzip"], "ERR_REQUEST_MALFORMED"],
    ["TRACE where there is a token", ["TRACE", "/large"], "ERR_METHOD_NOT_ALLOWED"],
  ])("%s", async (_what, arguments_, code) => {
    using here = surroundings();
    expect((await here.explained(...arguments_)).refusal).toMatchObject({ code });
  });

  test("-H Host counts instead of the host of the URL", async () => {
    using here = surroundings();
    const { request } = await here.explained("GET", "http://one.example/", "-H", "host: two.example:81");
    expect(request.host).toBe("two.example");
  });

  test("--from is the peer, whose word may count", async () => {
    using here = surroundings();
    const explanation = await here.explained(...ORDER, "-H", "X-Forwarded-User: alice", "--from", "10.1.2.3");
    expect(explanation).toMatchObject({
      user: { sub: "alice" },
      removedFields: [{ name: "X-Forwarded-User", reason: "credential" }],
    });
  });

  test("every reason for which a field does not go on is told", async () => {
    using here = surroundings();
    const fields = [
      "Connection: X-Hop",
      "X-Hop: 1",
      "X-Request-Id: a b",
      "X-Forwarded-For: 1",
      "Content-Length: 0",
    ];
    const cookie = ["-H", `Cookie: a=b; session=${SECRET}`];
    const { removedFields } = await here.explained(
      "GET",
      "/links",
      ...cookie,
      ...fields.flatMap((field) => ["-H", field]),
    );
    expect(removedFields).toEqual([
      { name: "Cookie", reason: "credential-cookie" },
      { name: "Connection", reason: "connection" },
      { name: "X-Hop", reason: "connection-option" },
      { name: "X-Request-Id", reason: "forwarding" },
      { name: "X-Forwarded-For", reason: "forwarding" },
      { name: "Content-Length", reason: "connection" },
    ]);
  });
});

describe("a credential is never printed", () => {
  const FORWARDING = `
upstream: http://127.0.0.1:9000
authenticators:
  header: {type: apiKey, header: X-Api-Key, forwardCredential: true, keys: [{subject: a, sha256: ${SHA256}}]}
  query: {type: apiKey, query: key, forwardCredential: true, keys: [{subject: a, sha256: ${SHA256}}]}
  cookie: {type: apiKey, cookie: session, forwardCredential: true, keys: [{subject: a, sha256: ${SHA256}}]}
authenticate: [header, query, cookie, anonymous]
token: {additionalClaims: {header: $header(X-Api-Key), query: $query(key), cookies: [$header(Cookie)]}}
`;
  const places = [
    ["/links", ...KEY],
    ["/links", "-H", `Cookie: a=b; session=${SECRET}`],
    [`/links?a=b&key=${SECRET}`],
    [`/links?k%65y=${SECRET.replace("a-s", "a%2Ds")}`],
  ];

  test.each([
    ["taken out", CONFIGURATION],
    ["forwarded, and in claims", FORWARDING],
  ])("%s", async (_what, yaml) => {
    using here = surroundings(yaml);
    for (const place of places)
      for (const flags of [[], ["--json"]]) {
        const { stdout, stderr } = await here.explain("GET", ...place, ...flags);
        expect(stdout + stderr).not.toMatch(/a(?:-|%2D)secret-of-acme/);
        // Nor is the token.
        expect(stdout + stderr).not.toMatch(/ey[\w-]+\.ey/);
      }
  });

  test("the parameter of the query is said to be taken out", async () => {
    using here = surroundings();
    const { stdout } = await here.explain("GET", `/links?a=b&key=${SECRET}`);
    expect(stdout).toContain("removed    ?key  the credential of the caller\n");
    expect(stdout).toContain("forwarded  GET /links?a=b to ");
  });

  test("nor when the field that it stands in is misspelt", async () => {
    using here = surroundings();
    const { code, stderr } = await here.explain("GET", "/", "-H", `X Api Key: ${SECRET}`);
    expect(code).toBe(2);
    expect(stderr).toContain("-H: expected a field name of letters, digits and hyphens in field 1\n");
    expect(stderr).not.toContain(SECRET);
  });
});

describe("keys", () => {
  test("are neither made nor changed", async () => {
    using here = surroundings();
    await runCommand(["explain", ...ORDER, ...KEY], { cwd: here.path });
    expect(readdirSync(here.path).sort()).toEqual(["policy.mjs", "sidecar.yaml"]);
  });

  test("of the configuration are used where there are any, and left as they are", async () => {
    using here = surroundings();
    await runHere(["keys", "generate"], { cwd: here.path });
    const keys = join(here.path, "keys");
    const contents = () => readdirSync(keys).map((name) => [name, readFileSync(join(keys, name), "utf8")]);
    const before = contents();
    expect((await here.explained(...ORDER, ...KEY)).token.isSignedWithConfiguredKey).toBe(true);
    expect(contents()).toEqual(before);
  });

  test("that cannot be used are a warning", async () => {
    using here = surroundings("upstream: http://127.0.0.1:9000\nissuer: {keys: {env: NO_SUCH_KEY}}\n");
    const { outcome, warnings } = await here.explained("GET", "/");
    expect(outcome).toBe("forwarded");
    expect(warnings).toEqual([
      "the sidecar would not start, as the configured keys cannot be used: the environment variable NO_SUCH_KEY: not set; expected a private key in PEM or as a JWK",
    ]);
  });
});

describe("wrong usage exits with 2", () => {
  test.each([
    [["get", "/"], "expected a method such as GET before the URL; did you mean GET?"],
    [["/", "GET"], "expected a method such as GET before the URL"],
    [["CONNECT", "a:443"], "CONNECT: no request is tunnelled"],
    [["GET", "/", "-H", "X-Region"], "-H: expected 'name: value' in field 1"],
    [["GET", "/", "--from", "localhost"], "--from: expected an IP address such as 10.0.0.7, or unix"],
    [
      ["GET", "/", "--client-cert", "sidecar.yaml"],
      "--client-cert: sidecar.yaml cannot be read as a certificate",
    ],
  ])("%j", async (arguments_, message) => {
    using here = surroundings();
    const { code, stdout, stderr } = await here.explain(...arguments_);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`countersign: ${message}`);
  });
});
