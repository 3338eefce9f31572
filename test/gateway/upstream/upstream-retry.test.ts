import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { setImmediate as immediate } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { startBackend } from "../../support/backend.ts";
import { resolveNames } from "../../support/names.ts";
import { type RawBackend, startRawBackend } from "../../support/raw-backend.ts";
import { sendRaw, statusesOf } from "../../support/raw-client.ts";
import { startSidecar } from "../../support/sidecar.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** A backend that keeps a connection open for one request, and does something with the next on it. */
function startFickleBackend(second: (socket: Socket) => void): Promise<RawBackend> {
  const served = new WeakSet<Socket>();
  return startRawBackend((socket) => {
    if (served.has(socket)) return second(socket);
    served.add(socket);
    socket.write(OK);
  });
}

function get(port: number, method = "GET"): Promise<string> {
  return sendRaw(port, `${method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
}

function post(port: number, method = "POST"): Promise<string> {
  return sendRaw(port, `${method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx`);
}

describe("a connection that was used before, and is closed at the next request,", () => {
  test.each([
    ["GET", "reset", (socket: Socket) => socket.resetAndDestroy()],
    ["GET", "closed", (socket: Socket) => socket.end()],
    ["OPTIONS", "reset", (socket: Socket) => socket.resetAndDestroy()],
  ])("costs a %s nothing: %s", async (method, _how, close) => {
    await using backend = await startFickleBackend(close);
    await using sidecar = await startSidecar(backend.url);

    expect(statusesOf(await get(sidecar.port, method))).toEqual([200]);
    expect(statusesOf(await get(sidecar.port, method))).toEqual([200]);

    expect(backend.requestLines()).toHaveLength(3);
    expect(sidecar.failures).toEqual([]);
  });

  test.each([
    ["POST", post],
    ["DELETE", (port: number) => get(port, "DELETE")],
    ["GET with a body", (port: number) => post(port, "GET")],
  ])("ends a %s with 502, and it is not sent again", async (_name, send) => {
    await using backend = await startFickleBackend((socket) => socket.resetAndDestroy());
    await using sidecar = await startSidecar(backend.url);

    expect(statusesOf(await get(sidecar.port))).toEqual([200]);
    expect(statusesOf(await send(sidecar.port))).toEqual([502]);

    expect(backend.requestLines()).toHaveLength(2);
  });

  test("ends a GET with 502 where a byte of the response has come", async () => {
    await using backend = await startFickleBackend((socket) => socket.end("HTTP/1"));
    await using sidecar = await startSidecar(backend.url);

    expect(statusesOf(await get(sidecar.port))).toEqual([200]);
    expect(statusesOf(await get(sidecar.port))).toEqual([502]);

    expect(backend.requestLines()).toHaveLength(2);
  });
});

test("a GET is sent at most twice", async () => {
  let connections = 0;
  await using backend = await startRawBackend((socket) => {
    if (backend.sockets.length > connections) {
      connections = backend.sockets.length;
      if (connections === 1) socket.write(OK);
      else socket.resetAndDestroy();
    } else socket.resetAndDestroy();
  });
  await using sidecar = await startSidecar(backend.url);

  expect(statusesOf(await get(sidecar.port))).toEqual([200]);
  expect(statusesOf(await get(sidecar.port))).toEqual([502]);

  // The first, the second on its connection, and that once more.
  expect(backend.requestLines()).toHaveLength(3);
});

test("a GET on a new connection is not sent again either where one that was used has been closed before", async () => {
  await using backend = await startRawBackend((socket) => {
    if (backend.sockets.length > 1) socket.resetAndDestroy();
    else socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
  });
  await using sidecar = await startSidecar(backend.url);

  expect(statusesOf(await get(sidecar.port))).toEqual([200]);
  expect(statusesOf(await get(sidecar.port))).toEqual([502]);

  expect(backend.requestLines()).toHaveLength(2);
});

test("a GET on a new connection that is reset is not sent again", async () => {
  await using backend = await startRawBackend((socket) => socket.resetAndDestroy());
  await using sidecar = await startSidecar(backend.url);

  expect(statusesOf(await get(sidecar.port))).toEqual([502]);

  expect(backend.requestLines()).toHaveLength(1);
});

test.each(["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"])(
  "a GET that is answered %s is not sent again",
  async (status) => {
    await using backend = await startFickleBackend((socket) =>
      socket.write(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\n\r\n`),
    );
    await using sidecar = await startSidecar(backend.url);

    await get(sidecar.port);
    expect(statusesOf(await get(sidecar.port))).toEqual([Number(status.slice(0, 3))]);

    expect(backend.requestLines()).toHaveLength(2);
  },
);

test("a GET that is not answered in time is not sent again", async () => {
  await using backend = await startFickleBackend(() => {});
  await using sidecar = await startSidecar("", {
    yaml: `upstream: {url: "${backend.url}", timeouts: {headers: 1s}}`,
  });

  await get(sidecar.port);
  expect(statusesOf(await get(sidecar.port))).toEqual([504]);

  expect(backend.requestLines()).toHaveLength(2);
});

test.each([
  ["GET", get],
  ["POST", post],
])("a %s is sent all the same where the first try to connect fails", async (_method, send) => {
  await using backend = await startBackend();
  using names = resolveNames(["127.0.0.2"], ["127.0.0.1"]);
  await using sidecar = await startSidecar(`http://backend.test:${backend.port}`);

  expect(statusesOf(await send(sidecar.port))).toEqual([200]);

  expect(names.lookups()).toBe(2);
  expect(backend.requests).toHaveLength(1);
  expect(sidecar.failures).toEqual([]);
});

test("a connection that cannot be made is tried twice", async () => {
  await using backend = await startBackend();
  using names = resolveNames(["127.0.0.2"]);
  await using sidecar = await startSidecar(`http://backend.test:${backend.port}`);

  expect(statusesOf(await get(sidecar.port))).toEqual([502]);

  expect(names.lookups()).toBe(2);
  expect(sidecar.failures).toHaveLength(1);
});

test("a backend that closes idle connections at the moment of the next request makes no GET fail", async () => {
  // Closes each connection in the very tick in which the second request may be under way to it.
  let requests = 0;
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", () => {
      requests += 1;
      socket.write(OK, () => setTimeout(() => socket.end(), requests % 3));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  await using sidecar = await startSidecar(`http://127.0.0.1:${port}`);

  const statuses = new Map<number, number>();
  for (let round = 0; round < 400; round++) {
    const { status } = await fetch(sidecar.url);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
    if (round % 2) await immediate();
    else await new Promise((resolve) => setTimeout(resolve, round % 4));
  }

  expect([...statuses]).toEqual([[200, 400]]);
  expect(requests).toBeGreaterThanOrEqual(400);
  server.close();
});
