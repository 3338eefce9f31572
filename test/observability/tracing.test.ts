import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { createSidecar, parseConfig, type TracingEvent } from "../../src/index.ts";
import { apiKeyEntry } from "../support/api-keys.ts";
import { startBackend } from "../support/backend.ts";
import { freePort } from "../support/free-port.ts";
import { connectHttp2, LISTEN_HTTP2 } from "../support/http2-client.ts";
import { sendSpansTo, startOtlpReceiver } from "../support/otlp-receiver.ts";
import { sendRaw } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";
import { openWebSocket, startWebSocketBackend } from "../support/websocket.ts";

afterEach(() => vi.unstubAllEnvs());

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const SPAN_ID = "b7ad6b7169203331";
const SAMPLED = `00-${TRACE_ID}-${SPAN_ID}-01`;

/** A backend, and a collector that takes the spans of sidecars in this process. */
async function startSurroundings(variables: Readonly<Record<string, string>> = {}) {
  const backend = await startBackend();
  const receiver = await startOtlpReceiver();
  sendSpansTo(receiver.url, variables);
  return {
    backend,
    receiver,
    async [Symbol.asyncDispose]() {
      await backend[Symbol.asyncDispose]();
      await receiver[Symbol.asyncDispose]();
    },
  };
}

test("a request is a span with two below it, and the backend is told the one that is its parent", async () => {
  await using surroundings = await startSurroundings();
  const { backend, receiver } = surroundings;
  const before = Date.now();
  const sidecar = await startSidecar(backend.url, {
    yaml: 'policies: [{name: orders, match: {path: "/orders/:id"}}]',
  });
  const headers = { "x-request-id": "one" };
  await (await fetch(`${sidecar.url}/orders/7?key=secret`, { headers })).text();
  await sidecar.close();

  const [server] = receiver.named("GET orders");
  const [token] = receiver.named("token");
  const [upstream] = receiver.named("upstream");
  if (!server || !token || !upstream) throw new Error("a span is missing");
  expect(receiver.spans).toHaveLength(3);
  expect(server).toMatchObject({ kind: "SERVER", parentSpanId: "", status: undefined });
  expect(server.attributes).toEqual({
    "http.request.method": "GET",
    "url.scheme": "http",
    "url.path": "/orders/7",
    "http.route": "/orders/:id",
    "server.address": "127.0.0.1",
    "network.protocol.version": "1.1",
    "http.response.status_code": 200,
    "countersign.policy": "orders",
    "countersign.request_id": "one",
  });
  expect(token).toMatchObject({
    kind: "INTERNAL",
    traceId: server.traceId,
    parentSpanId: server.spanId,
    status: undefined,
    attributes: {
      "countersign.token.algorithm": "EdDSA",
      "countersign.token.kid": sidecar.issuer.jwks().keys[0]?.kid,
    },
  });
  expect(upstream).toMatchObject({
    kind: "CLIENT",
    traceId: server.traceId,
    parentSpanId: server.spanId,
    status: undefined,
  });
  expect(upstream.attributes).toEqual({
    "http.request.method": "GET",
    "server.address": "127.0.0.1",
    "server.port": backend.port,
    "http.response.status_code": 200,
  });
  expect(backend.requests[0]?.headers.traceparent).toBe(`00-${upstream.traceId}-${upstream.spanId}-01`);

  const times = [
    before - 1,
    server.startedAt,
    token.startedAt,
    token.endedAt,
    upstream.startedAt,
    upstream.endedAt,
    Date.now() + 1,
  ];
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  expect(server.endedAt).toBe(upstream.endedAt);
  expect(server.resource).toMatchObject({ "service.name": "countersign", "process.pid": process.pid });
});

test("the client's trace goes on, with its tracestate and its baggage", async () => {
  await using surroundings = await startSurroundings();
  const { backend, receiver } = surroundings;
  const sidecar = await startSidecar(backend.url);
  const context = { tracestate: "a=1, b=2", baggage: "user=alice" };
  await (await fetch(sidecar.url, { headers: { TraceParent: SAMPLED, ...context } })).text();
  await sidecar.close();

  const [server] = receiver.named("GET default");
  const [upstream] = receiver.named("upstream");
  expect(server).toMatchObject({ traceId: TRACE_ID, parentSpanId: SPAN_ID, traceState: "a=1,b=2" });
  const { rawHeaders = [], headers } = backend.requests[0] ?? {};
  expect(rawHeaders.filter((name) => name.toLowerCase() === "traceparent")).toHaveLength(1);
  expect(headers).toMatchObject({
    traceparent: `00-${TRACE_ID}-${upstream?.spanId}-01`,
    ...context,
  });
});

