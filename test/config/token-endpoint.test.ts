import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/config/problems.ts";
import { parseConfig } from "../../src/index.ts";

const AUTHENTICATORS = `
upstream: http://127.0.0.1:9000
authenticators:
  partners: {type: apiKey, header: X-Api-Key, keys: [{subject: acme, sha256: ${"a".repeat(64)}}, {subject: "caf\u00e9", sha256: ${"b".repeat(64)}}]}
  staff: {type: basic, users: [{username: ops, passwordHash: "$2b$10$${"a".repeat(53)}"}]}
  login: {type: jwt, issuer: https://login.example.com, audience: orders}
  edge: {type: trustedHeader, header: X-User, from: [10.0.0.0/8]}
authenticate: [partners]
`;

const parse = (endpoint: string) =>
  parseConfig(`${AUTHENTICATORS}tokenEndpoint: ${endpoint}\n`, { file: "sidecar.yaml", env: {} });

/** What is wrong with an endpoint, each with its key. */
function problemsOf(endpoint: string): string[] {
  try {
    parse(endpoint);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(({ key, message }) => `${key}: ${message}`);
    throw error;
  }
  return [];
}

test("whoever may ask, and for whom, is enough", () => {
  const { config } = parse("{authenticate: [partners, login, staff], audiences: [https://api.example.com]}");
  expect(config.tokenEndpoint).toEqual({
    url: undefined,
    clients: ["partners", "staff"],
    publicClients: [],
    tokens: ["login"],
    audiences: ["https://api.example.com"],
    lifetimeSeconds: 300,
    algorithm: "EdDSA",
    additionalClaims: { kind: "literal", value: {} },
  });
});

test("the algorithm is that of the issuer, unless it is said", () => {
  const { config } = parse("{authenticate: [partners], audiences: [a], algorithm: RS256}");
  expect(config.tokenEndpoint?.algorithm).toBe("RS256");
});

test("authenticators that only the endpoint asks are not told to be of no use", () => {
  const { warnings } = parse("{authenticate: [staff, login], audiences: [a]}");
  expect(warnings.map(({ key }) => key)).toEqual(["authenticators.edge"]);
});

describe("a problem is", () => {
  test.each([
    [
      "no audience",
      "{authenticate: [partners], audiences: []}",
      "tokenEndpoint.audiences: expected at least one audience",
    ],
    [
      "an unknown authenticator",
      "{authenticate: [partner], audiences: [a]}",
      "tokenEndpoint.authenticate[0]: no authenticator has this name; did you mean partners?",
    ],
    [
      "an authenticator twice",
      "{authenticate: [partners, partners], audiences: [a]}",
      "tokenEndpoint.authenticate[1]: stands here twice; keep one",
    ],
    [
      "anonymous",
      "{authenticate: [anonymous], audiences: [a]}",
      "tokenEndpoint.authenticate[0]: clients have to be known; list those without a secret under publicClients",
    ],
    [
      "an authenticator that knows requests alone",
      "{authenticate: [partners, edge], audiences: [a]}",
      "tokenEndpoint.authenticate[1]: expected an authenticator of the type apiKey, basic or jwt: one of the type trustedHeader knows requests alone",
    ],
    [
      "that no client could ask",
      "{authenticate: [login], audiences: [a]}",
      "tokenEndpoint.authenticate: knows no client: name an authenticator of the type apiKey or basic too, or list clients without a secret under publicClients",
    ],
    [
      "a client without a secret that could do nothing",
      "{authenticate: [partners], publicClients: [app], audiences: [a]}",
      "tokenEndpoint.publicClients: they can only exchange tokens: name an authenticator of the type jwt under authenticate",
    ],
    [
      "a client without a secret whose name is another's in another form of Unicode",
      '{authenticate: [partners, login], publicClients: ["cafe\u0301"], audiences: [a]}',
      "tokenEndpoint.publicClients[0]: a client of this name has a secret: nobody could tell the two apart; choose another",
    ],
    [
      "a client without a secret that has one",
      "{authenticate: [partners, staff, login], publicClients: [app, acme, ops], audiences: [a]}",
      "tokenEndpoint.publicClients[1]: a client of this name has a secret: nobody could tell the two apart; choose another",
    ],
    [
      "a claim that the endpoint sets",
      "{authenticate: [partners], audiences: [a], additionalClaims: {scope: x}}",
      "tokenEndpoint.additionalClaims.scope: the claim scope cannot be set here; it is what the caller has and the client asked for",
    ],
    [
      "a claim that every token has",
      "{authenticate: [partners], audiences: [a], additionalClaims: {sub: x}}",
      "tokenEndpoint.additionalClaims.sub: the claim sub cannot be set here; it is the client, or that of the token that is exchanged",
    ],
    [
      "a template of the request",
      "{authenticate: [partners], audiences: [a], additionalClaims: {ip: $request(ip)}}",
      "tokenEndpoint.additionalClaims.ip: expected $user(…) or $env(…): no request is forwarded here that could be told of",
    ],
    [
      "an unknown key",
      "{authenticate: [partners], audience: [a]}",
      "tokenEndpoint.audience: unknown key `audience`; did you mean `audiences`?",
    ],
  ])("%s", (_, endpoint, problem) => {
    expect(problemsOf(endpoint)).toContainEqual(problem);
  });
});

test("a claim may hold what is known of the caller, and a variable", () => {
  expect(
    problemsOf(
      '{authenticate: [partners], audiences: [a], additionalClaims: {plan: $user(plan), env: "$env(X, y)"}}',
    ),
  ).toEqual([]);
});

test("where the issuer's URL leads elsewhere, the endpoint has to say where it is", () => {
  const endpoint = "{authenticate: [partners], audiences: [a]}";
  const warningsWith = (more: string) =>
    parse(
      `${endpoint.replace("}", `${more}}`)}\nissuer: {url: "https://keys.example.com/orders"}`,
    ).warnings.map(({ key }) => key);
  expect(warningsWith("")).toContain("tokenEndpoint");
  expect(warningsWith(", url: 'https://api.example.com/__issuer/token'")).not.toContain("tokenEndpoint");
});

describe("an authenticator of the issuer's own tokens", () => {
  const own = (algorithms: string, more = "") => {
    const jwt = `{type: jwt, issuer: "http://127.0.0.1:8080/__issuer", audience: a${algorithms}}`;
    const yaml = `upstream: http://127.0.0.1:9000\nauthenticators: {own: ${jwt}}\nauthenticate: [own]\n${more}`;
    return parseConfig(yaml, { file: "sidecar.yaml", env: {} }).warnings.map(({ message }) => message);
  };

  test("that takes none of the algorithms that sign them is told of", () => {
    expect(own("")).toEqual([
      "no token of this issuer is accepted: they are signed with EdDSA; add the key algorithms: [EdDSA]",
    ]);
  });

  test("that takes what policies put on requests is told of, unless it looks at the type", () => {
    const take = ", algorithms: [EdDSA]";
    expect(own(take, "token: {audience: [b, a]}\n")).toEqual([
      "takes what policies put on requests, too: they have this audience; give the API one of its own, or add the key typ: at+jwt",
    ]);
    expect(own(`${take}, typ: at+jwt`, "token: {audience: a}\n")).toEqual([]);
    expect(own(take, "token: {audience: b}\n")).toEqual([]);
  });

  test("is no cause for doubt otherwise", () => {
    expect(own(", algorithms: [EdDSA]")).toEqual([]);
  });
});
