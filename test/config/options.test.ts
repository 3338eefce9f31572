import { generateKeyPairSync } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  type JSONWebKeySet,
  jwtVerify,
} from "jose";
import { describe, expect, test } from "vitest";
import { formatProblem } from "../../src/config/problems.ts";
import { parseConfig } from "../../src/index.ts";
import { SIGNING_ALGORITHMS } from "../../src/issuer/algorithms.ts";
import { startAdminSidecar } from "../admin/sidecar.ts";
import { runHere } from "../cli/in-process.ts";
import { type RecordedRequest, startBackend } from "../support/backend.ts";
import { temporaryFolder } from "../support/command-line.ts";
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

  test.each(["HS256", "HS384", "HS512"])(
    "algorithm: %s is refused, and the message says why",
    (algorithm) => {
      const yaml = `upstream: http://127.0.0.1:9\nissuer: {algorithm: ${algorithm}}\n`;
      expect(() => parseConfig(yaml, { file: "sidecar.yaml", env: {} })).toThrow(
        "an HS algorithm signs with a shared secret, which a JWK Set cannot publish",
      );
    },
  );

  test.each([
    ["", 3600],
    ["issuer: {expiresIn: 300}", 300],
    ["issuer: {expiresIn: 5 minutes}", 300],
    // What a policy's tokens live for is another matter.
    ["token: {expiresIn: 1m}", 3600],
  ])("{%s} gives tokens of the command line a lifetime of %i seconds", async (yaml, seconds) => {
    using folder = temporaryFolder();
    writeFileSync(join(folder.path, "sidecar.yaml"), `upstream: http://127.0.0.1:9\n${yaml}\n`);
    const { stdout } = await runHere(["mint"], { cwd: folder.path });
    const { iat = 0, exp } = decodeJwt(stdout.trim());
    expect(exp).toBe(iat + seconds);
  });
});

/** A private key in PEM. */
const pemOf = (type: "ed25519" | "rsa", passphrase?: string) => {
  const encryption = passphrase === undefined ? {} : { cipher: "aes-256-cbc", passphrase };
  const { privateKey } =
    type === "rsa" ? generateKeyPairSync("rsa", { modulusLength: 2048 }) : generateKeyPairSync("ed25519");
  return privateKey.export({ type: "pkcs8", format: "pem", ...encryption }) as string;
};