test("a trace that its client does not record has no spans, and the backend is told that", async () => {
  await using surroundings = await startSurroundings();
  const { backend, receiver } = surroundings;
  const sidecar = await startSidecar(backend.url);
  const headers = { traceparent: `00-${TRACE_ID}-${SPAN_ID}-02`, tracestate: "a=1" };
  await (await fetch(sidecar.url, { headers })).text();
  await sidecar.close();

  expect(receiver.spans).toEqual([]);
  // The flag says that the id is random, and stays.
  expect(backend.requests[0]?.headers).toMatchObject({
    traceparent: expect.stringMatching(new RegExp(`^00-${TRACE_ID}-(?!${SPAN_ID})[\\da-f]{16}-02$`)),
    tracestate: "a=1",
  });
});

test.each([
  ["that cannot be read", "00-xyz"],
  ["of zeros", `00-${"0".repeat(32)}-${SPAN_ID}-01`],
  ["of another version, which is too long for the first", `00-${TRACE_ID}-${SPAN_ID}-01-more`],
  ["twice", `${SAMPLED}\r\ntraceparent: ${SAMPLED}`],
])("a traceparent %s is none: a new trace begins, without the tracestate", async (_what, traceparent) => {
  await using surroundings = await startSurroundings();
  const { backend, receiver } = surroundings;
  const sidecar = await startSidecar(backend.url);
  const fields = `Host: a\r\nConnection: close\r\ntraceparent: ${traceparent}\r\ntracestate: a=1`;
  await sendRaw(sidecar.port, `GET / HTTP/1.1\r\n${fields}\r\n\r\n`);
  await sidecar.close();

  const [server] = receiver.named("GET default");
  const [upstream] = receiver.named("upstream");
  expect(server).toMatchObject({ parentSpanId: "", traceState: "" });
  expect(server?.traceId).not.toBe(TRACE_ID);
  const { headers, rawHeaders } = backend.requests[0] ?? {};
  expect(headers?.traceparent).toBe(`00-${server?.traceId}-${upstream?.spanId}-01`);
  expect(rawHeaders).not.toContain("tracestate");
});

test("a traceparent of a later version is read as far as it is known", async () => {
  await using surroundings = await startSurroundings();
  const { backend, receiver } = surroundings;
  const sidecar = await startSidecar(backend.url);
  await (await fetch(sidecar.url, { headers: { traceparent: `01-${TRACE_ID}-${SPAN_ID}-01-more` } })).text();
  await sidecar.close();
  expect(receiver.named("GET default")).toMatchObject([{ traceId: TRACE_ID, parentSpanId: SPAN_ID }]);
  expect(backend.requests[0]?.headers.traceparent).toMatch(new RegExp(`^00-${TRACE_ID}-`));
});

