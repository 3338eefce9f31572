import { decodeJwt } from "jose";
import { describe, expect, test } from "vitest";
import { apiKeyEntry } from "../support/api-keys.ts";
import { type RecordedRequest, startBackend } from "../support/backend.ts";
import { startSidecar } from "../support/sidecar.ts";

const AUTHENTICATORS = `
authenticators:
  header: {type: apiKey, header: X-Api-Key, keys: [${apiKeyEntry("acme-key", "acme", "claims: {plan: gold}")}]}
  bearer: {type: apiKey, keys: [${apiKeyEntry("globex-key", "globex")}]}
  query: {type: apiKey, query: api_key, keys: [${apiKeyEntry("acme-key", "acme")}]}
  cookie: {type: apiKey, cookie: key, keys: [${apiKeyEntry("acme-key", "acme")}]}
  edge: {type: trustedHeader, header: X-Forwarded-User, from: [127.0.0.1], claims: {email: X-Forwarded-Email}}
  far: {type: trustedHeader, header: X-Far-User, from: [192.0.2.0/24]}
`;

/** What became of one request: the answer, and what the backend saw. */
interface Outcome {
  readonly status: number;
  readonly code: string | undefined;
  readonly challenge: string | null;
  readonly sub: string | undefined;
  readonly claims: Record<string, unknown> | undefined;
  readonly seen: RecordedRequest | undefined;
}

/** Sends one request through a sidecar with these policies. */
async function send(
  policies: string,
  { path = "/", headers = {} }: { path?: string; headers?: Record<string, string> } = {},
  more = "",
): Promise<Outcome> {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: `${AUTHENTICATORS}${more}\npolicies:\n${policies.replaceAll(/^/gm, "  ")}\n`,
  });
  const response = await fetch(`${sidecar.url}${path}`, { headers });
  const body = await response.text();
  const [seen] = backend.requests;
  const jwt = seen?.headers.authorization?.replace("Bearer ", "");
  const claims = jwt === undefined ? undefined : decodeJwt(jwt);
  return {
    status: response.status,
    code: response.ok ? undefined : (JSON.parse(body) as { code: string }).code,
    challenge: response.headers.get("www-authenticate"),
    sub: claims?.sub,
    claims,
    seen,
  };
}

describe("authenticators are asked in the order of the policy", () => {
  const both = { "x-api-key": "acme-key", authorization: "Bearer globex-key" };

  test.each([
    ["[header, bearer]", both, "acme"],
    ["[bearer, header]", both, "globex"],
    ["[header, bearer]", { authorization: "Bearer globex-key" }, "globex"],
    ["[header, bearer, anonymous]", {}, "api-gateway"],
    ["[anonymous, header]", { "x-api-key": "acme-key" }, "acme"],
    // A credential that one of them does not know may be good for another.
    ["[header, bearer]", { "x-api-key": "wrong", authorization: "Bearer globex-key" }, "globex"],
  ])("%s", async (authenticate, headers, sub) => {
    expect(await send(`- {name: p, authenticate: ${authenticate}}`, { headers })).toMatchObject({
      status: 200,
      sub,
    });
  });

  test("the default of every policy stands at the top", async () => {
    const outcome = await send("- {name: p}", { headers: both }, "authenticate: [bearer]");
    expect(outcome).toMatchObject({ status: 200, sub: "globex" });
  });
});

