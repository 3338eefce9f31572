import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { startBackend, type TestBackend } from "../support/backend.ts";
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
