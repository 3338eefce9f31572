import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type IncomingMessage, request as requestHttp } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from "jose";
import { beforeAll, describe, expect, test } from "vitest";
import { runHere } from "../cli/in-process.ts";
import { startBackend, type TestBackend } from "../support/backend.ts";
import { type RunningCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { blocksOf } from "../support/documents.ts";
import { freePort } from "../support/free-port.ts";
import { kidOf, passTime, startRotatingSidecar, startRotation } from "../support/rotation.ts";
import { noteSecret } from "../support/secrets.ts";
import { startSidecar } from "../support/sidecar.ts";

const PAGE = "docs/chained-sidecars.md";

/** Only Linux has all of 127.0.0.0/8 on its loopback interface. */
const CLIENT_ADDRESS = process.platform === "linux" ? "127.0.0.2" : "127.0.0.1";

/** A request, and what is answered. */
async function send(url: string, headers: Readonly<Record<string, string>> = {}) {
  const request = requestHttp(url, { headers, agent: false, localAddress: CLIENT_ADDRESS }).end();
  const [response] = (await once(request, "response")) as [IncomingMessage];
  const body = await text(response);
  return { status: response.statusCode, code: body.startsWith("{") ? JSON.parse(body).code : undefined };
}

/** Every JWT that a backend was sent, in whatever field. */
function tokensIn({ rawHeaders }: { readonly rawHeaders: readonly string[] }): string[] {
  return rawHeaders.flatMap((value) => value.match(/eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+/g) ?? []);
}

describe("the two files of the page, each run by its own process", () => {
  const folder = temporaryFolder();
  let backend: TestBackend;
  let edge: RunningCommand;
  let orders: RunningCommand;
  /** The text of the page with the ports of this test. */
  let here: (text: string) => string;

  beforeAll(async () => {
    backend = await startBackend();
    const ports = new Map([["9000", backend.port]]);
    for (const port of ["8080", "8081", "8090", "8091"]) ports.set(port, await freePort());
    here = (text) => text.replaceAll(/(?<=127\.0\.0\.1:)\d{4}\b/g, (port) => String(ports.get(port) ?? port));
    const [edgeYaml = "", ordersYaml = "", tests = ""] = blocksOf(PAGE, "yaml");
    writeFileSync(join(folder.path, "edge.yaml"), here(edgeYaml));
    writeFileSync(join(folder.path, "orders.yaml"), here(ordersYaml));
    writeFileSync(join(folder.path, "orders.policy-test.yaml"), here(tests));
    edge = await startCommand(["serve", "-c", "edge.yaml"], { cwd: folder.path });
    orders = await startCommand(["serve", "-c", "orders.yaml"], { cwd: folder.path });
    return async () => {
      // At once: nobody waits here for a load balancer to see that they are not ready.
      await edge[Symbol.asyncDispose]();
      await orders[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    };
  });

  /** The key of the page's curl command. */
  function apiKey(): string {
    const [command = ""] = blocksOf(PAGE, "console");
    const [, key = "", url = ""] = /^\$ curl -H 'X-Api-Key: (\w+)' (\S+)$/m.exec(command) ?? [];
    expect(here(url)).toBe(`${edge.url}/orders/42`);
    return noteSecret(key);
  }

  /** Verifies as the backend of the page does. */
  const verify = (token: string) =>
    jwtVerify(token, createRemoteJWKSet(new URL(`${orders.url}/__issuer/.well-known/jwks.json`)), {
      issuer: `${orders.url}/__issuer`,
      audience: "https://orders-backend.internal",
      algorithms: ["EdDSA"],
    });

  test("the backend gets one token that it can verify, with the original user, the chosen claims and act", async () => {
    const answer = await send(`${edge.url}/orders/42`, {
      "x-api-key": apiKey(),
      "x-request-id": "order-42",
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });

    expect(answer.status).toBe(200);
    const request = backend.requests.at(-1);
    const tokens = tokensIn(request ?? { rawHeaders: [] });
    expect(tokens).toHaveLength(1);
    const { payload } = await verify(tokens[0] ?? "");
    const [told = ""] = blocksOf(PAGE, "json");
    const { iat, exp, ...shown } = JSON.parse(here(told)) as JWTPayload;
    expect(payload).toEqual({ ...shown, iat: expect.any(Number), exp: Number(payload.iat) + 60 });
    expect(Number(exp) - Number(iat)).toBe(60);
    // What the page says of the rest of the request.
    expect(request?.headers).not.toHaveProperty("x-api-key");
    expect(request?.headers).toMatchObject({
      "x-request-id": "order-42",
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "x-forwarded-host": new URL(edge.url).host,
      via: expect.stringMatching(/^1\.1 (countersign-[\w-]{12}), 1\.1 (?!\1)countersign-[\w-]{12}$/),
    });
    if (process.platform === "linux")
      expect(request?.headers["x-forwarded-for"]).toBe(`${CLIENT_ADDRESS}, 127.0.0.1`);
  });

  test("a request that goes around the first sidecar is answered 401", async () => {
    const before = backend.requests.length;
    expect(await send(`${orders.url}/orders/42`)).toEqual({ status: 401, code: "ERR_CREDENTIAL_MISSING" });
    expect(await send(`${orders.url}/orders/42`, { "x-api-key": apiKey() })).toEqual({
      status: 401,
      code: "ERR_CREDENTIAL_MISSING",
    });
    expect(backend.requests).toHaveLength(before);
  });

  test.each([
    ["for another audience", "https://reports.internal", [], 401, "ERR_CREDENTIAL_INVALID"],
    ["without what is required", "https://orders.internal", [], 403, "ERR_REQUIREMENT_NOT_MET"],
    ["that is good", "https://orders.internal", ["tenant=acme-au"], 200, undefined],
  ])("a token of the first %s is answered as the page says", async (_, audience, claims, status, code) => {
    const mint = ["mint", "-c", "edge.yaml", "--subject", "acme", "--audience", audience];
    const given = claims.length === 0 ? [] : ["--claim", ...claims];
    // Its note is that $user(tenant) has no value.
    const { stdout } = await runHere([...mint, ...given], { cwd: folder.path });
    const before = backend.requests.length;

    const answer = await send(`${orders.url}/orders/42`, { authorization: `Bearer ${stdout.trim()}` });

    expect(answer).toEqual({ status, code });
    expect(backend.requests.length - before).toBe(status === 200 ? 1 : 0);
  });

  test("the tests of the page pass", async () => {
    const result = await runHere(["test", "orders.policy-test.yaml"], { cwd: folder.path });
    expect(result).toMatchObject({ code: 0, stderr: "" });
  });
});

/** A sidecar at this port that lets in what `issuer` has signed for it. */
function chained(port: number, issuer: string, more = "") {
  return `
listen: 127.0.0.1:${port}
authenticators: {gateway: {type: jwt, issuer: "${issuer}", audience: hop-${port}, algorithms: [EdDSA]${more}}}
authenticate: [gateway]
`;
}

const issuerAt = (port: number) => `http://127.0.0.1:${port}/__issuer`;

test("after three sidecars act names the second, and inside it the first", async () => {
  const [a, b, c] = [await freePort(), await freePort(), await freePort()];
  await using backend = await startBackend();
  await using first = await startSidecar(`http://127.0.0.1:${b}`, {
    yaml: `listen: 127.0.0.1:${a}\ntoken: {subject: alice, audience: hop-${b}}\n`,
  });
  await using _second = await startSidecar(`http://127.0.0.1:${c}`, {
    yaml: `${chained(b, issuerAt(a))}token: {audience: hop-${c}, actor: $user(iss)}\n`,
  });
  await using third = await startSidecar(backend.url, {
    yaml: `${chained(c, issuerAt(b))}token: {audience: orders, actor: $user(iss)}\n`,
  });

  expect((await fetch(first.url)).status).toBe(200);

  const [request] = backend.requests;
  const [token = ""] = tokensIn(request ?? { rawHeaders: [] });
  const keys = createRemoteJWKSet(new URL(`${third.issuer.url}/.well-known/jwks.json`));
  const { payload } = await jwtVerify(token, keys, { issuer: issuerAt(c), audience: "orders" });
  expect(payload).toMatchObject({
    sub: "alice",
    act: { sub: issuerAt(b), act: { sub: issuerAt(a) } },
  });
  expect(request?.headers.via?.split(", ")).toHaveLength(3);
});

test("a rotation at the first sidecar fails no request at the second", async () => {
  const [a, b] = [await freePort(), await freePort()];
  await using backend = await startBackend();
  await using first = await startRotatingSidecar(`http://127.0.0.1:${b}`, {
    yaml: `listen: 127.0.0.1:${a}\ntoken: {subject: alice, audience: hop-${b}, expiresIn: 1m}\n`,
  });
  await using _second = await startSidecar(backend.url, {
    yaml: `${chained(b, issuerAt(a), ", originalTokenHeader: X-Original-Token")}token: {audience: orders}\n`,
  });
  /** The key that signed the first one's token for one request. */
  const kidNow = async () => {
    await first.issuer.refreshKeys();
    expect((await fetch(first.url)).status).toBe(200);
    return kidOf(String(backend.requests.at(-1)?.headers["x-original-token"]));
  };

  const before = await kidNow();
  const { pendingSeconds, retiringSeconds } = await startRotation(first);
  const kids = new Set([before, await kidNow()]);
  // Often around the moment from which the new key signs, and again when the old one is gone.
  for (const seconds of [pendingSeconds - 60, 20, 20, 20, 20, 20, 20, retiringSeconds]) {
    passTime(seconds);
    kids.add(await kidNow());
  }

  const after = await kidNow();
  expect(after).not.toBe(before);
  expect([...kids]).toEqual([before, after]);
});
