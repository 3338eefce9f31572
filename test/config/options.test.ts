import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createLocalJWKSet, createRemoteJWKSet, decodeJwt, type JSONWebKeySet, jwtVerify } from "jose";
import { describe, expect, test } from "vitest";
import { formatProblem } from "../../src/config/problems.ts";
import { parseConfig } from "../../src/index.ts";
import { SIGNING_ALGORITHMS } from "../../src/issuer/algorithms.ts";
import { type RecordedRequest, startBackend } from "../support/backend.ts";
import { runCommand, temporaryFolder } from "../support/command-line.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

/** 2026-01-01T00:00:00Z, in seconds. */
const NOW = 1_767_225_600;

interface Exchange {
  /** The URL that the client asked for. */
  readonly url: string;
  /** The issuer's URL. */
  readonly issuer: string;
  /** What the backend got. */
  readonly seen: RecordedRequest;
  /** The value of a field in which the backend looks for a token, verified with the issuer's keys. */
  verify(value: string | undefined): Promise<{ alg: string; claims: Record<string, unknown> }>;
}

interface RequestOptions {
  readonly path?: string;
  readonly headers?: Record<string, string>;
  readonly env?: Record<string, string>;
}

/** Sends one real request through a sidecar with this configuration to a real backend. */
async function exchange(yaml: string, options: RequestOptions = {}): Promise<Exchange> {
  const { path = "/orders/42?q=1", headers = {}, env = {} } = options;
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, { yaml, env, now: () => NOW * 1000 });
  const url = `${sidecar.url}${path}`;
  const response = await fetch(url, { headers });
  expect(response.status).toBe(200);
  const [seen] = backend.requests;
  if (!seen) throw new Error("nothing arrived");
  const keys = createLocalJWKSet(sidecar.issuer.jwks() as unknown as JSONWebKeySet);
  return {
    url,
    issuer: sidecar.issuer.url,
    seen,
    async verify(value = "") {
      const token = value.slice(value.lastIndexOf(" ") + 1);
      const { protectedHeader, payload } = await jwtVerify(token, keys, {
        currentDate: new Date(NOW * 1000),
      });
      return { alg: protectedHeader.alg, claims: payload };
    },
  };
}

/** The claims that the backend got with the defaults for the field. */
async function claimsOf(yaml: string, options?: RequestOptions): Promise<Record<string, unknown>> {
  const { seen, verify } = await exchange(yaml, options);
  expect(seen.headers.authorization).toMatch(/^Bearer [\w-]+\.[\w-]+\.[\w-]+$/);
  return (await verify(seen.headers.authorization)).claims;
}

test("without any option the token has the five claims, in Authorization with the prefix Bearer", async () => {
  const { url, issuer, seen, verify } = await exchange("");

  expect(seen.headers.authorization).toMatch(/^Bearer [\w-]+\.[\w-]+\.[\w-]+$/);
  expect(await verify(seen.headers.authorization)).toEqual({
    alg: "EdDSA",
    claims: { iss: issuer, sub: "api-gateway", aud: url, iat: NOW, exp: NOW + 300 },
  });
});