describe("what went wrong is said by the spans that it went wrong in", () => {
  test("a refusal is an error of the caller", async () => {
    await using surroundings = await startSurroundings();
    const { backend, receiver } = surroundings;
    const sidecar = await startSidecar(backend.url, {
      yaml: "authenticators: {ops: {type: apiKey, keys: []}}\npolicies: [{name: a, match: {path: /a}, authenticate: [ops]}]",
    });
    await (await fetch(`${sidecar.url}/a`)).text();
    await (await fetch(`${sidecar.url}/b`)).text();
    await sidecar.close();
    expect(receiver.spans).toMatchObject([
      {
        name: "GET a",
        status: undefined,
        attributes: { "http.response.status_code": 401, "error.type": "ERR_CREDENTIAL_MISSING" },
      },
      {
        name: "GET",
        status: undefined,
        attributes: { "http.response.status_code": 404, "error.type": "ERR_NO_POLICY" },
      },
    ]);
  });

  test("a token that cannot be sent", async () => {
    await using surroundings = await startSurroundings();
    const { backend, receiver } = surroundings;
    const sidecar = await startSidecar(backend.url);
    // The URL is the audience.
    await (await fetch(`${sidecar.url}/${"b".repeat(8000)}`)).text();
    await sidecar.close();
    expect(receiver.spans).toMatchObject([
      {
        name: "token",
        status: "ERROR",
        attributes: { "countersign.token.algorithm": "EdDSA", "error.type": "ERR_TOKEN_TOO_LARGE" },
      },
      { name: "GET default", status: undefined, attributes: { "error.type": "ERR_TOKEN_TOO_LARGE" } },
    ]);
  });

  test.each([
    ["http://127.0.0.1:9", { "server.address": "127.0.0.1", "server.port": 9 }],
    ["https://127.0.0.1", { "server.address": "127.0.0.1", "server.port": 443 }],
    ["unix:/nowhere/app.sock", { "server.address": "/nowhere/app.sock" }],
  ])("a backend that cannot be reached at %s", async (upstream, address) => {
    await using surroundings = await startSurroundings();
    const { receiver } = surroundings;
    const sidecar = await startSidecar(upstream);
    await (await fetch(sidecar.url)).text();
    await sidecar.close();
    const attributes = { "error.type": "ERR_UPSTREAM_UNREACHABLE" };
    expect(receiver.named("upstream")).toMatchObject([{ status: "ERROR" }]);
    expect(receiver.named("upstream")[0]?.attributes).toEqual({
      "http.request.method": "GET",
      ...address,
      ...attributes,
    });
    expect(receiver.named("GET default")).toMatchObject([
      { status: "ERROR", attributes: { ...attributes, "http.response.status_code": 502 } },
    ]);
  });

  test.each([
    [404, undefined],
    [500, "ERROR"],
  ])("a backend that answers %d", async (status, ofServer) => {
    await using backend = await startBackend((_request, response) => void response.writeHead(status).end());
    await using receiver = await startOtlpReceiver();
    sendSpansTo(receiver.url);
    const sidecar = await startSidecar(backend.url);
    await (await fetch(sidecar.url)).text();
    await sidecar.close();
    expect(receiver.named("upstream")).toMatchObject([
      {
        status: "ERROR",
        attributes: { "http.response.status_code": status, "error.type": String(status) },
      },
    ]);
    expect(receiver.named("GET default")).toMatchObject([
      { status: ofServer, attributes: { "http.response.status_code": status } },
    ]);
  });

  test("a backend that breaks off in the middle", async () => {
    await using backend = await startBackend((_request, response) => {
      response.writeHead(200, { "content-length": 100 });
      response.write("x", () => response.destroy());
    });
    await using receiver = await startOtlpReceiver();
    sendSpansTo(receiver.url);
    const sidecar = await startSidecar(backend.url);
    await expect(fetch(sidecar.url).then((response) => response.text())).rejects.toThrow();
    await sidecar.close();
    const attributes = { "http.response.status_code": 200, "error.type": "ERR_UPSTREAM_BROKEN" };
    expect(receiver.named("upstream")).toMatchObject([{ status: "ERROR", attributes }]);
    expect(receiver.named("GET default")).toMatchObject([{ status: "ERROR", attributes }]);
  });

  test("a backend that is too busy to be asked has no span", async () => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    await using backend = await startBackend(async (_request, response) => {
      begin();
      await released;
      response.end();
    });
    await using receiver = await startOtlpReceiver();
    sendSpansTo(receiver.url);
    const sidecar = await startSidecar(backend.url, {
      yaml: `upstream: {url: "${backend.url}", connections: 1, pending: 1}\npolicies: [{name: a, token: none}]`,
    });
    const ask = async () => (await fetch(sidecar.url)).status;
    const first = ask();
    await begun;
    // One of these waits, and the other finds no room.
    const others = [ask(), ask()];
    expect(await Promise.race(others)).toBe(503);
    release();
    expect(await Promise.all([first, ...others])).toContain(503);
    await sidecar.close();
    expect(receiver.named("GET a")).toHaveLength(3);
    expect(receiver.named("upstream")).toHaveLength(2);
    expect(receiver.named("token")).toEqual([]);
  });

  test("a client that leaves", async () => {
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    await using backend = await startBackend(() => begin());
    await using receiver = await startOtlpReceiver();
    sendSpansTo(receiver.url, { OTEL_BSP_SCHEDULE_DELAY: "1" });
    await using sidecar = await startSidecar(backend.url);
    const socket = connect(sidecar.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await begun;
    socket.destroy();
    await expect.poll(() => receiver.named("GET default")).toMatchObject([{ status: undefined }]);
    const [server] = receiver.named("GET default");
    expect(server?.attributes).not.toHaveProperty("http.response.status_code");
  });
});