describe("issuer.keys", () => {
  test("files: the first of an algorithm signs, and all are published", async () => {
    using folder = temporaryFolder();
    const files = ["first.pem", "second.pem", "rsa.pem"].map((name) => join(folder.path, name));
    files.forEach((file, index) => {
      writeFileSync(file, pemOf(index === 2 ? "rsa" : "ed25519"), { mode: 0o600 });
    });
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `issuer: {keys: {files: [${files}]}}
policies: [{name: rsa, match: {path: /rsa}, token: {algorithm: RS256}}, {name: rest}]
`,
    });
    for (const path of ["/", "/rsa"]) await fetch(sidecar.url + path);

    const published = sidecar.issuer.jwks().keys;
    expect(published.map(({ alg }) => alg)).toEqual(["EdDSA", "RS256", "EdDSA"]);
    const headers = backend.requests.map((request) =>
      decodeProtectedHeader(request.headers.authorization?.slice("Bearer ".length) ?? ""),
    );
    expect(headers).toEqual([
      { alg: "EdDSA", kid: published[0]?.kid, typ: "JWT" },
      { alg: "RS256", kid: published[1]?.kid, typ: "JWT" },
    ]);
  });

  test.each(["files", "env"])("passphrase opens an encrypted key from %s", async (source) => {
    using folder = temporaryFolder();
    const file = join(folder.path, "key.pem");
    const KEY = pemOf("ed25519", "open sesame");
    writeFileSync(file, KEY, { mode: 0o600 });
    const keys = source === "env" ? "env: KEY" : `files: [${file}]`;
    const start = (passphrase: string) =>
      startSidecar("http://127.0.0.1:9", {
        yaml: `issuer: {keys: {${keys}${passphrase}}}`,
        env: { KEY, PASSPHRASE: "open sesame" },
      });
    await using sidecar = await start(", passphrase: $env(PASSPHRASE)");
    expect(sidecar.issuer.jwks().keys).toHaveLength(1);
    const name = source === "env" ? "the environment variable KEY" : file;
    await expect(start("")).rejects.toThrow(
      `${name}: this key is encrypted, and no passphrase is given for it`,
    );
    await expect(start(", passphrase: open")).rejects.toThrow(
      `${name}: the passphrase does not open this key, or the PEM is truncated`,
    );
  });

  test("passphrase encrypts the keys of the directory, and opens them at the next start", async () => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "keys");
    const kidWith = async (passphrase: string) => {
      await using sidecar = await startSidecar("http://127.0.0.1:9", {
        yaml: `issuer: {keys: {directory: ${directory}${passphrase}}}`,
      });
      return sidecar.issuer.jwks().keys[0]?.kid;
    };
    const kid = await kidWith(", passphrase: open sesame");
    const ring = readFileSync(join(directory, "ring.1.json"), "utf8");
    expect(ring).toContain("-----BEGIN ENCRYPTED PRIVATE KEY-----");
    expect(ring).not.toContain("-----BEGIN PRIVATE KEY-----");
    expect(await kidWith(", passphrase: open sesame")).toBe(kid);
    await expect(kidWith("")).rejects.toThrow("this key is encrypted, and no passphrase is given for it");
    await expect(kidWith(", passphrase: wrong")).rejects.toThrow("the passphrase does not open this key");
  });

  test.each([
    ["rotateEvery: 2d, overlap: 1h", 2 * 86_400 - 3660],
    ["rotateEvery: 30d", 30 * 86_400 - 100_860],
    ["", 30 * 86_400 - 100_860],
  ])("{%s}: the successor is published after %i seconds, and not before", async (keys, seconds) => {
    using folder = temporaryFolder();
    let now = NOW;
    await using sidecar = await startSidecar("http://127.0.0.1:9", {
      yaml: `issuer: {keys: {directory: ${join(folder.path, "keys")}, ${keys}}}`,
      now: () => now * 1000,
    });
    const published = async (time: number) => {
      now = NOW + time;
      await sidecar.issuer.refreshKeys();
      return sidecar.issuer.jwks().keys.length;
    };
    expect(await published(seconds - 1)).toBe(1);
    expect(await published(seconds)).toBe(2);
  });

  test("rotateEvery: never leaves the key as it is", async () => {
    using folder = temporaryFolder();
    let now = NOW;
    await using sidecar = await startSidecar("http://127.0.0.1:9", {
      yaml: `issuer: {keys: {directory: ${join(folder.path, "keys")}, rotateEvery: never}}`,
      now: () => now * 1000,
    });
    const before = sidecar.issuer.jwks();
    now += 3650 * 86_400;
    await sidecar.issuer.refreshKeys();
    expect(sidecar.issuer.jwks()).toEqual(before);
  });
});

describe("reuse", () => {
  /** The tokens of requests at these times, in seconds. */
  async function tokensAt(
    yaml: string,
    times: readonly number[],
    path = "/",
  ): Promise<(string | undefined)[]> {
    let now = NOW;
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, { yaml, now: () => now * 1000 });
    for (const time of times) {
      now = NOW + time;
      await fetch(sidecar.url + path);
    }
    return backend.requests.map(({ headers }) => headers.authorization);
  }

  test.each([
    ["", 1],
    ["token: {reuse: true}", 1],
    ["token: {reuse: false}", 3],
    // Every token has an id of its own.
    ["token: {tokenId: true}", 3],
    ["token: {reuse: true, tokenId: true}", 3],
    ["token: {reuse: false}\npolicies: [{name: a, token: {reuse: true}}]", 1],
    ["policies: [{name: a, token: {reuse: false}}]", 3],
  ])("{%s}: of three requests in a minute %i have a token of their own", async (yaml, count) => {
    expect(new Set(await tokensAt(yaml, [0, 20, 40])).size).toBe(count);
  });

  test("ends with half of the token's life", async () => {
    const [first, half, ...later] = await tokensAt("token: {expiresIn: 10m}", [0, 299, 300, 301]);
    expect(half).toBe(first);
    expect(later[0]).not.toBe(first);
    expect(later).toEqual([later[0], later[0]]);
  });
});

