import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import type { RequestRecord } from "../../src/gateway/request-record.ts";
import { startBackend } from "../support/backend.ts";
import { sendRaw } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

/** A sidecar whose records are kept. */
async function startObserved(upstream: string, yaml = "") {
  const records: RequestRecord[] = [];
  const sidecar = await startSidecar(upstream, { yaml, onRequestEnd: (record) => records.push(record) });
  return { records, sidecar, [Symbol.asyncDispose]: () => sidecar.close() };
}

test("a request that was answered is told of once, with what is known of every stage", async () => {
  await using backend = await startBackend(async (request, response) => {
    await text(request);
    response.statusCode = 201;
    response.end("four");
  });
  await using observed = await startObserved(backend.url);
  const { sidecar, records } = observed;
  const headers = { "x-request-id": "one" };
  await (await fetch(`${sidecar.url}/path?secret=1`, { method: "POST", body: "three", headers })).text();

  await expect.poll(() => records).toHaveLength(1);
  const [record] = records as [RequestRecord];
  expect(record).toMatchObject({
    requestId: "one",
    policy: { name: "default" },
    authentication: { kind: "anonymous" },
    tokenRequest: { lifetimeSeconds: 300 },
    upstream: backend.url,
    upstreamStatus: 201,
    receivedBytes: 5,
    relayedBytes: 4,
    status: 201,
    code: undefined,
    isTunnel: false,
    isComplete: true,
  });
  expect(record.jwt).toMatch(/^ey/);
  const times = [
    record.receivedAt,
    record.authenticatedAt,
    record.tokenAt,
    record.forwardedAt,
    record.upstreamRespondedAt,
    record.endedAt,
  ] as number[];
  expect(times.every(Number.isFinite)).toBe(true);
  expect(times).toEqual(times.toSorted((a, b) => a - b));
});

test.each([
  [
    "no policy matches",
    "GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    404,
    "ERR_NO_POLICY",
  ],
  [
    "the target is ambiguous",
    "GET /a%2fb HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    400,
    "ERR_TARGET_AMBIGUOUS",
  ],
  [
    "a credential is missing",
    "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    401,
    "ERR_CREDENTIAL_MISSING",
  ],
])("one that is refused because %s has its code, and no token", async (_why, bytes, status, code) => {
  await using backend = await startBackend();
  await using observed = await startObserved(
    backend.url,
    `authenticators: {ops: {type: apiKey, keys: []}}
policies: [{name: a, match: {path: /a}, authenticate: [ops]}]`,
  );
  await sendRaw(observed.sidecar.port, bytes);
  await expect.poll(() => observed.records).toHaveLength(1);
  expect(observed.records[0]).toMatchObject({ status, code, isComplete: true, jwt: undefined });
});

test("one whose client leaves before the answer has no status, and is not complete", async () => {
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  await using backend = await startBackend(() => begin());
  await using observed = await startObserved(backend.url);
  const socket = connect(observed.sidecar.port, "127.0.0.1");
  socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await begun;
  socket.destroy();
  await expect.poll(() => observed.records).toHaveLength(1);
  expect(observed.records[0]).toMatchObject({ status: undefined, isComplete: false });
});

test("one that the backend does not answer has the code of that", async () => {
  await using observed = await startObserved("http://127.0.0.1:9");
  await (await fetch(observed.sidecar.url)).text();
  await expect.poll(() => observed.records).toHaveLength(1);
  expect(observed.records[0]).toMatchObject({
    status: 502,
    code: "ERR_UPSTREAM_UNREACHABLE",
    upstreamStatus: undefined,
  });
});

test("one over HTTP/2 is told of when its stream ends, and not with its connection", async () => {
  await using backend = await startBackend();
  await using observed = await startObserved(backend.url, "listen: {address: 127.0.0.1:0, http2: true}");
  const session = connectHttp2(observed.sidecar.url);
  const stream = session.request({ ":path": "/" });
  expect(await text(stream)).toBe("ok");
  await expect.poll(() => observed.records).toHaveLength(1);
  expect(observed.records[0]).toMatchObject({ status: 200, relayedBytes: 2, isComplete: true });
  session.close();
});

test("a WebSocket is told of when it ends, with the bytes that went both ways", async () => {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  server.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
  const { port } = server.address() as { port: number };
  await using observed = await startObserved(`http://127.0.0.1:${port}`);
  const client = new WebSocket(observed.sidecar.url);
  await once(client, "open");
  client.send("x".repeat(5000));
  await once(client, "message");
  expect(observed.records).toEqual([]);

  client.close();
  await expect.poll(() => observed.records).toHaveLength(1);
  const [record] = observed.records as [RequestRecord];
  expect(record).toMatchObject({ status: 101, upstreamStatus: 101, isTunnel: true, isComplete: true });
  expect(record.receivedBytes).toBeGreaterThan(5000);
  expect(record.relayedBytes).toBeGreaterThan(5000);
  server.close();
});