describe("a caller without a good credential", () => {
  test("is told to come back with one, by a challenge of each authenticator", async () => {
    expect(await send("- {name: p, authenticate: [header, bearer]}")).toMatchObject({
      status: 401,
      code: "ERR_CREDENTIAL_MISSING",
      challenge: 'ApiKey realm="countersign", Bearer realm="countersign"',
      seen: undefined,
    });
  });

  test("is told that the one it has is not good", async () => {
    const headers = { authorization: "Bearer wrong" };
    expect(await send("- {name: p, authenticate: [header, bearer]}", { headers })).toMatchObject({
      status: 401,
      code: "ERR_CREDENTIAL_INVALID",
      challenge: 'ApiKey realm="countersign", Bearer realm="countersign", error="invalid_token"',
      seen: undefined,
    });
  });

  test.each([
    ["header", { "x-api-key": "wrong" }],
    ["header", { "x-api-key": "" }],
    ["bearer", { authorization: "Bearer" }],
    ["bearer", { authorization: "Bearer wrong" }],
    ["cookie", { cookie: "key=wrong" }],
    ["cookie", { cookie: "key=acme-key; key=acme-key" }],
    ["edge", { "x-forwarded-user": "" }],
  ])("never becomes anonymous: %s with %o", async (name, headers) => {
    for (const others of ["anonymous", "far, anonymous", "anonymous, far"]) {
      const outcome = await send(`- {name: p, authenticate: [${name}, ${others}]}`, { headers });
      expect(outcome).toMatchObject({ status: 401, code: "ERR_CREDENTIAL_INVALID", seen: undefined });
    }
  });
});

describe("a credential that cannot be checked now", () => {
  const login =
    "  login: {type: jwt, issuer: https://login.example, audience: orders, jwksUri: 'http://127.0.0.1:9/jwks'}\n";
  const jwt = ['{"alg":"RS256"}', '{"iss":"https://login.example"}', "x"]
    .map((part) => Buffer.from(part).toString("base64url"))
    .join(".");

  test.each([
    ["[login]", {}],
    ["[login, anonymous]", {}],
    // It may have been good, whatever the others are.
    ["[header, login]", { "x-api-key": "wrong" }],
    ["[login, header, anonymous]", { "x-api-key": "wrong" }],
  ])("is answered 503, and makes nobody anonymous: %s", async (authenticate, more) => {
    const headers = { authorization: `Bearer ${jwt}`, ...more };
    const outcome = await send(`- {name: p, authenticate: ${authenticate}}`, { headers }, login);
    expect(outcome).toMatchObject({ status: 503, code: "ERR_AUTHENTICATION_UNAVAILABLE", seen: undefined });
  });

  test("does not matter where another one is good", async () => {
    const headers = { authorization: `Bearer ${jwt}`, "x-api-key": "acme-key" };
    for (const authenticate of ["[login, header]", "[header, login]"])
      expect(await send(`- {name: p, authenticate: ${authenticate}}`, { headers }, login)).toMatchObject({
        status: 200,
        sub: "acme",
      });
  });
});