describe("algorithm of a policy", () => {
  test("signs its tokens with a key of its own, which the JWK Set has", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `issuer: {algorithm: ES384, keys: {ephemeral: true}}
token: {algorithm: ES512}
policies:
  - {name: ec, match: {path: /ec}, token: {algorithm: ES256}}
  - {name: inherits}
`,
    });
    const keys = createLocalJWKSet(sidecar.issuer.jwks() as unknown as JSONWebKeySet);
    const algorithmOf = async (path: string) => {
      await fetch(sidecar.url + path);
      const token = backend.requests.at(-1)?.headers.authorization?.slice("Bearer ".length) ?? "";
      return (await jwtVerify(token, keys)).protectedHeader.alg;
    };
    expect(await algorithmOf("/ec")).toBe("ES256");
    expect(await algorithmOf("/")).toBe("ES512");
    // The issuer's own is there for tokens that no policy shapes.
    expect(sidecar.issuer.jwks().keys.map(({ alg }) => alg)).toEqual(["ES384", "ES256", "ES512"]);
  });

  test("gets its key where a directory has none yet, beside the one that is there", async () => {
    using folder = temporaryFolder();
    const keys = `keys: {directory: ${join(folder.path, "keys")}}`;
    const jwksWith = async (yaml: string) => {
      await using sidecar = await startSidecar("http://127.0.0.1:9", { yaml });
      return sidecar.issuer.jwks().keys;
    };
    const [first] = await jwksWith(`issuer: {${keys}}`);
    expect(await jwksWith(`issuer: {${keys}}\ntoken: {algorithm: ES256}`)).toEqual([
      first,
      expect.objectContaining({ alg: "ES256" }),
    ]);
  });
});

describe("identity", () => {
  /** What an ID token says, beside its times. */
  async function identityClaims(identity: string, audience?: string) {
    await using sidecar = await startAdminSidecar({ yaml: `identity: ${identity}`, now: () => NOW * 1000 });
    const token = await sidecar.issuer.getIdToken({ audience });
    const keys = createLocalJWKSet(sidecar.issuer.jwks() as unknown as JSONWebKeySet);
    const { protectedHeader, payload } = await jwtVerify(token, keys, {
      issuer: sidecar.issuer.url,
      currentDate: new Date(NOW * 1000),
    });
    const { iss: _, ...claims } = payload;
    return { alg: protectedHeader.alg, claims };
  }

  test.each([
    ["{account: a}", { sub: "a", account: "a" }],
    ["{account: a, project: p}", { sub: "a/p", account: "a", project: "p" }],
    ["{account: a, deployment: d}", { sub: "a/d", account: "a", deployment: "d" }],
    ["{subject: s}", { sub: "s" }],
    ["{subject: s, account: a}", { sub: "s", account: "a" }],
    ["{project: p, environment_type: preview}", { sub: "p", project: "p", environment_type: "preview" }],
  ])("%s", async (identity, claims) => {
    const settings = identity.replace("}", ", algorithm: ES256}");
    expect(await identityClaims(settings)).toEqual({
      alg: "ES256",
      claims: { ...claims, iat: NOW, exp: NOW + 36_000 },
    });
  });

  test("algorithm is RS256 by default, and expiresIn is the lifetime", async () => {
    expect(await identityClaims("{account: a, expiresIn: 5m}", "me")).toEqual({
      alg: "RS256",
      claims: { sub: "a", account: "a", aud: "me", iat: NOW, exp: NOW + 300 },
    });
  });

  test("audiences lists those that a token may be for", async () => {
    const identity = "{account: a, algorithm: ES256, audiences: [one, two]}";
    expect((await identityClaims(identity, "two")).claims.aud).toBe("two");
    await expect(identityClaims(identity, "three")).rejects.toMatchObject({
      code: "ERR_AUDIENCE_NOT_ALLOWED",
    });
    await expect(identityClaims(identity)).rejects.toMatchObject({ code: "ERR_AUDIENCE_NOT_ALLOWED" });
  });

  test("its key is not that of the tokens of requests, even with the same algorithm", async () => {
    await using backend = await startBackend();
    await using sidecar = await startAdminSidecar({
      yaml: "identity: {account: a, algorithm: EdDSA}",
      upstream: backend.url,
    });
    await fetch(sidecar.url);
    const ofRequest = backend.requests[0]?.headers.authorization?.slice("Bearer ".length) ?? "";
    const kids = [ofRequest, await sidecar.issuer.getIdToken()].map(
      (token) => decodeProtectedHeader(token).kid,
    );
    expect(sidecar.issuer.jwks().keys.map(({ kid }) => kid)).toEqual(kids);
    expect(new Set(kids).size).toBe(2);
  });
});

