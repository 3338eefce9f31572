import { createRemoteJWKSet, decodeJwt, jwtVerify } from "jose";
import { describe, expect, test } from "vitest";
import { type RecordedRequest, startBackend } from "../support/backend.ts";
import { startSidecar } from "../support/sidecar.ts";

test("the backend gets one token, which verifies with the published keys", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);

  const response = await fetch(`${sidecar.url}/orders/42?q=1`, { headers: { authorization: "Bearer mine" } });

  expect(await response.text()).toBe("ok");
  const [, token = ""] = backend.requests[0]?.headers.authorization?.split("Bearer ") ?? [];
  const keys = createRemoteJWKSet(new URL(sidecar.issuer.metadata().jwks_uri));
  const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer: sidecar.issuer.url });
  expect(payload).toMatchObject({ sub: "api-gateway", aud: `${sidecar.url}/orders/42?q=1` });
  expect(protectedHeader).toEqual({ alg: "EdDSA", kid: sidecar.issuer.jwks().keys[0]?.kid, typ: "JWT" });
});

test("the claims stand in order: iss, sub, aud, iat, exp, then the rest", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    now: () => 1_800_000_000_999,
    yaml: "token: {audience: orders, notBefore: true, tokenId: true, additionalClaims: {role: admin, n: [1, {a: null}]}}",
  });

  await fetch(sidecar.url);

  const claims = decodeJwt(backend.requests[0]?.headers.authorization?.slice(7) ?? "");
  expect(JSON.stringify({ ...claims, jti: "x" })).toBe(
    JSON.stringify({
      iss: sidecar.issuer.url,
      sub: "api-gateway",
      aud: "orders",
      iat: 1_800_000_000,
      exp: 1_800_000_300,
      nbf: 1_800_000_000,
      jti: "x",
      role: "admin",
      n: [1, { a: null }],
    }),
  );
  expect(claims.jti).toMatch(/^[0-9a-f-]{36}$/);
});

test("each policy has its own field, and all of them are taken from the client on every path", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: `
policies:
  - {name: open, match: {path: /open}, token: none}
  - {name: service, match: {path: /service}, token: {headerName: X-Service-Token, tokenPrefix: ""}}
  - {name: rest, token: {tokenPrefix: Token}}`,
  });
  const forged = { authorization: "Bearer forged", "x-service-token": "forged", x_service_token: "forged" };

  for (const path of ["/open", "/service", "/other"]) await fetch(sidecar.url + path, { headers: forged });

  const [open, service, rest] = backend.requests as [RecordedRequest, RecordedRequest, RecordedRequest];
  expect(JSON.stringify(backend.requests)).not.toContain("forged");
  expect(open.headers).not.toHaveProperty("authorization");
  expect(open.headers).not.toHaveProperty("x-service-token");
  expect(service.rawHeaders).toContain("X-Service-Token");
  expect(decodeJwt(String(service.headers["x-service-token"])).iss).toBe(sidecar.issuer.url);
  expect(service.headers).not.toHaveProperty("authorization");
  expect(rest.headers.authorization).toMatch(/^Token ey/);
  expect(rest.headers).not.toHaveProperty("x-service-token");
});

test("a field that no policy uses goes on untouched", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, { yaml: "token: {headerName: X-Service-Token}" });

  await fetch(sidecar.url, { headers: { authorization: "Bearer theirs" } });

  expect(backend.requests[0]?.headers.authorization).toBe("Bearer theirs");
});

describe("the default audience is the URL of the request", () => {
  test.each([
    ["the client's own authority", "", "/a/b?c=d", "http://HOST/a/b?c=d"],
    ["publicUrl where it is set", "publicUrl: https://api.example.com", "/a", "https://api.example.com/a"],
    [
      "publicUrl with a path",
      "publicUrl: https://api.example.com/v1",
      "/a?b",
      "https://api.example.com/v1/a?b",
    ],
  ])("%s", async (_, yaml, path, expected) => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, { yaml });

    await fetch(sidecar.url + path);

    const { aud } = decodeJwt(backend.requests[0]?.headers.authorization?.slice(7) ?? "");
    expect(aud).toBe(expected.replace("HOST", `127.0.0.1:${sidecar.port}`));
  });
});

test("a token that would be too long is refused, with the remedy in the log", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);

  const response = await fetch(`${sidecar.url}/?q=${"a".repeat(7000)}`);

  expect(response.status).toBe(431);
  expect(await response.json()).toMatchObject({ code: "ERR_TOKEN_TOO_LARGE" });
  expect(backend.requests).toEqual([]);
  expect(sidecar.failures[0]?.cause).toContain("token.audience");
});