describe("an option of token shows in the token that the backend gets", () => {
  test.each([
    ["audience: https://api.example.com", { aud: "https://api.example.com" }],
    ["audience: [https://a.example, https://b.example]", { aud: ["https://a.example", "https://b.example"] }],
    ["subject: billing", { sub: "billing" }],
    ["expiresIn: 300", { exp: NOW + 300 }],
    ["expiresIn: 600", { exp: NOW + 600 }],
    ["expiresIn: 10m", { exp: NOW + 600 }],
    ["expiresIn: 5 minutes", { exp: NOW + 300 }],
    ["expiresIn: 1h", { exp: NOW + 3600 }],
    ["expiresIn: 7d", { exp: NOW + 604_800 }],
    ["additionalClaims: {}", {}],
    ["additionalClaims: {role: admin, custom: value}", { role: "admin", custom: "value" }],
    [
      "additionalClaims: {n: 1.5, yes: true, list: [a, {b: null}], empty: ''}",
      { n: 1.5, yes: true, list: ["a", { b: null }], empty: "" },
    ],
    [
      "additionalClaims: {iss: my-api-gateway, scope: read write}",
      { iss: "my-api-gateway", scope: "read write" },
    ],
    ["notBefore: true", { nbf: NOW }],
    ["notBefore: false", {}],
    ["tokenId: true", { jti: expect.stringMatching(/^[\w-]{20,}$/) }],
    ["tokenId: false", {}],
  ])("%s", async (line, expected) => {
    const claims = await claimsOf(`token: {${line}}`);
    const { iss, sub, aud, iat, exp, ...others } = claims;
    const standard = ["iss", "sub", "aud", "iat", "exp"];

    expect(claims).toMatchObject(expected);
    expect(Object.keys(others)).toEqual(Object.keys(expected).filter((claim) => !standard.includes(claim)));
    expect({ iss, sub, aud, iat, exp }).toEqual({
      iss: expect.any(String),
      sub: "api-gateway",
      aud: expect.stringMatching(/\/orders\/42\?q=1$/),
      iat: NOW,
      exp: NOW + 300,
      ...Object.fromEntries(Object.entries(expected).filter(([claim]) => standard.includes(claim))),
    });
  });

  test("an iss of its own is warned about", () => {
    const { warnings } = parseConfig("upstream: http://a\ntoken: {additionalClaims: {iss: me}}\n", {
      file: "f.yaml",
    });
    expect(warnings.map(formatProblem)).toEqual([
      "f.yaml:2:33 token.additionalClaims.iss: overrides the issuer: a backend that compares iss with the discovery document will refuse the token",
    ]);
  });

  test("tokenId gives each request an id of its own", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, { yaml: "token: {tokenId: true}" });
    for (const _ of [1, 2, 3]) await fetch(sidecar.url);
    const ids = backend.requests.map(
      ({ headers }) => decodeJwt(headers.authorization?.replace("Bearer ", "") ?? "").jti,
    );
    expect(new Set(ids).size).toBe(3);
  });

  test.each([
    ["", "Authorization", /^Bearer [\w-]+\.[\w-]+\.[\w-]+$/],
    ["headerName: Authorization", "Authorization", /^Bearer [\w-]+\./],
    ["headerName: X-API-Token", "X-API-Token", /^Bearer [\w-]+\./],
    ["tokenPrefix: Bearer", "Authorization", /^Bearer [\w-]+\./],
    ["tokenPrefix: Token", "Authorization", /^Token [\w-]+\./],
    ["tokenPrefix: ''", "Authorization", /^[\w-]+\.[\w-]+\.[\w-]+$/],
    ["headerName: X-API-Token, tokenPrefix: Token", "X-API-Token", /^Token [\w-]+\./],
    ["headerName: X-Service-Token, tokenPrefix: ''", "X-Service-Token", /^[\w-]+\.[\w-]+\.[\w-]+$/],
  ])("{%s} puts it in %s", async (line, field, value) => {
    const { seen, verify } = await exchange(`token: {${line}}`);
    const lines = seen.rawHeaders.flatMap((name, index) =>
      index % 2 === 0 && seen.rawHeaders[index + 1]?.includes("eyJ") ? [name] : [],
    );
    expect(lines).toEqual([field]);
    expect(seen.headers[field.toLowerCase()]).toMatch(value);
    await verify(seen.headers[field.toLowerCase()] as string);
  });

  test("with a headerName of its own the client's Authorization goes on to the backend", async () => {
    const { seen } = await exchange("token: {headerName: X-Service-Token}", {
      headers: { authorization: "Basic b3BzOm9wcw==" },
    });
    expect(seen.headers.authorization).toBe("Basic b3BzOm9wcw==");
  });
});

