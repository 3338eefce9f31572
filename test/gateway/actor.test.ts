import { decodeJwt } from "jose";
import { beforeAll, beforeEach, expect, test } from "vitest";
import { startBackend, type TestBackend } from "../support/backend.ts";
import {
  startIdentityProvider,
  TEST_AUDIENCE,
  type TestIdentityProvider,
} from "../support/identity-provider.ts";
import { startSidecar, type TestSidecar } from "../support/sidecar.ts";

let gateway: TestIdentityProvider;
let backend: TestBackend;
let sidecar: TestSidecar;

beforeAll(async () => {
  gateway = await startIdentityProvider({ algorithm: "ES256" });
  backend = await startBackend();
  sidecar = await startSidecar(backend.url, {
    yaml: `
authenticators: {gateway: {type: jwt, issuer: "${gateway.url}", audience: ${TEST_AUDIENCE}, algorithms: [ES256]}}
authenticate: [gateway]
token: {audience: orders, algorithm: ES256, actor: $user(iss)}
policies:
  - {name: plain, match: {path: /plain}, token: {actor: false}}
  - {name: none, match: {path: /none}, token: none}
  - {name: chained}
`,
  });
  return async () => {
    await sidecar.close();
    await backend[Symbol.asyncDispose]();
    await gateway[Symbol.asyncDispose]();
  };
});

beforeEach(() => {
  backend.requests.length = 0;
});

async function send(act: unknown, path = "/") {
  const token = await gateway.sign({ sub: "alice", act });
  const response = await fetch(sidecar.url + path, { headers: { authorization: `Bearer ${token}` } });
  return { status: response.status, body: await response.text() };
}

const tokenAt = (index: number) =>
  String(backend.requests[index]?.headers.authorization).slice("Bearer ".length);

test("the token of a caller with one chain of actors is never that of another, and is reused for its own", async () => {
  const acts = [
    { sub: "a" },
    { sub: "b" },
    undefined,
    { sub: "a", act: { sub: "b" } },
    { sub: "a", iss: "b" },
  ];
  for (const act of [...acts, ...acts]) expect((await send(act)).status).toBe(200);
  for (const [index, act] of acts.entries()) {
    const token = tokenAt(index);
    expect(decodeJwt(token).act).toEqual({ sub: gateway.url, ...(act && { act }) });
    // Signatures of ES256 are never the same twice: it is the same token.
    expect(tokenAt(index + acts.length)).toBe(token);
  }
  expect(new Set(acts.map((_, index) => tokenAt(index))).size).toBe(acts.length);
});

test("a caller with eight actors is refused where the policy would add one, and nothing is forwarded", async () => {
  const chain = (count: number): unknown =>
    count === 0 ? undefined : { sub: `g${count}`, act: chain(count - 1) };

  const refused = await send(chain(8));
  expect(refused.status).toBe(403);
  expect(JSON.parse(refused.body)).toMatchObject({
    code: "ERR_ACTORS_TOO_MANY",
    detail: "the caller's token has 8 actors in its claim act already, and none can be added",
  });
  expect(backend.requests).toEqual([]);

  for (const [act, path] of [
    [chain(7), "/"],
    [chain(8), "/plain"],
    [chain(8), "/none"],
  ] as const)
    expect((await send(act, path)).status, path).toBe(200);
  expect(decodeJwt(tokenAt(0)).act).toEqual(JSON.parse(JSON.stringify({ sub: gateway.url, act: chain(7) })));
  expect(decodeJwt(tokenAt(1))).not.toHaveProperty("act");
});