describe("admin", () => {
  test.each([
    ["admin: 127.0.0.1:0", true],
    ["admin: {address: 127.0.0.1:0}", true],
    ["admin: localhost:0\nidentity: {account: a, algorithm: ES256}", true],
    ["admin: false\nidentity: {account: a, algorithm: ES256}", false],
    ["admin: false", false],
  ])("{%s}: there is a listener for operators: %s", async (yaml, isThere) => {
    await using sidecar = await startAdminSidecar({ yaml });
    expect(sidecar.adminUrl !== undefined).toBe(isThere);
    if (sidecar.adminUrl === undefined) return;
    const response = await fetch(`${sidecar.adminUrl}/nothing`);
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ code: "ERR_ADMIN_PATH_UNKNOWN" });
  });

  test("without the key it is at 127.0.0.1:8081", () => {
    const { admin } = parseConfig("upstream: http://127.0.0.1:9\n", { file: "sidecar.yaml" }).config;
    expect(admin).toEqual({
      address: { kind: "tcp", host: "127.0.0.1", port: 8081 },
      tls: undefined,
      http2: false,
    });
  });

  test("a port that is taken is refused, and the sidecar does not run without it", async () => {
    await using other = await startBackend();
    const listen = await startBackend();
    const { port } = listen;
    await listen[Symbol.asyncDispose]();
    await expect(
      startAdminSidecar({ yaml: `listen: 127.0.0.1:${port}\nadmin: 127.0.0.1:${other.port}` }),
    ).rejects.toMatchObject({
      code: "ERR_LISTEN",
      message: `cannot listen on 127.0.0.1:${other.port}: another program uses this port; stop it, or choose another port; this is the operators' listener: set admin (--admin) to another address, or to false for none`,
    });
    await expect(fetch(`http://127.0.0.1:${port}`)).rejects.toThrow("fetch failed");
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
    const upstream = {
      origin: "http://127.0.0.1:9000",
      socketPath: undefined,
      preserveHost: true,
      http2: false,
      tls: {
        ca: undefined,
        cert: undefined,
        key: undefined,
        serverName: undefined,
        skipVerification: false,
      },
      connections: 128,
      pending: 1024,
      timeouts: { connectSeconds: 5, headersSeconds: 60, bodySeconds: 300, pendingSeconds: 10 },
      healthCheck: undefined,
    };
    const token = {
      subject: undefined,
      audience: undefined,
      actor: undefined,
      lifetimeSeconds: 300,
      headerName: "Authorization",
      tokenPrefix: "Bearer",
      additionalClaims: { kind: "literal", value: {} },
      notBefore: false,
      tokenId: false,
      reuse: true,
      algorithm: "EdDSA",
      origins: {},
    };
    expect(read("upstream: http://127.0.0.1:9000\n")).toEqual({
      describe: expect.any(Function),
      issuerOnly: false,
      listen: [{ address: { kind: "tcp", host: "127.0.0.1", port: 8080 }, tls: undefined, http2: false }],
      admin: { address: { kind: "tcp", host: "127.0.0.1", port: 8081 }, tls: undefined, http2: false },
      upstream,
      publicUrl: undefined,
      trustedProxies: [],
      allowInPath: [],
      limits: {
        headerBytes: 16_384,
        headerCount: 200,
        bodyBytes: undefined,
        connections: 10_000,
        streams: 100,
      },
      timeouts: {
        headersSeconds: 15,
        requestSeconds: 300,
        sendSeconds: 60,
        keepAliveSeconds: 75,
        notReadySeconds: 5,
        drainSeconds: 30,
      },
      workers: 1,
      issuer: {
        url: undefined,
        basePath: "/__issuer",
        algorithm: "EdDSA",
        expiresInSeconds: 3600,
        jwksMaxAgeSeconds: 300,
        keys: {
          kind: "directory",
          directory: "/etc/countersign/keys",
          // 30 days; a day, and two hours for clocks that are wrong.
          rotation: { everySeconds: 2_592_000, overlapSeconds: 100_800 },
          passphrase: undefined,
        },
      },
      identity: undefined,
      log: { level: "info", format: "auto", subject: "hash", sampleSuccess: 1 },
      token,
      authenticators: {},
      policies: [
        {
          name: "default",
          match: {},
          authenticate: [],
          allowsAnonymous: true,
          require: undefined,
          module: undefined,
          token,
          upstream,
        },
      ],
    });
  });

  test.each([
    ["127.0.0.1:80", { kind: "tcp", host: "127.0.0.1", port: 80 }],
    [":8080", { kind: "tcp", host: undefined, port: 8080 }],
    ["localhost:0", { kind: "tcp", host: "localhost", port: 0 }],
    ["[::1]:8080", { kind: "tcp", host: "::1", port: 8080 }],
    ["unix:/run/c.sock", { kind: "unix", path: "/run/c.sock", mode: 0o660 }],
    ["unix:c.sock", { kind: "unix", path: "/etc/countersign/c.sock", mode: 0o660 }],
    ["systemd", { kind: "systemd", name: undefined }],
    ["systemd:public", { kind: "systemd", name: "public" }],
  ])("listens on %s, in the short form and the long one", (address, expected) => {
    const listening = (value: string) =>
      read(`upstream: http://a\nissuer: {url: http://b/__issuer}\nlisten: ${value}\n`).listen;
    const listener = { address: expected, tls: undefined, http2: false };
    expect(listening(`"${address}"`)).toEqual([listener]);
    expect(listening(`{address: "${address}"}`)).toEqual([listener]);
    expect(listening(`["${address}", {address: ":9", http2: true}]`)).toEqual([
      listener,
      { address: { kind: "tcp", host: undefined, port: 9 }, tls: undefined, http2: true },
    ]);
  });

  test.each([
    [
      "{upstream: {url: http://a, timeouts: {connect: 1, headers: 2s, body: 1m}, connections: 5}}",
      {
        upstream: { connections: 5, timeouts: { connectSeconds: 1, headersSeconds: 2, bodySeconds: 60 } },
      },
    ],
    [
      "{upstream: http://a, timeouts: {headers: 1, request: 1h, send: 2m, keepAlive: 5s, notReady: 1s, drain: 1m}}",
      {
        timeouts: {
          headersSeconds: 1,
          requestSeconds: 3600,
          sendSeconds: 120,
          keepAliveSeconds: 5,
          notReadySeconds: 1,
          drainSeconds: 60,
        },
      },
    ],
    [
      "{upstream: http://a, limits: {headerBytes: 8KiB, headerCount: 9, bodyBytes: 1.5 MB, connections: 5, streams: 6}}",
      {
        limits: { headerBytes: 8192, headerCount: 9, bodyBytes: 1_500_000, connections: 5, streams: 6 },
      },
    ],
    [
      "{upstream: http://a, log: {level: warn, format: json, subject: none, sampleSuccess: 0.25}}",
      { log: { level: "warn", format: "json", subject: "none", sampleSuccess: 0.25 } },
    ],
    ["{upstream: http://a, workers: auto}", { workers: "auto" }],
    [
      "{upstream: 'unix:app.sock'}",
      { upstream: { origin: "http://localhost", socketPath: "/etc/countersign/app.sock" } },
    ],
    [
      "{upstream: {url: 'https://a:8443', http2: true, tls: {ca: ca.pem, cert: c.pem, key: c.key, serverName: b}}}",
      {
        upstream: {
          origin: "https://a:8443",
          http2: true,
          tls: {
            ca: "/etc/countersign/ca.pem",
            cert: "/etc/countersign/c.pem",
            key: "/etc/countersign/c.key",
            serverName: "b",
            skipVerification: false,
          },
        },
      },
    ],
    [
      "{upstream: {url: http://a, pending: 0, timeouts: {pending: 1}, healthCheck: {path: /up}}}",
      {
        upstream: {
          pending: 0,
          timeouts: { pendingSeconds: 1 },
          healthCheck: { path: "/up", intervalSeconds: 10, timeoutSeconds: 2 },
        },
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
      { issuer: { keys: { kind: "env", variable: "KEY", passphrase: undefined } } },
    ],
    [
      "{upstream: http://a, issuer: {keys: {env: KEY, passphrase: p}}}",
      { issuer: { keys: { kind: "env", variable: "KEY", passphrase: "p" } } },
    ],
    [
      "{upstream: http://a, issuer: {keys: {files: [a.pem, /b.jwk, ../c.pem], passphrase: p}}}",
      {
        issuer: {
          keys: {
            kind: "files",
            files: ["/etc/countersign/a.pem", "/b.jwk", "/etc/c.pem"],
            passphrase: "p",
          },
        },
      },
    ],
    [
      "{upstream: http://a, issuer: {keys: {}}}",
      { issuer: { keys: { kind: "directory", directory: "/etc/countersign/keys" } } },
    ],
    [
      "{upstream: http://a, issuer: {keys: {passphrase: p, rotateEvery: 1w, overlap: 2h}}}",
      {
        issuer: {
          keys: {
            directory: "/etc/countersign/keys",
            rotation: { everySeconds: 604_800, overlapSeconds: 7200 },
            passphrase: "p",
          },
        },
      },
    ],
    [
      "{upstream: http://a, issuer: {keys: {rotateEvery: never}}}",
      { issuer: { keys: { rotation: { everySeconds: undefined, overlapSeconds: 100_800 } } } },
    ],
    [
      "{upstream: http://a, issuer: {jwksMaxAge: 2d}}",
      { issuer: { keys: { rotation: { everySeconds: 2_592_000, overlapSeconds: 187_200 } } } },
    ],
    [
      "{upstream: http://a, issuer: {jwksMaxAge: 2d, keys: {overlap: 3d}}}",
      { issuer: { keys: { rotation: { overlapSeconds: 259_200 } } } },
    ],
    ["{upstream: http://a, issuer: {algorithm: ES256}}", { token: { algorithm: "ES256" } }],
    [
      "{upstream: http://a, issuer: {algorithm: ES256}, token: {algorithm: RS256}, policies: [{name: a}, {name: b, token: {algorithm: PS256}}]}",
      {
        issuer: { algorithm: "ES256" },
        token: { algorithm: "RS256" },
        policies: [{ token: { algorithm: "RS256" } }, { token: { algorithm: "PS256" } }],
      },
    ],
    [
      "{upstream: http://a, token: {reuse: false}, policies: [{name: a}, {name: b, token: {reuse: true}}]}",
      { token: { reuse: false }, policies: [{ token: { reuse: false } }, { token: { reuse: true } }] },
    ],
    [
      "{upstream: http://a, identity: {account: a}}",
      {
        admin: { address: { host: "127.0.0.1", port: 8081 } },
        identity: {
          subject: "a",
          claims: { account: "a" },
          algorithm: "RS256",
          lifetimeSeconds: 36_000,
          audiences: [],
        },
      },
    ],
    [
      "{upstream: http://a, admin: false, identity: {subject: s, account: a, project: p, deployment: d, environment_type: preview, algorithm: ES256, expiresIn: 1h, audiences: [x]}}",
      {
        admin: undefined,
        identity: {
          subject: "s",
          claims: { account: "a", project: "p", deployment: "d", environment_type: "preview" },
          algorithm: "ES256",
          lifetimeSeconds: 3600,
          audiences: ["x"],
        },
      },
    ],
    ["{upstream: http://a, admin: false}", { admin: undefined }],
    ["{upstream: http://a, admin: ':9'}", { admin: { address: { host: undefined, port: 9 } } }],
    [
      "{upstream: http://a, admin: {address: 'localhost:9'}}",
      { admin: { address: { host: "localhost", port: 9 } } },
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