describe("the credential that authenticated a request does not reach the backend:", () => {
  test("a field, in any spelling", async () => {
    const headers = { "x-api-key": "acme-key", x_api_key: "acme-key", "x-other": "stays" };
    const { seen } = await send("- {name: p, authenticate: [header]}", { headers });
    expect(JSON.stringify(seen)).not.toContain("acme-key");
    expect(seen?.headers["x-other"]).toBe("stays");
  });

  test.each(["X_Api_Key", "X.Api.Key", "X-Api-Key!"])("a field that is named %s", async (name) => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `authenticators:\n  it: {type: apiKey, header: "${name}", keys: [${apiKeyEntry("acme-key", "acme")}]}\nauthenticate: [it]\n`,
    });
    expect((await fetch(sidecar.url, { headers: { [name]: "acme-key" } })).status).toBe(200);
    expect(JSON.stringify(backend.requests)).not.toContain("acme-key");
  });

  test("a parameter of the query, and nothing else of it", async () => {
    const path = "/a?x=%20&api_key=acme-key&y&z==&api%5Fkex=1&?api_key=1";
    const { seen, claims } = await send("- {name: p, authenticate: [query]}", { path });
    expect(seen?.url).toBe("/a?x=%20&y&z==&api%5Fkex=1&?api_key=1");
    expect(claims?.aud).toMatch(/\/a\?x=%20&y&z==&api%5Fkex=1&\?api_key=1$/);
  });

  test("a parameter of the query, and not one whose name begins with a question mark", async () => {
    const policy = "- {name: p, authenticate: [query, anonymous]}";
    const { seen } = await send(policy, { path: "/a?api_key=acme-key&?api_key=1" });
    expect(seen?.url).toBe("/a??api_key=1");
    expect(await send(policy, { path: "/a??api_key=acme-key" })).toMatchObject({ sub: "api-gateway" });
  });

  test("a parameter of the query whose name is encoded", async () => {
    const { status, seen } = await send("- {name: p, authenticate: [query]}", {
      path: "/a?api%5fkey=acme-key",
    });
    expect(status).toBe(200);
    expect(seen?.url).toBe("/a");
  });

  test("a cookie, and none of the others", async () => {
    const { seen } = await send("- {name: p, authenticate: [cookie]}", {
      headers: { cookie: "a=1; key=acme-key; b=2" },
    });
    expect(seen?.headers.cookie).toBe("a=1; b=2");
  });

  test("the only cookie, with its field", async () => {
    const { seen } = await send("- {name: p, authenticate: [cookie]}", {
      headers: { cookie: "key=acme-key" },
    });
    expect(seen?.headers).not.toHaveProperty("cookie");
  });

  test("what a proxy in front said", async () => {
    const headers = { "x-forwarded-user": "carol", "x-forwarded-email": "carol@example.com" };
    const policy = "- {name: p, authenticate: [edge], token: {additionalClaims: {email: $user(email)}}}";
    const { seen, claims } = await send(policy, { headers });
    expect(claims).toMatchObject({ sub: "carol", email: "carol@example.com" });
    expect(seen?.headers).not.toHaveProperty("x-forwarded-user");
    expect(seen?.headers).not.toHaveProperty("x-forwarded-email");
  });

  test.each([
    ["token: none", "a policy without a token", undefined],
    ["token: {headerName: X-Service-Token}", "a token in another field", undefined],
  ])("with %s too", async (token) => {
    const headers = { authorization: "Bearer globex-key" };
    const { status, seen } = await send(`- {name: p, authenticate: [bearer], ${token}}`, { headers });
    expect(status).toBe(200);
    expect(seen?.headers).not.toHaveProperty("authorization");
  });
});

describe("forwardCredential leaves it in", () => {
  const forwarding = (authenticator: string) => `
authenticators:
  it: {${authenticator}, forwardCredential: true}
`;
  const key = `keys: [${apiKeyEntry("acme-key", "acme")}]`;

  test.each([
    ["a field", `type: apiKey, header: X-Api-Key, ${key}`, { "x-api-key": "acme-key" }],
    ["a cookie", `type: apiKey, cookie: key, ${key}`, { cookie: "a=1; key=acme-key" }],
    [
      "a trusted header",
      "type: trustedHeader, header: X-Forwarded-User, from: [127.0.0.1]",
      { "x-forwarded-user": "carol" },
    ],
  ])("%s", async (_what, authenticator, headers: Record<string, string>) => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `${forwarding(authenticator)}authenticate: [it]\n`,
    });
    expect((await fetch(sidecar.url, { headers })).status).toBe(200);
    expect(backend.requests[0]?.headers).toMatchObject(headers);
  });

  test("a header that two ranges of proxies may set, whichever of them it is from", async () => {
    await using backend = await startBackend();
    const edge = (from: string) =>
      `{type: trustedHeader, header: X-Forwarded-User, from: [${from}], forwardCredential: true}`;
    await using sidecar = await startSidecar(backend.url, {
      yaml: `authenticators: {near: ${edge("127.0.0.1")}, far: ${edge("192.0.2.0/24")}}\nauthenticate: [far, near]\n`,
    });
    expect((await fetch(sidecar.url, { headers: { "x-forwarded-user": "carol" } })).status).toBe(200);
    expect(backend.requests[0]?.headers["x-forwarded-user"]).toBe("carol");
  });

  test("a query, byte for byte", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `${forwarding(`type: apiKey, query: key, ${key}`)}authenticate: [it]\n`,
    });
    await fetch(`${sidecar.url}/a?key=acme-key&b`);
    expect(backend.requests[0]?.url).toBe("/a?key=acme-key&b");
  });

  test("but not where the token stands", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `${forwarding(`type: apiKey, ${key}`)}authenticate: [it]\n`,
    });
    await fetch(sidecar.url, { headers: { authorization: "Bearer acme-key" } });
    expect(backend.requests[0]?.headers.authorization).not.toContain("acme-key");
  });
});

