import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import type { ConnectionOptions } from "node:tls";
import { describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { answerProblem } from "../../src/gateway/problem.ts";
import { RequestRecord } from "../../src/gateway/request-record.ts";
import { openUpstream } from "../../src/gateway/upstream/upstream.ts";
import { startBackend } from "../support/backend.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { createTestListener, portOf } from "../support/listener.ts";
import { type RawBackend, startRawBackend } from "../support/raw-backend.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar, type TestSidecar } from "../support/sidecar.ts";
import { startStoppedBackend } from "../support/stopped-backend.ts";
import { startTlsSidecar } from "../support/tls-sidecar.ts";
import {
  nextMessage,
  openWebSocket,
  rawHandshake,
  rawSwitch,
  refusedWebSocket,
  startWebSocketBackend,
} from "../support/websocket.ts";

const HANDSHAKE = rawHandshake("/");

function upstreamYaml(url: string, timeouts: string) {
  return { yaml: `upstream: {url: "${url}", timeouts: ${timeouts}}` };
}

/** A connection of a client, half-open where the other side has ended. */
function clientOf(port: number): Socket {
  return connect({ port, host: "127.0.0.1", allowHalfOpen: true }).on("error", () => {});
}

/** Both ends of a tunnel, with no library on either side. */
interface OpenTunnel extends AsyncDisposable {
  readonly client: Socket;
  readonly server: Socket;
  readonly sidecar: TestSidecar;
}

async function openTunnel(yaml = ""): Promise<OpenTunnel> {
  const { promise: opened, resolve } = Promise.withResolvers<Socket>();
  const backend = await startRawBackend(
    (socket, data) => {
      if (!data.endsWith("\r\n\r\n")) return;
      socket.write(rawSwitch());
      resolve(socket);
    },
    { allowHalfOpen: true },
  );
  const sidecar = await startSidecar(backend.url, { yaml });
  const client = clientOf(sidecar.port);
  client.write(HANDSHAKE);
  const [head] = (await once(client, "data")) as [Buffer];
  expect(statusesOf(head.toString())).toEqual([101]);
  const server = await opened;
  return {
    client,
    server,
    sidecar,
    async [Symbol.asyncDispose]() {
      client.destroy();
      await sidecar.close();
      await backend[Symbol.asyncDispose]();
    },
  };
}

/** Expects that nobody is at the other side any more, also to read. */
async function expectGone(socket: Socket): Promise<void> {
  const signal = AbortSignal.timeout(1000);
  socket.resume();
  await once(socket, "end", { signal });
  // The answer to the first byte is what says that nobody reads.
  const writing = setInterval(() => socket.write("x"), 10);
  await expect(once(socket, "close", { signal })).rejects.toMatchObject({
    code: expect.stringMatching(/^(?:EPIPE|ECONNRESET)$/),
  });
  clearInterval(writing);
}

async function expectFailure(sidecar: TestSidecar, status: number, code: string): Promise<void> {
  const { response, body } = await refusedWebSocket(sidecar.url, { headers: { "x-request-id": "trace-1" } });
  expect(response.statusCode).toBe(status);
  expect(response.headers.connection).toBe("close");
  expect(JSON.parse(body)).toMatchObject({ status, code, requestId: "trace-1" });
  expect(sidecar.failures).toMatchObject([{ code, requestId: "trace-1" }]);
}

describe.concurrent("a handshake that the backend does not answer is answered for:", () => {
  test("502, where it refuses connections", async () => {
    const backend = await startBackend();
    await backend[Symbol.asyncDispose]();
    await using sidecar = await startSidecar(backend.url);

    await expectFailure(sidecar, 502, "ERR_UPSTREAM_UNREACHABLE");
  });

  test("502, where its name does not resolve", async () => {
    await using sidecar = await startSidecar("http://no-such-host.invalid:9000");

    await expectFailure(sidecar, 502, "ERR_UPSTREAM_UNREACHABLE");
  });

  test.each([
    ["resets", (socket: Socket) => socket.resetAndDestroy()],
    ["closes", (socket: Socket) => void socket.end()],
    ["stops in the middle of the fields", (socket: Socket) => void socket.end("HTTP/1.1 101 Switching Prot")],
  ])("502, where it %s", async (_, act) => {
    await using backend = await startRawBackend((socket) => act(socket));
    await using sidecar = await startSidecar(backend.url);

    await expectFailure(sidecar, 502, "ERR_UPSTREAM_BROKEN");
  });

  test("504, where it says nothing", async () => {
    await using backend = await startRawBackend(() => {});
    await using sidecar = await startSidecar(backend.url, upstreamYaml(backend.url, "{headers: 1s}"));

    await expectFailure(sidecar, 504, "ERR_UPSTREAM_TIMEOUT");

    await vi.waitFor(() => expect(backend.sockets[0]?.destroyed).toBe(true));
  });

  test("504, where it accepts no connection", async () => {
    await using backend = await startStoppedBackend();
    await using sidecar = await startSidecar(backend.url, upstreamYaml(backend.url, "{connect: 1s}"));

    await expectFailure(sidecar, 504, "ERR_UPSTREAM_TIMEOUT");
  });
});

describe.concurrent("an answer that opens no WebSocket,", () => {
  test.each([
    [
      "cut in the middle",
      "Content-Length: 100\r\n\r\nno",
      (socket: Socket) => void socket.end(),
      "ERR_UPSTREAM_BROKEN",
    ],
    [
      "cut between chunks",
      "Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n",
      (socket: Socket) => void socket.end(),
      "ERR_UPSTREAM_BROKEN",
    ],
    [
      "reset in the middle",
      "Content-Length: 100\r\n\r\nno",
      (socket: Socket) => socket.resetAndDestroy(),
      "ERR_UPSTREAM_BROKEN",
    ],
    ["stopped in the middle", "Content-Length: 100\r\n\r\nno", () => {}, "ERR_UPSTREAM_TIMEOUT"],
  ])("%s, never looks whole", async (_, message, act, code) => {
    await using backend = await startRawBackend((socket) => {
      socket.write(`HTTP/1.1 403 Forbidden\r\n${message}`, () => setImmediate(act, socket));
    });
    await using sidecar = await startSidecar(backend.url, upstreamYaml(backend.url, "{body: 1s}"));
    const socket = new WebSocket(sidecar.url.replace("http", "ws"));
    const [, response] = await once(socket, "unexpected-response");
    response.resume();

    await expect(once(response, "end")).rejects.toMatchObject({ code: "ECONNRESET" });

    expect(response.statusCode).toBe(403);
    await vi.waitFor(() => expect(sidecar.failures).toMatchObject([{ code }]));
  });

  test("is cut off, and the backend with it, where its client takes nothing of it for timeouts.send", async () => {
    const body = Buffer.alloc(60_000_000);
    await using backend = await startRawBackend((socket) => {
      socket.write(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${body.length}\r\n\r\n`);
      socket.write(body);
    });
    await using sidecar = await startSidecar(backend.url, { yaml: "timeouts: {send: 1s}\n" });
    const client = clientOf(sidecar.port);
    client.write(HANDSHAKE);
    await vi.waitFor(() => expect(backend.sockets).toHaveLength(1));
    const [atBackend] = backend.sockets as [Socket];
    await new Promise((resolve) => atBackend.once("close", resolve));

    expect(sidecar.failures).toEqual([]);
    client.destroy();
  });

  test("is not late because its client reads slowly", async () => {
    const body = "x".repeat(20_000_000);
    await using backend = await startRawBackend(
      (socket) => void socket.end(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${body.length}\r\n\r\n${body}`),
    );
    await using sidecar = await startSidecar(backend.url, upstreamYaml(backend.url, "{body: 1s}"));
    const client = clientOf(sidecar.port);
    client.write(HANDSHAKE);
    await once(client, "readable");
    await new Promise((resolve) => setTimeout(resolve, 2200));

    let length = 0;
    client.on("data", (data) => {
      length += data.length;
    });
    await once(client, "end");
    client.destroy();

    expect(length).toBeGreaterThan(body.length);
    expect(sidecar.failures).toEqual([]);
  });
});

describe("a client that goes away takes its request along within a second:", () => {
  /** Waits until the backend's connection is gone. */
  const given = async (backend: RawBackend) => {
    await vi.waitFor(() => expect(backend.sockets.map(({ destroyed }) => destroyed)).toEqual([true]), 1000);
  };

  test.each([
    ["by closing", "", (client: Socket) => void client.end()],
    ["by a reset", "", (client: Socket) => client.resetAndDestroy()],
    ["by closing, with bytes sent ahead", "early", (client: Socket) => void client.end()],
    ["by a reset, with bytes sent ahead", "early", (client: Socket) => client.resetAndDestroy()],
  ])("while the backend has not answered, %s", async (_, early, leave) => {
    await using backend = await startRawBackend(() => {});
    await using sidecar = await startSidecar(backend.url);
    const client = clientOf(sidecar.port);
    client.write(HANDSHAKE + early);
    await vi.waitFor(() => expect(backend.requestLines()).toHaveLength(1));

    leave(client);

    await given(backend);
    expect(sidecar.failures).toEqual([]);
    client.destroy();
  });

  test("while an answer is relayed that opens no WebSocket", async () => {
    await using backend = await startRawBackend(
      (socket) => void socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno"),
    );
    await using sidecar = await startSidecar(backend.url);
    const client = clientOf(sidecar.port);
    client.write(HANDSHAKE);
    await once(client, "data");

    client.resetAndDestroy();

    await given(backend);
    expect(sidecar.failures).toEqual([]);
  });

  test("while it is decided about, and then nothing is forwarded", async () => {
    const { promise: asked, resolve: isAsked } = Promise.withResolvers<() => void>();
    await using gate = await startBackend((_request, response) => isAsked(() => response.end()));
    await using backend = await startRawBackend();
    using folder = temporaryFolder();
    const module = join(folder.path, "slow.mjs");
    writeFileSync(
      module,
      `export default async () => { await (await fetch("${gate.url}")).text(); return {}; };`,
    );
    await using sidecar = await startSidecar(backend.url, {
      yaml: `policies: [{name: slow, match: {path: /slow}, module: {file: ${module}}}, {name: rest}]`,
    });
    const client = clientOf(sidecar.port);
    client.write(rawHandshake("/slow"));
    const goOn = await asked;

    client.end();
    await once(client.resume(), "close");
    goOn();

    // What would have been forwarded would be there before these.
    for (let round = 0; round < 5; round++) await (await fetch(sidecar.url)).text();
    expect(new Set(backend.requestLines())).toEqual(new Set(["GET / HTTP/1.1"]));
    expect(sidecar.failures).toEqual([]);
  });

  test("while the WebSocket is open", async () => {
    await using tunnel = await openTunnel();

    tunnel.client.resetAndDestroy();

    await expectGone(tunnel.server);
  });
});

describe.concurrent("an open WebSocket", () => {
  test("may be silent for longer than any timeout", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `timeouts: {headers: 1s, request: 1s, keepAlive: 1s}
upstream: {url: "${backend.url}", timeouts: {connect: 1s, headers: 1s, body: 1s}}`,
    });
    const client = await openWebSocket(sidecar.url);

    await new Promise((resolve) => setTimeout(resolve, 2500));

    client.send("still here");
    expect(await nextMessage(client)).toBe("still here");
    client.terminate();
  });

  test("that the backend resets is closed for the client", async () => {
    await using tunnel = await openTunnel();

    tunnel.server.resetAndDestroy();

    await expectGone(tunnel.client);
  });

  test("that the backend cuts in the middle of a message is an abnormal end for the client", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url);
    const connected = backend.connected();
    const client = await openWebSocket(sidecar.url);
    const server = await connected;

    server.send(Buffer.alloc(5_000_000));
    server.terminate();

    const [code] = await once(client, "close");
    expect(code).toBe(1006);
  });

  test.each([
    ["client", "server"],
    ["server", "client"],
  ] as const)("that the %s has ended goes on to it, up to the end of the %s", async (first, second) => {
    await using tunnel = await openTunnel();
    const { [first]: ended, [second]: other } = tunnel;
    ended.end("last words");
    expect(String((await once(other, "data"))[0])).toBe("last words");
    await once(other, "end");

    other.write("heard");
    expect(String((await once(ended, "data"))[0])).toBe("heard");
    other.end("bye");
    expect(String((await once(ended, "data"))[0])).toBe("bye");
    await once(ended, "close");
  });

  test("goes on in the same way over TLS", async () => {
    await using backend = await startRawBackend(
      (socket, data) => {
        if (data.endsWith("\r\n\r\n")) socket.write(rawSwitch());
        if (data.endsWith("last words")) setTimeout(() => socket.end("heard"), 100);
      },
      { allowHalfOpen: true },
    );
    await using tls = await startTlsSidecar(backend.url);
    const client = await tls.connect({ allowHalfOpen: true } as ConnectionOptions);
    client.write(HANDSHAKE);
    await once(client, "data");

    client.end("last words");

    expect(String((await once(client, "data"))[0])).toBe("heard");
    client.destroy();
  });

  test.each(["the backend", "the client"])(
    "does not grow in memory while %s reads nothing",
    async (reader) => {
      await using tunnel = await openTunnel();
      const ends = [tunnel.client, tunnel.server];
      const [paused, writer] = (reader === "the client" ? ends : ends.toReversed()) as [Socket, Socket];
      paused.pause();
      const piece = Buffer.alloc(1_000_000);
      let written = 0;
      // Up to where nothing is taken for half a second: the buffers of the system are full too.
      const isTaken = () =>
        new Promise<boolean>((resolve) => {
          const stuck = setTimeout(resolve, 500, false);
          writer.write(piece, () => {
            clearTimeout(stuck);
            resolve(true);
          });
        });
      while (written < 200 && (await isTaken())) written++;
      expect(written).toBeLessThan(60);

      // And all of it arrives.
      let length = 0;
      const expected = (written + 1) * piece.length;
      await new Promise<void>((resolve) => {
        paused.on("data", (data) => {
          length += data.length;
          if (length >= expected) resolve();
        });
        paused.resume();
      });
      expect(length).toBe(expected);
    },
  );
});

