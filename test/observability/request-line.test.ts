import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { prettyLine } from "../../src/observability/pretty.ts";
import { apiKeyEntry } from "../support/api-keys.ts";
import { startBackend } from "../support/backend.ts";
import { type KeptLog, keptLog } from "../support/log.ts";
import { sendRaw } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

const KEYS = `
authenticators: {partners: {type: apiKey, header: X-Api-Key, keys: [${apiKeyEntry("key-of-acme", "acme")}]}}
authenticate: [partners, anonymous]
`;

/** A sidecar that logs. */
async function startLogged(upstream: string, yaml = "", kept: KeptLog = keptLog({ subject: "plain" })) {
  const sidecar = await startSidecar(upstream, { yaml, onRequestEnd: (record) => kept.log.request(record) });
  return { sidecar, kept, [Symbol.asyncDispose]: () => sidecar.close() };
}

/** The only line, when it is there. */
async function onlyLine({ kept }: { kept: KeptLog }): Promise<Record<string, unknown>> {
  await expect.poll(() => kept.lines).toHaveLength(1);
  expect(kept.lines[0]).toMatch(/^\{.*\}\n$/);
  return kept.objects()[0] as Record<string, unknown>;
}

/** The line of a request whose head is made of these lines. */
async function lineOf(lines: readonly string[], yaml = ""): Promise<Record<string, unknown>> {
  await using backend = await startBackend();
  await using logged = await startLogged(backend.url, yaml);
  await sendRaw(logged.sidecar.port, `${lines.join("\r\n")}\r\nConnection: close\r\n\r\n`);
  return onlyLine(logged);
}

test("the line of a request says what it met at every stage, and nothing else", async () => {
  let sent = "";
  await using backend = await startBackend(async (request, response) => {
    sent = request.headers.authorization ?? "";
    await text(request);
    response.statusCode = 201;
    response.end("four");
  });
  await using logged = await startLogged(backend.url, `${KEYS}token: {tokenId: true}`);
  const before = Date.now();
  const headers = {
    "x-api-key": "key-of-acme",
    "x-request-id": "one",
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  };
  await (await fetch(`${logged.sidecar.url}/a/b?c=d`, { method: "POST", body: "three", headers })).text();
  const line = await onlyLine(logged);
  const jwt = sent.replace("Bearer ", "");
  const milliseconds = expect.any(Number);
  expect(line).toEqual({
    level: "info",
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    pid: process.pid,
    msg: "request",
    requestId: "one",
    traceId: "0af7651916cd43dd8448eb211c80319c",
    client: "127.0.0.1",
    method: "POST",
    path: "/a/b",
    httpVersion: "1.1",
    policy: "default",
    authenticator: "partners",
    subject: "acme",
    status: 201,
    outcome: "complete",
    upstream: backend.url,
    upstreamStatus: 201,
    durationMs: milliseconds,
    authenticationMs: milliseconds,
    tokenMs: milliseconds,
    upstreamMs: milliseconds,
    relayMs: milliseconds,
    bytesIn: 5,
    bytesOut: 4,
    kid: decodeProtectedHeader(jwt).kid,
    jti: decodeJwt(jwt).jti,
  });
  expect(Date.parse(line.time as string)).toBeGreaterThanOrEqual(before);
  const stages = ["authenticationMs", "tokenMs", "upstreamMs", "relayMs"].map((name) => line[name] as number);
  expect(Math.min(...stages)).toBeGreaterThanOrEqual(0);
  expect(stages.reduce((sum, stage) => sum + stage, 0)).toBeLessThanOrEqual(
    (line.durationMs as number) + 0.01,
  );
});

test("the kid is that of the key which signed, also where another one has signed before", async () => {
  await using backend = await startBackend();
  for (let round = 0; round < 2; round++) {
    await using logged = await startLogged(backend.url);
    await (await fetch(logged.sidecar.url)).text();
    const line = await onlyLine(logged);
    expect(line.kid).toBe(logged.sidecar.issuer.jwks().keys[0]?.kid);
    expect(line).not.toHaveProperty("jti");
  }
});