describe("the URL of the request, as audience", () => {
  test("is made from the Host that the client sent", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url);
    await sendRaw(sidecar.port, "GET /a?b=c HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n");
    const token = backend.requests[0]?.headers.authorization?.replace("Bearer ", "") ?? "";
    expect(decodeJwt(token).aud).toBe("http://api.example.com/a?b=c");
  });

  test.each([
    ["https://api.example.com", "https://api.example.com/orders/42?q=1"],
    ["https://api.example.com/v1", "https://api.example.com/v1/orders/42?q=1"],
  ])("is made from publicUrl: %s", async (publicUrl, audience) => {
    expect(await claimsOf(`publicUrl: ${publicUrl}`)).toMatchObject({ aud: audience });
  });
});

describe("issuer", () => {
  test.each([
    ["", "/__issuer"],
    ["issuer: {basePath: /custom, keys: {ephemeral: true}}", "/custom"],
    ["issuer: {basePath: /a/b, keys: {ephemeral: true}}", "/a/b"],
  ])("{%s} serves its documents below %s, and tokens verify by discovery", async (yaml, basePath) => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, { yaml });
    await fetch(sidecar.url);
    const issuer = `${sidecar.url}${basePath}`;

    const discovery = await fetch(`${issuer}/.well-known/openid-configuration`);
    const metadata = (await discovery.json()) as { issuer: string; jwks_uri: string };
    expect(metadata).toMatchObject({ issuer, jwks_uri: `${issuer}/.well-known/jwks.json` });

    const token = backend.requests[0]?.headers.authorization?.replace("Bearer ", "") ?? "";
    await jwtVerify(token, createRemoteJWKSet(new URL(metadata.jwks_uri)), { issuer });
    expect(backend.requests).toHaveLength(1);
  });

  test("url is the iss of tokens and of discovery, whatever the request says", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: "issuer: {url: 'https://id.example.com/__issuer', keys: {ephemeral: true}}",
    });
    await fetch(sidecar.url);
    const token = backend.requests[0]?.headers.authorization?.replace("Bearer ", "") ?? "";
    expect(decodeJwt(token).iss).toBe("https://id.example.com/__issuer");
    const discovery = await fetch(`${sidecar.url}/__issuer/.well-known/openid-configuration`);
    expect(await discovery.json()).toMatchObject({
      issuer: "https://id.example.com/__issuer",
      jwks_uri: "https://id.example.com/__issuer/.well-known/jwks.json",
    });
  });

  test.each([
    ["", "public, max-age=300"],
    ["issuer: {jwksMaxAge: 60, keys: {ephemeral: true}}", "public, max-age=60"],
    ["issuer: {jwksMaxAge: 1h, keys: {ephemeral: true}}", "public, max-age=3600"],
  ])("{%s} lets verifiers keep the keys: %s", async (yaml, cacheControl) => {
    await using sidecar = await startSidecar("http://127.0.0.1:9", { yaml });
    const response = await fetch(`${sidecar.url}/__issuer/.well-known/jwks.json`);
    expect(response.headers.get("cache-control")).toBe(cacheControl);
  });

  const pem = { type: "pkcs8", format: "pem" } as const;
  const RSA_KEY = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export(pem) as string;

  test.each(SIGNING_ALGORITHMS)("algorithm: %s signs the token", async (algorithm) => {
    const keys = /^[RP]S/.test(algorithm) ? "{env: KEY}" : "{ephemeral: true}";
    const { seen, verify } = await exchange(`issuer: {algorithm: ${algorithm}, keys: ${keys}}`, {
      env: { KEY: RSA_KEY },
    });
    expect((await verify(seen.headers.authorization)).alg).toBe(algorithm);
  });

  test.each([
    ["", 3600],
    ["issuer: {expiresIn: 300}", 300],
    ["issuer: {expiresIn: 5 minutes}", 300],
    // What a policy's tokens live for is another matter.
    ["token: {expiresIn: 1m}", 3600],
  ])("{%s} gives tokens of the command line a lifetime of %i seconds", async (yaml, seconds) => {
    using folder = temporaryFolder();
    writeFileSync(join(folder.path, "sidecar.yaml"), `upstream: http://127.0.0.1:9\n${yaml}\n`);
    const { stdout } = await runCommand(["mint"], { cwd: folder.path });
    const { iat = 0, exp } = decodeJwt(stdout.trim());
    expect(exp).toBe(iat + seconds);
  });
});

