import { describe, expect, test } from "vitest";
import { formatProblem } from "../../../src/config/problems.ts";
import { ConfigError, parseConfig } from "../../../src/index.ts";

const FILE = "sidecar.yaml";
const KINDS = "apiKey, jwt, basic, clientCertificate, trustedHeader";
const JWT = "type: jwt, issuer: 'https://login.example.com', audience: x";
const DIGEST = "a".repeat(64);

function messagesOf(yaml: string): string[] {
  try {
    parseConfig(`upstream: http://127.0.0.1:9000\n${yaml}\n`, { file: FILE, env: {} });
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message.split("\n").map((line) => line.replace(`${FILE}:`, ""));
  }
  return [];
}

describe("an authenticator that cannot be is refused where it stands:", () => {
  test.each([
    ["5", "2:21 authenticators.a: expected a map with the key type and what belongs to it"],
    ["{}", `2:21 authenticators.a.type: the key type is missing; expected one of ${KINDS}`],
    ["{type: apikey}", `2:28 authenticators.a.type: expected one of ${KINDS}; did you mean apiKey?`],
    ["{type: oauth2}", `2:28 authenticators.a.type: expected one of ${KINDS}`],
    [
      "{type: apiKey}",
      "2:21 authenticators.a: expected the keys `keys` or `keysFile`: which keys are known?",
    ],
    [
      "{type: apiKey, keys: [], kyes: []}",
      "2:46 authenticators.a.kyes: unknown key `kyes`; did you mean `keys`?",
    ],
    [
      "{type: apiKey, keys: [{subject: x, sha256: abc}]}",
      "2:64 authenticators.a.keys[0].sha256: expected a SHA-256 of 64 hexadecimal digits; countersign api-key create prints one",
    ],
    [
      `{type: apiKey, keys: [{subject: x, sha256: ${DIGEST}}, {subject: y, sha256: ${DIGEST.toUpperCase()}}]}`,
      "2:152 authenticators.a.keys[1].sha256: this key stands here twice; keep one",
    ],
    ...["2027-02-30", "2027-13-01", "tomorrow", "2027-01-31T12:00:00", "2027-1-1"].map((time) => [
      `{type: apiKey, keys: [{subject: x, expires: '${time}', sha256: ${DIGEST}}]}`,
      '2:65 authenticators.a.keys[0].expires: expected a time such as "2027-01-31" or "2027-01-31T12:00:00Z"',
    ]),
    [
      "{type: apiKey, header: X, cookie: y, keys: []}",
      "2:55 authenticators.a.cookie: expected only one of the keys header and cookie: a credential has one place",
    ],
    [
      "{type: apiKey, cookie: y, scheme: Bearer, keys: []}",
      "2:55 authenticators.a.scheme: only for a header",
    ],
    [
      "{type: apiKey, header: Cookie, keys: []}",
      "2:44 authenticators.a.header: expected another field name: for a cookie there is the key cookie",
    ],
    ...["Host", "Content-Length", "content_length", "Transfer-Encoding", "Connection", "Upgrade"].map(
      (name) => [
        `{type: apiKey, header: ${name}, keys: []}`,
        "2:44 authenticators.a.header: expected another field name: a request cannot do without this one",
      ],
    ),
    [
      "{type: apiKey, header: X Key, keys: []}",
      '2:44 authenticators.a.header: expected a field name such as "X-Api-Key": letters, digits and hyphens',
    ],
    [
      `{${JWT}, algorithms: [HS256]}`,
      "2:96 authenticators.a.algorithms[0]: expected one of EdDSA, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512; an HS algorithm signs with a shared secret, which a JWK Set cannot publish",
    ],
    [`{${JWT}, algorithms: []}`, "2:95 authenticators.a.algorithms: expected at least one algorithm"],
    [`{${JWT}, clockSkew: 1h}`, "2:94 authenticators.a.clockSkew: expected at most 600 s"],
    [
      `{${JWT}, jwks: a, jwksUri: 'http://b'}`,
      "2:89 authenticators.a.jwks: expected only one of the keys jwksUri and jwks",
    ],
    [
      `{${JWT}, originalTokenHeader: Authorization}`,
      "2:104 authenticators.a.originalTokenHeader: a policy puts its own token into this field; choose another",
    ],
    [
      "{type: basic}",
      "2:21 authenticators.a: expected the keys `users` or `htpasswd`: which users are known?",
    ],
    [
      "{type: clientCertificate}",
      "2:21 authenticators.a: no client is asked for a certificate; set listen.tls.clientCertificate to optional or required, or name with from the proxies whose Client-Cert field is believed",
    ],
    [
      "{type: clientCertificate, from: [10.0.0.0/33]}",
      '2:54 authenticators.a.from[0]: expected a range of addresses such as "10.0.0.0/8", or one address',
    ],
    [
      "{type: trustedHeader, header: X-User}",
      '2:21 authenticators.a.from: is missing; expected a list of address ranges such as "10.0.0.0/8"',
    ],
    [
      "{type: trustedHeader, header: X-User, from: []}",
      "2:65 authenticators.a.from: expected at least one range",
    ],
  ])("%s", (section, message) => {
    expect(messagesOf(`authenticators: {a: ${section}}\nauthenticate: [a]`)).toEqual([message]);
  });

  test("two that are missing are both told", () => {
    expect(messagesOf("authenticators: {a: {type: jwt}}\nauthenticate: [a]")).toEqual([
      "2:21 authenticators.a.issuer: is missing; expected a string",
      "2:21 authenticators.a.audience: is missing; expected a string or a list of strings",
    ]);
  });
});