test.each([
  ["the request's URL, without its query", "", "http://a/x?…"],
  ["one of the policy", "audience: https://orders.internal", "https://orders.internal"],
  ["a list", 'audience: ["https://a", "https://b/?key=secret"]', ["https://a", "https://b/?…"]],
])("at the level debug it says what the token is for: %s", async (_, audience, logged) => {
  await using backend = await startBackend();
  const kept = keptLog({ level: "debug" });
  const claims = "additionalClaims: {role: secret}";
  const yaml = `token: {${[claims, audience].filter((part) => part !== "").join(", ")}}`;
  await using sidecar = await startLogged(backend.url, yaml, kept);
  await sendRaw(sidecar.sidecar.port, "GET /x?key=secret HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

  const line = await onlyLine({ kept });
  expect(line).toMatchObject({
    algorithm: "EdDSA",
    audience: logged,
    lifetimeSeconds: 300,
    claims: ["role"],
  });
  expect(JSON.stringify(line)).not.toContain("secret");
});

describe("of the target only the path is logged", () => {
  test.each([
    ["/a?key=secret", "/a"],
    ["/a%3Fb", "/a%3Fb"],
    ["http://me:secret@a/b?c", "/b"],
    ["http://a", undefined],
    ["*", "*"],
    ["/%22%5C", "/%22%5C"],
  ])("%j: %j", async (target, path) => {
    const line = await lineOf([`GET ${target} HTTP/1.1`, "Host: a"]);
    expect(JSON.stringify(line)).not.toContain("secret");
    expect(line.path).toBe(path);
  });

  test("and of a long one its start", async () => {
    const { path } = await lineOf([`GET /${"a".repeat(5000)} HTTP/1.1`, "Host: a"]);
    expect(path).toBe(`/${"a".repeat(1023)}…`);
  });
});

describe("a traceparent that is not one has no trace", () => {
  test.each([
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
    "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "00-00000000000000000000000000000000-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
    'x"y',
  ])("%s", async (traceparent) => {
    expect(await lineOf(["GET / HTTP/1.1", "Host: a", `traceparent: ${traceparent}`])).not.toHaveProperty(
      "traceId",
    );
  });
});

test("the client is the one that a trusted proxy names", async () => {
  const lines = ["GET / HTTP/1.1", "Host: a", "X-Forwarded-For: 192.0.2.7"];
  expect(await lineOf(lines)).toMatchObject({ client: "127.0.0.1" });
  expect(await lineOf(lines, "trustedProxies: [127.0.0.1]")).toMatchObject({ client: "192.0.2.7" });
});

describe("the level goes by the outcome", () => {
  test("a refused credential is a warning, with the reason and without who claimed what", async () => {
    const line = await lineOf(["GET / HTTP/1.1", "Host: a", "X-Api-Key: wrong-secret"], KEYS);
    expect(line).toMatchObject({
      level: "warn",
      status: 401,
      code: "ERR_CREDENTIAL_INVALID",
      authenticator: "partners",
      reason: "the API key is not known",
    });
    for (const name of ["subject", "kid", "upstream"]) expect(line).not.toHaveProperty(name);
  });

  test("no policy is a warning", async () => {
    const line = await lineOf(["GET / HTTP/1.1", "Host: a"], "policies: [{name: a, match: {path: /a}}]");
    expect(line).toMatchObject({ level: "warn", status: 404, code: "ERR_NO_POLICY" });
    expect(line).not.toHaveProperty("policy");
  });

  test("a backend that cannot be reached is an error, with the cause, on one line", async () => {
    await using logged = await startLogged("http://127.0.0.1:9");
    await (await fetch(logged.sidecar.url)).text();
    expect(await onlyLine(logged)).toMatchObject({
      level: "error",
      status: 502,
      code: "ERR_UPSTREAM_UNREACHABLE",
      cause: expect.stringContaining("ECONNREFUSED"),
      upstream: "http://127.0.0.1:9",
    });
  });

  test("an error of the backend's own is an error", async () => {
    await using backend = await startBackend((_request, response) => response.writeHead(500).end());
    await using logged = await startLogged(backend.url);
    await (await fetch(logged.sidecar.url)).text();
    expect(await onlyLine(logged)).toMatchObject({ level: "error", status: 500, upstreamStatus: 500 });
  });

  test("a response that is cut is an error, whatever its status", async () => {
    await using backend = await startBackend((_request, response) => {
      response.writeHead(200, { "content-length": 100 });
      response.write("half");
      setImmediate(() => response.destroy());
    });
    await using logged = await startLogged(backend.url);
    await sendRaw(logged.sidecar.port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const line = await onlyLine(logged);
    expect(line).toMatchObject({
      level: "error",
      status: 200,
      outcome: "aborted",
      code: "ERR_UPSTREAM_BROKEN",
    });
    expect(line).toHaveProperty("cause");
  });

  test("a client that leaves is told of as that", async () => {
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    await using backend = await startBackend(() => begin());
    await using logged = await startLogged(backend.url);
    const socket = connect(logged.sidecar.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await begun;
    socket.destroy();
    const line = await onlyLine(logged);
    expect(line).toMatchObject({ level: "info", outcome: "aborted", client: "127.0.0.1" });
    expect(line).not.toHaveProperty("status");
  });
});

test("a request over HTTP/2 has its client and its path", async () => {
  await using backend = await startBackend();
  await using logged = await startLogged(backend.url, "listen: {address: 127.0.0.1:0, http2: true}");
  const session = connectHttp2(logged.sidecar.url);
  await text(session.request({ ":path": "/a?b" }));
  expect(await onlyLine(logged)).toMatchObject({
    httpVersion: "2.0",
    method: "GET",
    path: "/a",
    client: "127.0.0.1",
    status: 200,
    outcome: "complete",
  });
  session.close();
});

test("a WebSocket is one line at its end", async () => {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  await using logged = await startLogged(`http://127.0.0.1:${(server.address() as { port: number }).port}`);
  const client = new WebSocket(logged.sidecar.url);
  await once(client, "open");
  expect(logged.kept.lines).toEqual([]);
  client.close();
  expect(await onlyLine(logged)).toMatchObject({ level: "info", status: 101, outcome: "tunnel" });
  server.close();
});

describe("the subject", () => {
  const logOf = async (kept: KeptLog) => {
    await using backend = await startBackend();
    await using logged = await startLogged(backend.url, KEYS, kept);
    for (let sent = 1; sent <= 2; sent++) {
      await (await fetch(logged.sidecar.url, { headers: { "x-api-key": "key-of-acme" } })).text();
      await expect.poll(() => kept.lines).toHaveLength(sent);
    }
    return kept.objects().map(({ subject }) => subject);
  };

  test("is a hash that is the same for one caller, and for whoever has the same key", async () => {
    const subjectKey = "a".repeat(64);
    const [first, second] = await logOf(keptLog({}, { subjectKey }));
    expect(first).toMatch(/^[0-9a-f]{16}$/);
    expect(second).toBe(first);
    expect((await logOf(keptLog({}, { subjectKey })))[0]).toBe(first);
    expect((await logOf(keptLog({})))[0]).not.toBe(first);
  });

  test("is left out where it is not wanted", async () => {
    expect(await logOf(keptLog({ subject: "none" }))).toEqual([undefined, undefined]);
  });
});

describe("as text", () => {
  test("a request is one line of what matters", () => {
    const line = {
      level: "error",
      time: "2026-11-22T12:00:00.000Z",
      msg: "request",
      method: "GET",
      path: "/orders",
      policy: "orders",
      authenticator: "partners",
      subject: "acme",
      status: 502,
      outcome: "complete",
      code: "ERR_UPSTREAM_UNREACHABLE",
      cause: "connect\n\x1b[31m ECONNREFUSED",
      upstream: "http://127.0.0.1:9",
      durationMs: 1.5,
      requestId: "one",
    };
    expect(prettyLine(JSON.stringify(line))).toBe(
      "2026-11-22T12:00:00.000Z error: GET /orders 502  1.5 ms  ERR_UPSTREAM_UNREACHABLE: connect\\n\\u001b[31m ECONNREFUSED  policy=orders  by=partners  subject=acme  upstream=http://127.0.0.1:9  request=one\n",
    );
  });

  test.each([
    [{ status: 200, outcome: "aborted" }, "GET /a 200 aborted"],
    [{ outcome: "aborted" }, "GET /a aborted"],
    [{ status: 101, outcome: "tunnel" }, "GET /a 101 tunnel"],
  ])("%j is %s", (more, text) => {
    const line = {
      level: "info",
      time: "T",
      msg: "request",
      method: "GET",
      path: "/a",
      durationMs: 1,
      ...more,
    };
    expect(prettyLine(JSON.stringify(line))).toBe(`T ${text}  1 ms\n`);
  });
});