describe("policies", () => {
  const POLICIES = `
token:
  audience: https://default.example
  expiresIn: 2m
  headerName: X-Token
  tokenPrefix: Token
  notBefore: true
  additionalClaims: {env: test, region: eu}
policies:
  - {name: none, match: {path: /none}, token: none}
  - {name: inherits, match: {path: /inherits}}
  - {name: empty, match: {path: /empty}, token: {}}
  - name: overrides
    match: {path: /overrides}
    token:
      audience: [https://a.example]
      subject: other
      expiresIn: 30 s
      headerName: Authorization
      tokenPrefix: ""
      notBefore: false
      additionalClaims: {region: us, tier: gold}
  - {name: removes, match: {path: /removes}, token: {additionalClaims: {region: null, gone: null}}}
  - {name: rest}
`;
  const DEFAULTS = {
    sub: "api-gateway",
    aud: "https://default.example",
    iat: NOW,
    exp: NOW + 120,
    nbf: NOW,
  };

  test.each([
    ["inherits every setting of token", "/inherits", { ...DEFAULTS, env: "test", region: "eu" }],
    ["inherits every setting where it says nothing", "/empty", { ...DEFAULTS, env: "test", region: "eu" }],
    ["matches what no other did", "/anything", { ...DEFAULTS, env: "test", region: "eu" }],
    ["removes a claim with null", "/removes", { ...DEFAULTS, env: "test" }],
  ])("a policy %s", async (_what, path, claims) => {
    const { seen, verify, issuer } = await exchange(POLICIES, { path });
    expect(seen.headers["x-token"]).toMatch(/^Token /);
    expect((await verify(seen.headers["x-token"] as string)).claims).toEqual({ iss: issuer, ...claims });
  });

  test("a policy overrides settings of token, and merges its claims into those there", async () => {
    const { seen, verify, issuer } = await exchange(POLICIES, { path: "/overrides" });
    expect(seen.headers).not.toHaveProperty("x-token");
    expect(seen.headers.authorization).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
    expect((await verify(seen.headers.authorization)).claims).toEqual({
      iss: issuer,
      sub: "other",
      aud: ["https://a.example"],
      iat: NOW,
      exp: NOW + 30,
      env: "test",
      region: "us",
      tier: "gold",
    });
  });

  test("token: none forwards without a token, and without one that the client made up", async () => {
    const { seen } = await exchange(POLICIES, {
      path: "/none",
      headers: { "x-token": "Token mine", authorization: "mine" },
    });
    expect(seen.headers).not.toHaveProperty("x-token");
    expect(seen.headers).not.toHaveProperty("authorization");
  });

  test("the first policy that matches decides, and where none does the answer is 404", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `policies:
  - {name: reads, match: {path: "/orders/:id", methods: [GET]}, token: {subject: reads}}
  - {name: writes, match: {path: "/orders/:id", methods: [POST, PUT]}, token: {subject: writes}}
  - {name: files, match: {path: "/files/*rest"}, token: {subject: files}}
  - {name: host, match: {hosts: [api.example.com, "*.internal"]}, token: {subject: host}}
`,
    });
    const send = async (method: string, path: string, host = "other.example.com") => {
      const before = backend.requests.length;
      const answer = await sendRaw(
        sidecar.port,
        `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
      );
      const seen = backend.requests.slice(before)[0];
      const subject = seen && decodeJwt(seen.headers.authorization?.replace("Bearer ", "") ?? "").sub;
      return [...statusesOf(answer), subject];
    };

    expect(await send("GET", "/orders/1")).toEqual([200, "reads"]);
    expect(await send("POST", "/orders/1")).toEqual([200, "writes"]);
    expect(await send("PUT", "/orders/1?a=b")).toEqual([200, "writes"]);
    expect(await send("DELETE", "/orders/1")).toEqual([404, undefined]);
    expect(await send("GET", "/orders/1/2")).toEqual([404, undefined]);
    expect(await send("GET", "/files")).toEqual([404, undefined]);
    expect(await send("GET", "/files/a/b")).toEqual([200, "files"]);
    expect(await send("GET", "/", "API.example.com:8080")).toEqual([200, "host"]);
    expect(await send("GET", "/", "a.b.internal")).toEqual([200, "host"]);
    expect(await send("GET", "/", "internal")).toEqual([404, undefined]);
  });
});

describe("$env", () => {
  test.each([
    ["$env(NAME)", "production"],
    ["$env( NAME )", "production"],
    ["in $env(NAME), with $env(OTHER)", "in production, with $env(NAME)"],
    ["$env(NOT_SET, fallback)", "fallback"],
    ["$env(NOT_SET, a b)", "a b"],
    ["$env(NOT_SET,)", ""],
    ["$env(NAME, fallback)", "production"],
    ["$env(EMPTY, fallback)", ""],
    ["costs $5 (about)", "costs $5 (about)"],
  ])('the claim "%s" is "%s"', async (text, value) => {
    const claims = await claimsOf(`token: {additionalClaims: {env: "${text}", list: ["${text}"]}}`, {
      // What a variable holds is not looked at again.
      env: { NAME: "production", OTHER: "$env(NAME)", EMPTY: "" },
    });
    expect(claims).toMatchObject({ env: value, list: [value] });
  });

  test("works in any setting", async () => {
    const { seen, verify } = await exchange(
      `
token:
  subject: $env(SUBJECT)
  audience: [$env(AUDIENCE)]
  expiresIn: $env(LIFETIME, 2m)
  headerName: X-$env(FIELD)
  tokenPrefix: $env(PREFIX)
publicUrl: https://$env(HOST, api.example.com)
policies:
  - {name: all, match: {path: "/$env(PATH_PREFIX)/*rest", methods: [$env(METHOD)]}}
`,
      {
        env: {
          SUBJECT: "me",
          AUDIENCE: "you",
          FIELD: "Token",
          PREFIX: "",
          PATH_PREFIX: "orders",
          METHOD: "GET",
        },
      },
    );
    expect((await verify(seen.headers["x-token"] as string)).claims).toMatchObject({
      sub: "me",
      aud: ["you"],
      exp: NOW + 120,
    });
  });
});

describe("upstream", () => {
  test.each([
    ["", "api.example.com"],
    [", preserveHost: true", "api.example.com"],
    [", preserveHost: false", undefined],
  ])("{url: …%s}: the backend sees the host %s", async (setting, host) => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `upstream: {url: "${backend.url}"${setting}}`,
    });
    await sendRaw(sidecar.port, "GET / HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n");
    expect(backend.requests[0]?.headers.host).toBe(host ?? new URL(backend.url).host);
  });
});

describe("allowInPath", () => {
  test.each([
    ["encodedSlash", "/a%2Fb"],
    ["encodedBackslash", "/a%5Cb"],
    ["emptySegment", "/a//b"],
    ["pathParameters", "/a;b=c"],
  ])("%s lets %s through, which is 400 without it", async (kind, path) => {
    await using backend = await startBackend();
    const bytes = `GET ${path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n`;
    await using strict = await startSidecar(backend.url);
    expect(statusesOf(await sendRaw(strict.port, bytes))).toEqual([400]);
    await using lenient = await startSidecar(backend.url, { yaml: `allowInPath: [${kind}]` });
    expect(statusesOf(await sendRaw(lenient.port, bytes))).toEqual([200]);
    expect(backend.requests.map(({ url }) => url)).toEqual([path]);
  });
});

describe("the configuration as a whole", () => {
  const read = (text: string) => parseConfig(text, { file: "/etc/countersign/sidecar.yaml", env: {} }).config;

  test("is complete with an upstream alone", () => {
    const token = {
      subject: "api-gateway",
      audience: undefined,
      lifetimeSeconds: 300,
      headerName: "Authorization",
      tokenPrefix: "Bearer",
      additionalClaims: {},
      notBefore: false,
      tokenId: false,
    };
    expect(read("upstream: http://127.0.0.1:9000\n")).toEqual({
      listen: { host: "127.0.0.1", port: 8080 },
      upstream: {
        origin: "http://127.0.0.1:9000",
        preserveHost: true,
        connections: 128,
        timeouts: { connectSeconds: 5, headersSeconds: 60, bodySeconds: 300 },
      },
      publicUrl: undefined,
      allowInPath: [],
      timeouts: { headersSeconds: 15, requestSeconds: 300, keepAliveSeconds: 75, drainSeconds: 30 },
      issuer: {
        url: undefined,
        basePath: "/__issuer",
        algorithm: "EdDSA",
        expiresInSeconds: 3600,
        jwksMaxAgeSeconds: 300,
        keys: { kind: "directory", directory: "/etc/countersign/keys" },
      },
      token,
      policies: [{ name: "default", match: {}, token }],
    });
  });

  test.each([
    ["127.0.0.1:80", { host: "127.0.0.1", port: 80 }],
    [":8080", { host: undefined, port: 8080 }],
    ["localhost:0", { host: "localhost", port: 0 }],
    ["[::1]:8080", { host: "::1", port: 8080 }],
  ])("listens on %s, in the short form and the long one", (address, expected) => {
    expect(read(`upstream: http://a\nlisten: "${address}"\n`).listen).toEqual(expected);
    expect(read(`upstream: http://a\nlisten: {address: "${address}"}\n`).listen).toEqual(expected);
  });

  test.each([
    [
      "{upstream: {url: http://a, timeouts: {connect: 1, headers: 2s, body: 1m}, connections: 5}}",
      {
        upstream: { connections: 5, timeouts: { connectSeconds: 1, headersSeconds: 2, bodySeconds: 60 } },
      },
    ],
    [
      "{upstream: http://a, timeouts: {headers: 1, request: 1h, keepAlive: 5s, drain: 1m}}",
      {
        timeouts: { headersSeconds: 1, requestSeconds: 3600, keepAliveSeconds: 5, drainSeconds: 60 },
      },
    ],
    [
      "{upstream: http://a, issuer: {keys: {directory: /var/keys}}}",
      {
        issuer: { keys: { kind: "directory", directory: "/var/keys" } },
      },
    ],
    [
      "{upstream: http://a, issuer: {keys: {directory: ../keys}}}",
      {
        issuer: { keys: { kind: "directory", directory: "/etc/keys" } },
      },
    ],
    [
      "{upstream: http://a, issuer: {keys: {env: KEY}}}",
      { issuer: { keys: { kind: "env", variable: "KEY" } } },
    ],
  ])("takes %s", (yaml, expected) => {
    expect(read(yaml)).toMatchObject(expected);
  });

  test("cannot be changed afterwards", () => {
    const config = read(
      "upstream: http://a\ntoken: {additionalClaims: {a: {b: [1]}}}\npolicies: [{name: p}]\n",
    );
    const frozen = (value: unknown): boolean =>
      typeof value !== "object" || value === null || value instanceof RegExp
        ? true
        : Object.isFrozen(value) && Object.values(value).every(frozen);
    expect(frozen(config)).toBe(true);
  });
});