test("a method that nobody has heard of is in no name", async () => {
  await using surroundings = await startSurroundings();
  const { backend, receiver } = surroundings;
  const sidecar = await startSidecar(backend.url);
  await sendRaw(sidecar.port, "PURGE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  await sidecar.close();
  expect(receiver.named("HTTP default")).toMatchObject([
    { attributes: { "http.request.method": "_OTHER", "http.request.method_original": "PURGE" } },
  ]);
});

test("no span holds a query, a credential, a cookie, a token, or what stands before the host of a target", async () => {
  await using surroundings = await startSurroundings();
  const { backend, receiver } = surroundings;
  const sidecar = await startSidecar(backend.url, {
    yaml: `authenticators: {ops: {type: apiKey, header: X-Key, keys: [${apiKeyEntry("hush-key", "ops")}]}}
policies: [{name: a, authenticate: [ops]}]`,
  });
  const fields = [
    "Host: a",
    "X-Key: hush-key",
    "Cookie: session=hush-cookie",
    "Authorization: Bearer hush-bearer",
    "User-Agent: hush-agent",
  ];
  for (const target of [
    "/a?hush-query=1",
    "/a?#hush",
    "http://hush-user:hush-password@a/a?hush",
    "hush-form",
    "/%zz?hush",
  ])
    for (const lines of [fields, ["Host: hush@host"]])
      await sendRaw(
        sidecar.port,
        `GET ${target} HTTP/1.1\r\n${lines.join("\r\n")}\r\nConnection: close\r\n\r\n`,
      );
  await sidecar.close();
  const token = String(backend.requests[0]?.headers.authorization).replace("Bearer ", "");
  expect(token).toMatch(/^ey/);
  expect(receiver.named("GET a").length).toBeGreaterThan(0);
  const sent = Buffer.concat(receiver.requests.map(({ body }) => body)).toString("latin1");
  expect(sent).not.toContain("hush");
  for (const part of token.split(".")) expect(sent).not.toContain(part);
});

test("a long path is cut", async () => {
  await using surroundings = await startSurroundings();
  const { backend, receiver } = surroundings;
  const sidecar = await startSidecar(backend.url);
  await (await fetch(`${sidecar.url}/${"x".repeat(5000)}`)).text();
  await sidecar.close();
  expect(receiver.named("GET default")[0]?.attributes["url.path"]).toBe(`/${"x".repeat(1023)}`);
});

test("over HTTP/2 it is the same", async () => {
  await using surroundings = await startSurroundings();
  const { backend, receiver } = surroundings;
  const sidecar = await startSidecar(backend.url, { yaml: LISTEN_HTTP2 });
  {
    using client = await connectHttp2(sidecar.url);
    await client.request({ ":path": "/a?b", traceparent: SAMPLED });
  }
  await sidecar.close();
  const [upstream] = receiver.named("upstream");
  expect(receiver.named("GET default")).toMatchObject([
    {
      parentSpanId: SPAN_ID,
      attributes: {
        "url.scheme": "http",
        "url.path": "/a",
        "server.address": "127.0.0.1",
        "network.protocol.version": "2",
      },
    },
  ]);
  expect(backend.requests[0]?.headers.traceparent).toBe(`00-${TRACE_ID}-${upstream?.spanId}-01`);
});

test("a WebSocket is one span from its handshake to its end", async () => {
  await using backend = await startWebSocketBackend();
  await using receiver = await startOtlpReceiver();
  sendSpansTo(receiver.url);
  const sidecar = await startSidecar(backend.url);
  const socket = await openWebSocket(sidecar.url, { headers: { traceparent: SAMPLED } });
  socket.close();
  await once(socket, "close");
  await sidecar.close();
  const [upstream] = receiver.named("upstream");
  expect(receiver.named("GET default")).toMatchObject([
    { parentSpanId: SPAN_ID, attributes: { "http.response.status_code": 101 } },
  ]);
  expect(upstream?.attributes["http.response.status_code"]).toBe(101);
  expect(backend.handshakes[0]?.headers.traceparent).toBe(`00-${TRACE_ID}-${upstream?.spanId}-01`);
});

test("a request that the end of the sidecar cuts is among the spans", async () => {
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  await using backend = await startBackend(() => begin());
  await using receiver = await startOtlpReceiver();
  sendSpansTo(receiver.url);
  const sidecar = await startSidecar(backend.url, { yaml: "timeouts: {drain: 1s}" });
  const answer = fetch(sidecar.url).catch(() => "cut");
  await begun;
  await sidecar.close();
  expect(await answer).toBe("cut");
  expect(receiver.named("GET default")).toHaveLength(1);
});

test("the traces go on when another configuration takes the place of the one in use", async () => {
  await using surroundings = await startSurroundings();
  const { backend, receiver } = surroundings;
  const configOf = (name: string) =>
    parseConfig(
      `listen: 127.0.0.1:0\nadmin: false\nupstream: ${backend.url}\nissuer: {keys: {ephemeral: true}}\npolicies: [{name: ${name}}]`,
      { file: "sidecar.yaml" },
    ).config;
  const sidecar = createSidecar(configOf("before"));
  const { url } = await sidecar.start();
  await sidecar.reload(() => configOf("after"));
  await (await fetch(url)).text();
  await sidecar.close();
  expect(receiver.named("GET after")).toHaveLength(1);
});

test("the samplers, the headers and the resource are what the variables say", async () => {
  await using surroundings = await startSurroundings({
    OTEL_TRACES_SAMPLER: "traceidratio",
    OTEL_TRACES_SAMPLER_ARG: "0",
    OTEL_EXPORTER_OTLP_HEADERS: "x-tenant=a%20b",
    OTEL_SERVICE_NAME: "edge",
    OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
  });
  const { backend, receiver } = surroundings;
  await using never = await startSidecar(backend.url);
  await (await fetch(never.url, { headers: { traceparent: SAMPLED } })).text();
  await never.close();
  expect(receiver.spans).toEqual([]);
  expect(backend.requests[0]?.headers.traceparent).toMatch(/-00$/);

  vi.stubEnv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
  await using always = await startSidecar(backend.url);
  await (await fetch(always.url)).text();
  await (await fetch(always.url, { headers: { traceparent: SAMPLED } })).text();
  await always.close();
  expect(receiver.named("GET default")).toMatchObject([
    {
      traceId: TRACE_ID,
      resource: { "service.name": "edge", "deployment.environment.name": "test" },
    },
  ]);
  expect(receiver.requests[0]).toMatchObject({
    path: "/v1/traces",
    headers: { "x-tenant": "a b", "content-type": "application/x-protobuf" },
  });
});

describe("a collector that takes nothing disturbs no request", () => {
  test("it is told once, and once more when it takes spans again", async () => {
    const port = await freePort();
    sendSpansTo(`http://127.0.0.1:${port}`, {
      OTEL_BSP_SCHEDULE_DELAY: "1",
      // Shorter than the pause before another try.
      OTEL_EXPORTER_OTLP_TIMEOUT: "100",
    });
    await using backend = await startBackend();
    const events: TracingEvent[] = [];
    await using sidecar = await startSidecar(backend.url, { onTracingEvent: (event) => events.push(event) });
    const ask = async () => expect(await (await fetch(sidecar.url)).text()).toBe("ok");
    await ask();
    await expect.poll(() => events).toHaveLength(1);
    for (let round = 0; round < 3; round++) {
      await ask();
      await sleep(20);
    }
    expect(events).toEqual([
      {
        kind: "problem",
        message: expect.stringMatching(
          /^the collector does not take spans, which are lost until it does: .*ECONNREFUSED/,
        ),
      },
    ]);

    await using receiver = await startOtlpReceiver({ port });
    await ask();
    await expect.poll(() => receiver.named("GET default").length).toBeGreaterThan(0);
    await expect
      .poll(() => events.slice(1))
      .toEqual([{ kind: "recovered", message: "the collector takes spans again" }]);
  });

  test("one that does not answer holds the end of the sidecar up for a few seconds", async () => {
    await using receiver = await startOtlpReceiver({ answer: () => {} });
    sendSpansTo(receiver.url);
    await using backend = await startBackend();
    const sidecar = await startSidecar(backend.url);
    await (await fetch(sidecar.url)).text();
    const before = performance.now();
    await sidecar.close();
    const seconds = (performance.now() - before) / 1000;
    expect(seconds).toBeGreaterThan(2.9);
    expect(seconds).toBeLessThan(8);
  });

  test("a listener of events that throws does not either", async () => {
    await using receiver = await startOtlpReceiver({
      answer: (_request, response) => void response.writeHead(403).end(),
    });
    sendSpansTo(receiver.url);
    await using backend = await startBackend();
    const warnings: string[] = [];
    const keep = ({ message }: Error) => warnings.push(message);
    process.on("warning", keep);
    onTestFinished(() => void process.off("warning", keep));
    const sidecar = await startSidecar(backend.url, {
      onTracingEvent() {
        throw new Error("a bug of the caller");
      },
    });
    await (await fetch(sidecar.url)).text();
    await sidecar.close();
    await expect.poll(() => warnings).toContain("a bug of the caller");
  });
});
