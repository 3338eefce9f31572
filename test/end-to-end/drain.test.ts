import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { describe, expect, onTestFinished, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { connectHttp2, LISTEN_HTTP2 } from "../support/http2-client.ts";
import { FRAME, FrameClient, OPENING, requestFrame } from "../support/http2-frames.ts";
import { startLoad } from "../support/load.ts";
import { exchange, statusesOf } from "../support/raw-client.ts";
import { startSidecar, type TestSidecar } from "../support/sidecar.ts";
import { startTlsSidecar } from "../support/tls-sidecar.ts";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

function connectTo(port: number): Promise<Socket> {
  return connected(connectTcp({ port, host: "127.0.0.1", noDelay: true }), "connect");
}

async function connected<T extends Socket>(socket: T, event: string): Promise<T> {
  onTestFinished(() => void socket.destroy());
  await once(socket, event);
  return socket;
}

/** A connection that has had an answer, and waits. */
async function idle(sidecar: TestSidecar): Promise<Socket> {
  const socket = await connectTo(sidecar.port);
  socket.write(GET);
  await once(socket, "data");
  return socket;
}

describe("no request is lost", () => {
  test.each([
    ["that are always busy", () => 0],
    ["that pause between requests", () => Math.random() * 100],
  ])("of 200 connections %s", async (_, pause) => {
    await using backend = await startBackend((_request, response) => response.end("ok"));
    for (let round = 0; round < 3; round++) {
      const sidecar = await startSidecar(backend.url);
      const connect = () => connectTo(sidecar.port);
      const load = startLoad({ clients: 200, connect, reconnects: false, pause });
      await load.more(400);
      await sidecar.close();
      await load.ended;
      expect(load.failures).toEqual([]);
      expect(load.answered()).toBeGreaterThanOrEqual(400);
    }
  });

  test("of the real program, also of clients that come again and again, and over TLS", async () => {
    await using backend = await startBackend((_request, response) => response.end("ok"));
    using folder = temporaryFolder();
    await using sidecar = await startCommand(
      ["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"],
      {
        cwd: folder.path,
      },
    );
    const port = Number(new URL(sidecar.url).port);
    const load = startLoad({ clients: 200, connect: () => connectTo(port), reconnects: true });
    await load.more(600);
    expect((await sidecar.stop("SIGTERM")).code).toBe(0);
    await load.ended;
    expect(load.failures).toEqual([]);
    // Whoever comes back in the very moment of the end.
    expect(load.neverTaken()).toBeLessThan(20);

    await using tls = await startTlsSidecar(backend.url);
    const secured = startLoad({
      clients: 50,
      connect: () =>
        connected(connectTls({ port: tls.port, host: "127.0.0.1", ca: tls.ca.cert }), "secureConnect"),
      reconnects: false,
    });
    await secured.more(200);
    await tls.sidecar.close();
    await secured.ended;
    expect(secured.failures).toEqual([]);
  });

  test("of HTTP/2: what is under way is answered, and the client is told that nothing more is taken", async () => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    let arrived = 0;
    await using backend = await startBackend(async (_request, response) => {
      arrived++;
      await released;
      response.end("finished");
    });
    const sidecar = await startSidecar(backend.url, { yaml: LISTEN_HTTP2 });
    using client = await connectHttp2(sidecar.url);
    const answers = Array.from({ length: 50 }, () => client.request());
    while (arrived < 50) await new Promise(setImmediate);
    const told = once(client.session, "goaway");
    const closed = sidecar.close();
    await told;
    release();
    expect(new Set((await Promise.all(answers)).map(({ body }) => body))).toEqual(new Set(["finished"]));
    await closed;
  });
});