describe("a header that says who is calling", () => {
  test("is taken out where a stranger sent it, whichever policy matches", async () => {
    const headers = { "x-far-user": "root", x_far_user: "root", "x-forwarded-user": "carol" };
    for (const policy of [
      "- {name: p, authenticate: [anonymous]}",
      "- {name: p, authenticate: [far, anonymous], token: none}",
    ]) {
      const { status, seen } = await send(policy, { headers });
      expect(status).toBe(200);
      expect(JSON.stringify(seen?.rawHeaders)).not.toContain("root");
    }
  });

  test("makes nobody of a stranger", async () => {
    const headers = { "x-far-user": "root" };
    expect(await send("- {name: p, authenticate: [far]}", { headers })).toMatchObject({
      status: 401,
      code: "ERR_CREDENTIAL_MISSING",
    });
    expect(await send("- {name: p, authenticate: [far, anonymous]}", { headers })).toMatchObject({
      sub: "api-gateway",
    });
  });

  test("cannot come back in a claim", async () => {
    const policy =
      "- {name: p, authenticate: [anonymous], token: {additionalClaims: {who: $header(X-Far-User), key: $header(X-Api-Key), q: $query(api_key)}}}";
    const { claims } = await send(policy, { headers: { "x-far-user": "root" } });
    expect(claims).not.toHaveProperty("who");
    const keyed = policy.replace("[anonymous]", "[header, query]");
    expect((await send(keyed, { headers: { "x-api-key": "acme-key" } })).claims).not.toHaveProperty("key");
    expect((await send(keyed, { path: "/?api_key=acme-key" })).claims).not.toHaveProperty("q");
  });
});

describe("require", () => {
  const policy = (require: string, authenticate = "[header, anonymous]") =>
    `- {name: p, authenticate: ${authenticate}, require: ${require}}`;
  const headers = { "x-api-key": "acme-key" };

  test("lets a user pass that has what is required", async () => {
    expect(await send(policy("{claims: {plan: gold}}"), { headers })).toMatchObject({
      status: 200,
      sub: "acme",
    });
  });

  test("answers 403 where it is missing", async () => {
    expect(await send(policy("{claims: {plan: silver}}"), { headers })).toMatchObject({
      status: 403,
      code: "ERR_REQUIREMENT_NOT_MET",
      seen: undefined,
    });
  });

  test("tells a caller without a credential to come back with one", async () => {
    expect(await send(policy("{claims: {plan: gold}}"))).toMatchObject({
      status: 401,
      code: "ERR_CREDENTIAL_MISSING",
      challenge: 'ApiKey realm="countersign"',
      seen: undefined,
    });
  });
});

test("a policy may have an upstream of its own, with the settings of the one at the top but its own", async () => {
  await using backend = await startBackend();
  await using other = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: `
policies:
  - {name: a, match: {path: /a}, upstream: ${other.url}}
  - {name: b, match: {path: /b}, upstream: {url: ${other.url}, preserveHost: false}}
  - {name: rest, match: {path: "/*rest"}}
`,
  });
  for (const path of ["/a", "/b", "/c"])
    await fetch(`${sidecar.url}${path}`, { headers: { "x-request-id": path } });
  expect(other.requests.map(({ url, headers }) => [url, headers.host])).toEqual([
    ["/a", new URL(sidecar.url).host],
    ["/b", new URL(other.url).host],
  ]);
  expect(backend.requests.map(({ url }) => url)).toEqual(["/c"]);
});