describe("who is asked must be said, and must exist:", () => {
  const AUTHENTICATORS = "authenticators: {keys: {type: apiKey, keys: []}}";

  test.each([
    ["", "2:17 authenticators: nothing asks them; add the key authenticate: [keys]"],
    [
      "policies: [{name: a, authenticate: [keys]}, {name: b}]",
      "3:45 policies[1]: is there for whom? add the key authenticate with some of keys, anonymous, here or at the top",
    ],
    ["authenticate: [kesy]", "3:16 authenticate[0]: no authenticator has this name; did you mean keys?"],
    [
      "authenticate: [other]",
      "3:16 authenticate[0]: no authenticator has this name; there are keys, anonymous",
    ],
    ["authenticate: [keys, keys]", "3:22 authenticate[1]: stands here twice; keep one"],
    ["authenticate: []", "3:15 authenticate: expected at least one authenticator, or anonymous"],
    ["authenticate: keys", "3:15 authenticate: expected a list of authenticators"],
    [
      "policies: [{name: a, authenticate: [keys, anonymus]}]",
      "3:43 policies[0].authenticate[1]: no authenticator has this name; did you mean anonymous?",
    ],
    [
      "authenticate: [keys]\npolicies: [{name: a, authenticate: [anonymous], require: {scopes: [x]}}]",
      "4:58 policies[0].require: no caller can meet this: the policy asks no authenticator who is calling",
    ],
    [
      "authenticate: [keys]\npolicies: [{name: a, require: {}}]",
      "4:31 policies[0].require: expected at least one of the keys scopes, claims, subjects, anyOf: what is required?",
    ],
    [
      "authenticate: [keys]\npolicies: [{name: a, require: {scopes: [a b]}}]",
      "4:41 policies[0].require.scopes[0]: expected one scope, without a space; several are a list",
    ],
    [
      "authenticate: [keys]\npolicies: [{name: a, require: {claims: {x: {y: 1}}}}]",
      "4:44 policies[0].require.claims.x: expected a text, a number, true or false, or a list of them",
    ],
    [
      "authenticate: [keys]\npolicies: [{name: a, require: {anyOf: [{anyOf: []}]}}]",
      "4:41 policies[0].require.anyOf[0].anyOf: unknown key `anyOf`; the keys here are scopes, claims, subjects",
    ],
  ])("%s", (yaml, message) => {
    expect(messagesOf(`${AUTHENTICATORS}\n${yaml}`)).toContain(message);
  });

  test("a name with a meaning of its own, or that none can be, is refused", () => {
    expect(
      messagesOf("authenticators: {anonymous: {type: apiKey, keys: []}}\nauthenticate: [anonymous]"),
    ).toEqual([
      "2:29 authenticators.anonymous: this name stands for a caller without a credential; choose another",
    ]);
    expect(messagesOf("authenticators: {a b: {type: apiKey, keys: []}}\nauthenticate: [anonymous]")).toEqual([
      '2:23 authenticators["a b"]: expected a name of at most 64 letters, digits, hyphens and underscores',
    ]);
  });

  test("without authenticators nothing has to be said", () => {
    expect(messagesOf("policies: [{name: a}]")).toEqual([]);
    expect(messagesOf("authenticators: {}")).toEqual([]);
  });
});

