import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { connectHttp2 } from "../support/http2-client.ts";
import { FrameClient, OPENING, requestFrame } from "../support/http2-frames.ts";
import { exchange, sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

const JWKS = "/__issuer/.well-known/jwks.json";
const get = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;

/** A connection that has been served once, and goes on. */
async function served(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => {});
  socket.write(get(JWKS));
  await once(socket, "data");
  return socket;
}

/** A sidecar of three connections, all taken; one more is in reserve. */
async function startFull(yaml = "") {
  const backend = await startBackend();
  const sidecar = await startSidecar(backend.url, { yaml: `limits: {connections: 3}\n${yaml}` });
  const sockets = [await served(sidecar.port), await served(sidecar.port), await served(sidecar.port)];
  return {
    backend,
    sidecar,
    sockets,
    async [Symbol.asyncDispose]() {
      await sidecar.close();
      await backend[Symbol.asyncDispose]();
    },
  };
}

test("above limits.connections a request is answered 503 with Retry-After, and its connection closes", async () => {
  await using full = await startFull();
  const answer = await sendRaw(full.sidecar.port, get("/orders"));
  expect(statusesOf(answer)).toEqual([503]);
  expect(answer).toMatch(/^retry-after: 1\r$/im);
  expect(answer).toMatch(/^connection: close\r$/im);
  expect(answer).toContain('"code":"ERR_OVERLOADED"');
  expect(full.backend.requests).toEqual([]);
});

test("above it the issuer's documents are served all the same", async () => {
  await using full = await startFull();
  const answer = await sendRaw(full.sidecar.port, get(JWKS, "Connection: close\r\n"));
  expect(statusesOf(answer)).toEqual([200]);
  expect(answer).toContain('"keys":[');
});

test("above it and the reserve a connection is closed at once", async () => {
  await using full = await startFull();
  await served(full.sidecar.port);
  expect(await sendRaw(full.sidecar.port, get(JWKS))).toBe("");
});

test("connections within it go on, and one that ends makes room", async () => {
  await using full = await startFull();
  const [first, second] = full.sockets as [Socket, Socket];
  first.write(get("/orders"));
  const [answer] = await once(first, "data");
  expect(statusesOf(String(answer))).toEqual([200]);

  second.destroy();
  let statuses: number[] = [];
  const until = Date.now() + 5000;
  while (statuses[0] !== 200 && Date.now() < until)
    statuses = statusesOf(await sendRaw(full.sidecar.port, get("/orders", "Connection: close\r\n")));
  expect(statuses).toEqual([200]);
});

test("it counts over all listeners, but not that of the operators", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: 'limits: {connections: 1}\nadmin: 127.0.0.1:0\nlisten: ["127.0.0.1:0", {address: "127.0.0.1:0", http2: true}]\n',
  });
  await served(sidecar.port);
  const [, other = ""] = sidecar.urls;
  expect(statusesOf(await sendRaw(Number(new URL(other).port), get("/orders")))).toEqual([503]);
  const admin = connect(Number(new URL(sidecar.adminUrl ?? "").port), "127.0.0.1");
  expect(
    statusesOf(
      await exchange(admin, "GET /unknown HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    ),
  ).toEqual([404]);
});

test("many streams are one connection, and above the limit streams are answered alike", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: 'limits: {connections: 1}\nlisten: {address: "127.0.0.1:0", http2: true}\n',
  });
  using within = await connectHttp2(sidecar.url);
  const answers = await Promise.all(Array.from({ length: 20 }, () => within.request()));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));

  using beyond = await connectHttp2(sidecar.url);
  const [orders, jwks] = await Promise.all([beyond.request(), beyond.request({ ":path": JWKS })]);
  expect([orders.status, jwks.status]).toEqual([503, 200]);
  expect(orders.headers["retry-after"]).toBe("1");
});

test("above it a connection of HTTP/2 ends behind its streams, so that its client comes back with one that is served", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: 'limits: {connections: 1}\nlisten: {address: "127.0.0.1:0", http2: true}\n',
  });
  const within = await connectHttp2(sidecar.url);
  using beyond = await connectHttp2(sidecar.url);
  const closed = once(beyond.session, "close");
  expect((await beyond.request()).status).toBe(503);
  await closed;

  const left = once(within.session, "close");
  within[Symbol.dispose]();
  await left;
  await expect
    .poll(async () => {
      using next = await connectHttp2(sidecar.url);
      return (await next.request()).status;
    })
    .toBe(200);
});

test("one that is turned away like that makes room, also where its client does not close it", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: 'limits: {connections: 1}\nlisten: {address: "127.0.0.1:0", http2: true}\n',
  });
  using _within = await connectHttp2(sidecar.url);
  const socket = connect({ port: sidecar.port, host: "127.0.0.1", allowHalfOpen: true });
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
  const beyond = new FrameClient(socket);
  beyond.send(OPENING, requestFrame(1));
  expect(await beyond.outcomeOf(1)).toMatchObject({ status: 503 });

  await expect
    .poll(async () => statusesOf(await sendRaw(sidecar.port, get(JWKS, "Connection: close\r\n"))), {
      timeout: 5000,
    })
    .toEqual([200]);
});

test("requests that are sent ahead end their connection above limits.streams", async () => {
  await using backend = await startBackend(() => {});
  await using sidecar = await startSidecar(backend.url, {
    yaml: "limits: {streams: 3}\ntimeouts: {drain: 1s}\n",
  });
  expect(await sendRaw(sidecar.port, get("/").repeat(4))).toBe("");
});