describe("a connection that waits for its next request", () => {
  test("gets its answer while the end has begun, and is told that it was the last", async () => {
    await using backend = await startBackend();
    const sidecar = await startSidecar(backend.url);
    const socket = await idle(sidecar);
    const closed = sidecar.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const answer = await exchange(socket, GET);
    expect(statusesOf(answer)).toEqual([200]);
    expect(answer).toMatch(/^connection: close\r$/im);
    await closed;
  });

  test("is closed soon where it asks for nothing, with a proper end over TLS", async () => {
    await using backend = await startBackend();
    await using tls = await startTlsSidecar(backend.url);
    const socket = await tls.connect();
    socket.write(GET);
    await once(socket, "data");
    const begun = Date.now();
    // The alert close_notify: without it Node.js has no end, only an error or a close (RFC 8446 §6.1).
    const ended = once(socket, "end");
    await tls.sidecar.close();
    await ended;
    expect(Date.now() - begun).toBeLessThan(3000);
  });

  test("may use it for as long as others have requests under way", async () => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    await using backend = await startBackend(async (request, response) => {
      if (request.url === "/slow") await released;
      response.end("ok");
    });
    const sidecar = await startSidecar(backend.url);
    const socket = await idle(sidecar);
    const slow = fetch(`${sidecar.url}/slow`);
    const other = await idle(sidecar);
    const closed = sidecar.close();
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(statusesOf(await exchange(socket, GET))).toEqual([200]);
    release();
    expect(await (await slow).text()).toBe("ok");
    await closed;
    expect(other.destroyed || other.readableEnded).toBe(true);
  });

  test("and has begun to send it is not cut in the middle", async () => {
    await using backend = await startBackend();
    const sidecar = await startSidecar(backend.url);
    const socket = await idle(sidecar);
    socket.write(GET.slice(0, 10));
    const closed = sidecar.close();
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect(statusesOf(await exchange(socket, GET.slice(10)))).toEqual([200]);
    await closed;
  });
});

test("connections that the system has accepted already are answered too", async () => {
  await using backend = await startBackend();
  const sidecar = await startSidecar(backend.url);
  // All in this turn of the loop: the sidecar, in the same process, has accepted none of them when it begins to end.
  const sockets = Array.from({ length: 50 }, () => connectTcp(sidecar.port, "127.0.0.1"));
  const answers = sockets.map((socket) => exchange(socket, GET));
  const began = Date.now();
  while (Date.now() - began < 50);
  await sidecar.close();
  for (const answer of await Promise.all(answers)) expect(statusesOf(answer)).toEqual([200]);
});

test("a client of HTTP/2 that stays cannot hold up the end", async () => {
  await using backend = await startBackend();
  const sidecar = await startSidecar(backend.url, { yaml: LISTEN_HTTP2 });
  using client = await FrameClient.open(sidecar.port);
  client.send(requestFrame(1));
  expect(await client.outcomeOf(1)).toEqual({ status: 200 });
  client.socket.allowHalfOpen = true;
  const begun = Date.now();
  await sidecar.close();
  expect(Date.now() - begun).toBeLessThan(5000);
  expect(client.frames.some(({ type }) => type === FRAME.goaway)).toBe(true);
});

test("nor can one that begins to speak HTTP/2 while others are answered, and asks for nothing", async () => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const { promise: arrived, resolve: requestArrived } = Promise.withResolvers<void>();
  await using backend = await startBackend(async (_request, response) => {
    requestArrived();
    await released;
    response.end("ok");
  });
  const sidecar = await startSidecar(backend.url, { yaml: LISTEN_HTTP2 });
  const late = await connectTo(sidecar.port);
  const answer = fetch(sidecar.url);
  await arrived;
  const closed = sidecar.close();
  // Behind the moment in which those that are there are told.
  await new Promise((resolve) => setTimeout(resolve, 300));
  late.write(OPENING);
  await once(late, "data");
  const begun = Date.now();
  release();
  expect((await answer).status).toBe(200);
  await closed;
  expect(Date.now() - begun).toBeLessThan(5000);
});

test("what is left after timeouts.drain is cut off, also over HTTP/2", async () => {
  const { promise: arrived, resolve: requestArrived } = Promise.withResolvers<void>();
  await using backend = await startBackend(() => requestArrived());
  const sidecar = await startSidecar(backend.url, { yaml: `${LISTEN_HTTP2}timeouts: {drain: 1s}\n` });
  using client = await FrameClient.open(sidecar.port);
  client.send(requestFrame(1));
  await arrived;
  await sidecar.close();
  await client.closed;
  expect(client.frames.some(({ type, streamId }) => type === FRAME.headers && streamId === 1)).toBe(false);
});