describe("a policy's own code and upstream are refused where they cannot be:", () => {
  test.each([
    [
      "module: 5",
      '2:30 policies[0].module: expected a file such as "./policies/tenant.mjs", or a map with the key file',
    ],
    ["module: {timeout: 1s}", "2:30 policies[0].module.file: is missing; expected a string"],
    [
      "module: {file: a.mjs, timeout: 0}",
      "2:53 policies[0].module.timeout: expected whole seconds, at least 1",
    ],
    [
      "upstream: {connections: 5}",
      '2:32 policies[0].upstream.url: is missing; expected a URL such as "http://127.0.0.1:9000"',
    ],
    [
      "upstream: {url: 'http://b', tls: {}}",
      "2:55 policies[0].upstream.tls: has no effect: the URL is not https",
    ],
  ])("%s", (yaml, message) => {
    expect(messagesOf(`policies: [{name: a, ${yaml}}]`)).toEqual([message]);
  });
});

describe("what is doubtful about authenticators is a warning:", () => {
  test.each([
    [
      "{type: apiKey, keys: []}",
      "authenticate: [anonymous]",
      "2:21 authenticators.a: no policy asks this authenticator",
    ],
    [
      "{type: apiKey, keys: [], forwardCredential: true}",
      "authenticate: [a]",
      "2:65 authenticators.a.forwardCredential: has no effect: the field belongs to the token; give the token another headerName, or a JWT an originalTokenHeader",
    ],
    [
      "{type: trustedHeader, header: X-User, from: [10.0.0.0/8, 0.0.0.0/0]}",
      "authenticate: [a]",
      "2:78 authenticators.a.from[1]: whoever can reach the sidecar may say who is calling",
    ],
    [
      "{type: jwt, issuer: 'http://login.example.com', audience: x}",
      "authenticate: [a]",
      "2:41 authenticators.a.issuer: the keys are fetched over http, so whoever is on the way can put others in their place; use https",
    ],
    [
      "{type: jwt, issuer: x, audience: x, jwksUri: 'http://login.example.com/keys'}",
      "authenticate: [a]",
      "2:66 authenticators.a.jwksUri: the keys are fetched over http, so whoever is on the way can put others in their place; use https",
    ],
  ])("%s", (section, authenticate, message) => {
    const text = `upstream: http://127.0.0.1:9000\nauthenticators: {a: ${section}}\n${authenticate}\n`;
    const { warnings } = parseConfig(text, { file: FILE, env: {} });
    expect(warnings.map(formatProblem)).toEqual([`${FILE}:${message}`]);
  });

  test.each([
    "{type: jwt, issuer: 'http://127.0.0.1:4000', audience: x}",
    "{type: jwt, issuer: 'http://login.example.com', audience: x, jwks: keys.json}",
    "{type: apiKey, header: X-Api-Key, keys: [], forwardCredential: true}",
  ])("and this is not: %s", (section) => {
    const text = `upstream: http://127.0.0.1:9000\nauthenticators: {a: ${section}}\nauthenticate: [a]\n`;
    expect(parseConfig(text, { file: FILE, env: {} }).warnings).toEqual([]);
  });
});
