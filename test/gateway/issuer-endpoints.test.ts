import { join } from "node:path";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { startBackend, type TestBackend } from "../support/backend.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { sendRaw } from "../support/raw-client.ts";
import { startSidecar, type TestSidecar } from "../support/sidecar.ts";

let backend: TestBackend;
let sidecar: TestSidecar;

beforeAll(async () => {
  backend = await startBackend();
  sidecar = await startSidecar(backend.url);
  return async () => {
    await sidecar.close();
    await backend[Symbol.asyncDispose]();
  };
});

const JWKS = "/__issuer/.well-known/jwks.json";
const DISCOVERY = "/__issuer/.well-known/openid-configuration";

test("discovery names the issuer, the JWK Set and the live algorithm", async () => {
  const response = await fetch(sidecar.url + DISCOVERY);

  expect(response.headers.get("content-type")).toBe("application/json");
  expect(await response.json()).toEqual({
    issuer: `${sidecar.url}/__issuer`,
    jwks_uri: `${sidecar.url}${JWKS}`,
    response_types_supported: ["id_token"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["EdDSA"],
    claims_supported: ["iss", "sub", "aud", "iat", "exp", "nbf", "jti"],
  });
});

test("the same metadata stands where RFC 8414 looks for it", async () => {
  const openid = await fetch(sidecar.url + DISCOVERY);
  const oauth = await fetch(`${sidecar.url}/.well-known/oauth-authorization-server/__issuer`);

  expect(oauth.status).toBe(200);
  expect(await oauth.text()).toBe(await openid.text());
});

test("the JWK Set has the public key alone, with kid, use and alg", async () => {
  const response = await fetch(sidecar.url + JWKS);

  const { keys } = (await response.json()) as { keys: Record<string, string>[] };
  expect(keys).toHaveLength(1);
  expect(Object.keys(keys[0] ?? {}).sort()).toEqual(["alg", "crv", "kid", "kty", "use", "x"]);
  expect(keys[0]).toMatchObject({ kty: "OKP", crv: "Ed25519", use: "sig", alg: "EdDSA" });
});

describe.each([DISCOVERY, JWKS])("%s", (path) => {
  test("may be cached for jwksMaxAge, and read by any web page", async () => {
    const response = await fetch(sidecar.url + path);

    expect(response.headers.get("cache-control")).toBe("public, max-age=300");
    expect(response.headers.get("access-control-allow-origin")).toBe("*");
  });

  test.each([
    ["the same ETag", (etag: string) => etag],
    ["a weak one in a list", (etag: string) => `"other", W/${etag}`],
    ["a star", () => "*"],
  ])("is not sent again to who has %s", async (_, ifNoneMatch) => {
    const first = await fetch(sidecar.url + path);
    const etag = first.headers.get("etag") ?? "";

    const second = await fetch(sidecar.url + path, { headers: { "if-none-match": ifNoneMatch(etag) } });

    expect(second.status).toBe(304);
    expect(second.headers.get("etag")).toBe(etag);
    expect(second.headers.get("cache-control")).toBe("public, max-age=300");
  });

  test("is sent to who has another version", async () => {
    const response = await fetch(sidecar.url + path, { headers: { "if-none-match": '"other"' } });
    expect(response.status).toBe(200);
  });

  test("answers HEAD with the fields of GET and no body", async () => {
    const get = await fetch(sidecar.url + path);
    const answer = await sendRaw(
      sidecar.port,
      `HEAD ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );

    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer).toContain(`content-length: ${get.headers.get("content-length")}\r\n`);
    expect(answer).toContain(`etag: ${get.headers.get("etag")}\r\n`);
    expect(answer.split("\r\n\r\n")[1]).toBe("");
  });

  test("answers a preflight", async () => {
    const response = await fetch(sidecar.url + path, { method: "OPTIONS" });

    expect(response.status).toBe(204);
    expect(response.headers.get("access-control-allow-methods")).toBe("GET, HEAD, OPTIONS");
    expect(response.headers.get("access-control-allow-origin")).toBe("*");
  });

  test.each(["POST", "PUT", "DELETE", "PATCH"])("answers %s with 405", async (method) => {
    const response = await fetch(sidecar.url + path, { method });

    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe("GET, HEAD, OPTIONS");
    expect(await response.json()).toMatchObject({ code: "ERR_METHOD_NOT_ALLOWED", status: 405 });
  });
});

test.each([
  "/__issuer",
  "/__issuer/",
  "/__issuer/other",
  "/__issuer/.well-known/jwks.json/",
  "/__issue%72/other",
  "/__issuer/.well-known/jwks%2Ejson",
])("%s is the issuer's, and never forwarded", async (path) => {
  const response = await fetch(sidecar.url + path);

  expect([200, 404]).toContain(response.status);
  if (response.status === 404)
    expect(await response.json()).toMatchObject({ code: "ERR_ISSUER_PATH_UNKNOWN" });
  expect(backend.requests).toEqual([]);
});

test("a path that only begins like the issuer's is the backend's", async () => {
  await using other = await startBackend();
  await using front = await startSidecar(other.url);

  await fetch(`${front.url}/__issuers/x`);

  expect(other.requests[0]?.url).toBe("/__issuers/x");
});

test("basePath and url shape every URL of the issuer", async () => {
  const yaml =
    "issuer: {url: 'https://id.example.com/c', basePath: /custom/id, keys: {ephemeral: true}, jwksMaxAge: 1m}";
  const custom = await startSidecar(backend.url, { yaml });
  onTestFinished(() => custom.close());

  const discovery = await fetch(`${custom.url}/custom/id/.well-known/openid-configuration`);

  expect(await discovery.json()).toMatchObject({
    issuer: "https://id.example.com/c",
    jwks_uri: "https://id.example.com/c/.well-known/jwks.json",
  });
  expect(discovery.headers.get("cache-control")).toBe("public, max-age=60");
  const jwks = await fetch(`${custom.url}/custom/id/.well-known/jwks.json`);
  expect(jwks.status).toBe(200);
});

test("neither Host nor X-Forwarded-Host can poison the issuer's URLs", async () => {
  const answer = await sendRaw(
    sidecar.port,
    `GET ${DISCOVERY} HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n`,
  );

  expect(answer).toContain(`"issuer":"${sidecar.url}/__issuer"`);
  expect(answer).not.toContain("evil.example");
});

describe("the JWK Set, asked for some algorithms alone,", () => {
  const yaml = `issuer: {keys: {ephemeral: true}}
policies:
  - {name: ec, match: {path: /ec}, token: {algorithm: ES256}}
  - {name: other-ec, match: {path: /other-ec}, token: {algorithm: ES384}}
  - {name: rest}
`;
  let several: TestSidecar;
  beforeAll(async () => {
    several = await startSidecar(backend.url, { yaml });
    return () => several.close();
  });
  const algorithmsAt = async (query: string) => {
    const response = await fetch(`${several.url}${JWKS}${query}`);
    expect(response.status).toBe(200);
    const { keys } = (await response.json()) as { keys: { alg: string }[] };
    return keys.map(({ alg }) => alg);
  };

  test.each([
    ["", ["EdDSA", "ES256", "ES384"]],
    ["?other=1", ["EdDSA", "ES256", "ES384"]],
    ["?alg=EdDSA", ["EdDSA"]],
    ["?alg=ES256", ["ES256"]],
    ["?alg=ES384&alg=EdDSA", ["EdDSA", "ES384"]],
    ["?alg=ES%32%356", ["ES256"]],
    ["?alg=RS256", []],
    ["?alg=", []],
    ["?alg=es256", []],
    ["?alg=ES256,ES384", []],
  ])("%s has the keys for %j", async (query, algorithms) => {
    expect(await algorithmsAt(query)).toEqual(algorithms);
  });

  test("has an ETag of its own, which is the same the next time", async () => {
    const etagOf = async (query: string) =>
      (await fetch(`${several.url}${JWKS}${query}`, { method: "HEAD" })).headers.get("etag");
    const all = await etagOf("");
    const some = await etagOf("?alg=ES256");
    expect(some).toMatch(/^"[\w-]{43}"$/);
    expect(some).not.toBe(all);
    expect(await etagOf("?alg=EdDSA")).not.toBe(some);
    expect(await etagOf("?alg=ES256")).toBe(some);
  });

  test("answers 304 to who has it, and 200 to who has another selection", async () => {
    const url = `${several.url}${JWKS}?alg=ES256`;
    const etag = (await fetch(url)).headers.get("etag") ?? "";
    const whole = (await fetch(several.url + JWKS)).headers.get("etag") ?? "";
    const statusFor = async (ifNoneMatch: string) =>
      (await fetch(url, { headers: { "if-none-match": ifNoneMatch } })).status;
    expect(await statusFor(etag)).toBe(304);
    expect(await statusFor(whole)).toBe(200);
  });

  test("answers HEAD with the length of its own body and no body", async () => {
    const get = await fetch(`${several.url}${JWKS}?alg=ES256`);
    const answer = await sendRaw(
      several.port,
      `HEAD ${JWKS}?alg=ES256 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer).toContain(`content-length: ${(await get.arrayBuffer()).byteLength}\r\n`);
    expect(answer.split("\r\n\r\n")[1]).toBe("");
  });

  test("lets a verifier that knows one algorithm verify its tokens", async () => {
    await using own = await startBackend();
    await using front = await startSidecar(own.url, { yaml });
    await fetch(`${front.url}/ec`);
    const token = own.requests[0]?.headers.authorization?.slice("Bearer ".length) ?? "";
    const keys = createRemoteJWKSet(new URL(`${front.url}${JWKS}?alg=ES256`));
    const { protectedHeader } = await jwtVerify(token, keys, { algorithms: ["ES256"] });
    expect(protectedHeader.alg).toBe("ES256");
  });
});

test("discovery names every algorithm that a key is for, and the claims of identity", async () => {
  await using several = await startSidecar(backend.url, {
    yaml: `issuer: {keys: {ephemeral: true}}
admin: false
identity: {account: a, deployment: d, algorithm: ES256}
token: {algorithm: ES384}
`,
  });
  const metadata = (await (await fetch(several.url + DISCOVERY)).json()) as Record<string, string[]>;
  expect(metadata.id_token_signing_alg_values_supported).toEqual(["EdDSA", "ES384", "ES256"]);
  expect(metadata.claims_supported).toEqual([
    ...["iss", "sub", "aud", "iat", "exp", "nbf", "jti", "account", "deployment"],
  ]);
});

test("the documents follow a rotation, each step under a new ETag", async () => {
  using folder = temporaryFolder();
  const directory = join(folder.path, "keys");
  let now = Date.parse("2026-01-01T00:00:00Z");
  await using rotating = await startSidecar(backend.url, {
    now: () => now,
    yaml: `issuer: {expiresIn: 5m, keys: {directory: ${directory}, rotateEvery: 30d, overlap: 24h}}`,
  });
  const seen = async () => {
    const response = await fetch(rotating.url + JWKS);
    const { keys } = (await response.json()) as { keys: { kid: string }[] };
    return { kids: keys.map(({ kid }) => kid), etag: response.headers.get("etag") };
  };
  const after = async (seconds: number) => {
    now += seconds * 1000;
    await rotating.issuer.refreshKeys();
    return await seen();
  };

  const first = await seen();
  const [old] = first.kids;
  expect(first.kids).toHaveLength(1);
  expect(await after(60)).toEqual(first);

  // The successor is made when the old key has overlap and a minute left to sign.
  const published = await after(29 * 86_400);
  expect(published.kids).toEqual([old, expect.any(String)]);
  expect(published.etag).not.toBe(first.etag);
  const [, successor] = published.kids;

  const signing = await after(86_400 + 60);
  expect(signing.kids).toEqual([successor, old]);
  expect(signing.etag).not.toBe(published.etag);

  // The longest token, what a verifier allows for clocks, and what clocks may be off.
  const last = await after(300 + 300 + 7200);
  expect(last.kids).toEqual([successor]);
  expect(new Set([first, published, signing, last].map(({ etag }) => etag)).size).toBe(4);

  const stale = await fetch(rotating.url + JWKS, { headers: { "if-none-match": first.etag ?? "" } });
  expect(stale.status).toBe(200);
  // The algorithm is the same throughout, and so is the metadata.
  expect(await (await fetch(rotating.url + DISCOVERY)).json()).toMatchObject({
    id_token_signing_alg_values_supported: ["EdDSA"],
  });
});
