import { createLocalJWKSet, decodeJwt, type JSONWebKeySet, jwtVerify } from "jose";
import { expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startSidecar } from "../support/sidecar.ts";

const tokenIn = (value: string | undefined = "") => value.replace(/^Bearer /, "");

test("requests at once, for many URLs and policies, each get the token that is theirs", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: `
policies:
  - {name: ps, match: {path: "/ps/*rest"}, token: {algorithm: PS256, additionalClaims: {policy: ps}}}
  - {name: fixed, match: {path: "/fixed/*rest"}, token: {audience: orders, additionalClaims: {policy: fixed}}}
  - {name: short, match: {path: "/short/*rest"}, token: {expiresIn: 1m, algorithm: ES256, additionalClaims: {policy: short}}}
`,
  });
  const keys = createLocalJWKSet(sidecar.issuer.jwks() as unknown as JSONWebKeySet);
  const paths = ["ps", "fixed", "short"].flatMap((policy) => [1, 2, 3].map((n) => `/${policy}/${n}`));
  const requests = Array.from({ length: 270 }, (_, i) => fetch(sidecar.url + paths[(i * 7) % paths.length]));
  await Promise.all(requests.map(async (request) => (await request).text()));

  expect(backend.requests).toHaveLength(270);
  const tokensByPath = new Map<string, Set<string>>();
  for (const { url = "", headers } of backend.requests) {
    const token = tokenIn(headers.authorization);
    const { payload, protectedHeader } = await jwtVerify(token, keys);
    const policy = url.split("/")[1];
    expect(payload.policy).toBe(policy);
    expect(payload.aud).toBe(policy === "fixed" ? "orders" : sidecar.url + url);
    expect(Number(payload.exp) - Number(payload.iat)).toBe(policy === "short" ? 60 : 300);
    expect(protectedHeader.alg).toBe({ ps: "PS256", fixed: "EdDSA", short: "ES256" }[String(policy)]);
    tokensByPath.set(url, (tokensByPath.get(url) ?? new Set()).add(token));
  }
  // One for each URL, and not one for each request.
  for (const [path, tokens] of tokensByPath) expect(tokens.size, path).toBe(1);
});

test("a token is sent again until half its life is left, by the sidecar's clock", async () => {
  const clock = { now: 1_800_000_000_000 };
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: "token: {audience: orders, expiresIn: 100, algorithm: ES256}\n",
    now: () => clock.now,
  });
  const issuedAt = async () => {
    await (await fetch(sidecar.url)).text();
    return decodeJwt(tokenIn(backend.requests.at(-1)?.headers.authorization)).iat;
  };
  expect(await issuedAt()).toBe(1_800_000_000);
  clock.now += 37_000;
  expect(await issuedAt()).toBe(1_800_000_000);
  clock.now += 13_000;
  expect(await issuedAt()).toBe(1_800_000_050);
});

test.each(["reuse: false", "tokenId: true"])("no token is sent twice with %s", async (setting) => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    // An ES256 signature is never the same twice.
    yaml: `token: {audience: orders, algorithm: ES256, ${setting}}\n`,
  });
  for (let i = 0; i < 5; i++) await (await fetch(sidecar.url)).text();
  expect(new Set(backend.requests.map(({ headers }) => headers.authorization)).size).toBe(5);
});