describe.concurrent("when the sidecar stops,", () => {
  test("an open WebSocket does not hold it up, and is closed on both sides", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url, { yaml: "timeouts: {drain: 20s}" });
    const connected = backend.connected();
    const client = await openWebSocket(sidecar.url);
    const server = await connected;
    const ends = [once(client, "close"), once(server, "close")];

    const begin = Date.now();
    await sidecar.close();

    expect(Date.now() - begin).toBeLessThan(5000);
    for (const [code] of await Promise.all(ends)) expect(code).toBe(1006);
  });

  test("even where neither side closes", async () => {
    await using tunnel = await openTunnel("timeouts: {drain: 20s}");

    const begin = Date.now();
    await tunnel.sidecar.close();

    expect(Date.now() - begin).toBeLessThan(5000);
    expect(tunnel.sidecar.failures).toEqual([]);
  });

  test("what was under way on a WebSocket arrives first", async () => {
    await using tunnel = await openTunnel("timeouts: {drain: 20s}");
    let received = 0;
    tunnel.client.on("data", (data) => {
      received += data.length;
    });

    await new Promise((resolve) => tunnel.server.write(Buffer.alloc(30_000), resolve));
    await vi.waitFor(() => expect(received).toBe(30_000));
    const ended = once(tunnel.client, "end");
    await tunnel.sidecar.close();

    await ended;
  });

  test("a WebSocket stays open while a request is under way", async () => {
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<() => void>();
    await using slow = await startBackend((_request, response) => arrive(() => response.end("done")));
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `timeouts: {drain: 20s}
policies:
  - {name: slow, match: {path: /slow}, upstream: "${slow.url}"}
  - {name: rest}`,
    });
    const client = await openWebSocket(sidecar.url);
    const request = fetch(`${sidecar.url}/slow`);
    const finish = await arrived;

    const closed = sidecar.close();
    await new Promise((resolve) => setTimeout(resolve, 500));
    client.send("still here");
    expect(await nextMessage(client)).toBe("still here");
    finish();

    expect(await (await request).text()).toBe("done");
    await once(client, "close");
    await closed;
  });

  test("a handshake that comes on an open connection is answered 503", async () => {
    await using backend = await startRawBackend((socket, data) => {
      if (!data.startsWith("GET /slow ")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    await using sidecar = await startSidecar(backend.url, { yaml: "timeouts: {drain: 2s}" });
    // A head that is not complete keeps its connection open.
    const client = clientOf(sidecar.port);
    client.write(rawHandshake("/", "X-Request-Id: trace-1").slice(0, -2));
    const slow = sendRaw(sidecar.port, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    await vi.waitFor(() => expect(backend.requestLines()).toHaveLength(1));

    const closed = sidecar.close();
    client.write("\r\n");

    const [answer] = await once(client, "data");
    expect(statusesOf(String(answer))).toEqual([503]);
    expect(String(answer)).toContain('"code":"ERR_DRAINING","requestId":"trace-1"');
    client.destroy();
    await slow;
    await closed;
  });

  test("a handshake under way is answered, and what it opens is closed behind it", async () => {
    await using backend = await startRawBackend(() => {});
    await using sidecar = await startSidecar(backend.url, { yaml: "timeouts: {drain: 20s}" });
    const answer = sendRaw(sidecar.port, HANDSHAKE);
    await vi.waitFor(() => expect(backend.requestLines()).toHaveLength(1));

    const closed = sidecar.close();
    setTimeout(() => backend.sockets[0]?.write(rawSwitch()), 300);

    expect(statusesOf(await answer)).toEqual([101]);
    await closed;
  });

  test("a handshake that the backend never answers is cut off after timeouts.drain", async () => {
    await using backend = await startRawBackend(() => {});
    await using sidecar = await startSidecar(backend.url, { yaml: "timeouts: {drain: 1s}" });
    const client = clientOf(sidecar.port);
    client.write(HANDSHAKE);
    await vi.waitFor(() => expect(backend.requestLines()).toHaveLength(1));
    client.resume();

    await Promise.all([sidecar.close(), once(client, "end")]);
    client.destroy();

    await vi.waitFor(() => expect(backend.sockets[0]?.destroyed).toBe(true));
  });
});

test("when its backend is given up, an open WebSocket is closed and a handshake answered 503", async () => {
  await using backend = await startRawBackend((socket, data) => {
    if (data.startsWith("GET /open ")) socket.write(rawSwitch());
  });
  await using sidecar = await startSidecar(backend.url);
  const upstream = await openUpstream(sidecar.config.upstream, {
    now: Date.now,
    sendSeconds: 60,
    onEvent() {},
  });
  const listener = createTestListener();
  listener.serve({
    request: (_clientRequest, clientResponse) => void clientResponse.end(),
    upgrade(handshake) {
      const { url = "" } = handshake.clientRequest;
      const record = new RequestRecord(handshake.clientRequest, "a");
      upstream.tunnel(handshake, { target: url, fields: [], record }, ({ problem }) =>
        answerProblem(handshake.clientResponse, problem, undefined),
      );
    },
  });
  const port = portOf(await listener.listen());
  const open = sendRaw(port, rawHandshake("/open"));
  const waiting = sendRaw(port, rawHandshake("/waiting"));
  await vi.waitFor(() => expect(backend.requestLines()).toHaveLength(2));
  const [opened] = backend.sockets;
  await new Promise((resolve) => opened?.write("hello", resolve));

  await upstream.destroy();

  expect(statusesOf(await open)).toEqual([101]);
  expect(statusesOf(await waiting)).toEqual([503]);
  await vi.waitFor(() => expect(backend.sockets.every(({ destroyed }) => destroyed)).toBe(true));
  await listener.close(0);
});

test("500 WebSockets at once stay open, and leave nothing behind when they close", async () => {
  await using backend = await startWebSocketBackend();
  await using sidecar = await startSidecar(backend.url);
  const clients = await Promise.all(Array.from({ length: 500 }, () => openWebSocket(sidecar.url)));

  expect(backend.server.clients.size).toBe(500);
  const answers = clients.map(nextMessage);
  for (const [index, client] of clients.entries()) client.send(`message ${index}`);
  expect(await Promise.all(answers)).toEqual(clients.map((_, index) => `message ${index}`));

  for (const client of clients) client.close();
  await vi.waitFor(() => expect(backend.server.clients.size).toBe(0), 5000);
  const begin = Date.now();
  await sidecar.close();
  expect(Date.now() - begin).toBeLessThan(3000);
});
