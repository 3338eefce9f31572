import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { type RunningCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { LISTEN_HTTP2 } from "../support/http2-client.ts";
import {
  END_HEADERS,
  FRAME,
  FrameClient,
  frame,
  OPENING,
  requestFields,
  requestFrame,
} from "../support/http2-frames.ts";
import { requireProgram } from "../support/programs.ts";
import { type RawBackend, startRawBackend } from "../support/raw-backend.ts";
import { openSockets, PROC } from "../support/resource-limits.ts";
import { startSidecar } from "../support/sidecar.ts";
import { startTlsSidecar } from "../support/tls-sidecar.ts";

const HOST = "Host: a\r\n";
const CLIENTS = 20;

/** A backend that answers by the path, and never ends an answer. */
function startEndlessBackend(): Promise<RawBackend> {
  return startRawBackend((socket, data) => {
    if (data.includes("GET /begun ")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    if (data.includes("GET /flood ")) {
      const flood = () => {
        while (!socket.destroyed && socket.write("x".repeat(65_536)));
      };
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
      socket.on("drain", flood);
      flood();
    }
  });
}

/** How many requests have arrived, counted by a field that each has. */
const requestsAt = (backend: RawBackend) => backend.received().split("\r\nx-request-id:").length - 1;

const post = (framing: string, body: string) => `POST /silent HTTP/1.1\r\n${HOST}${framing}\r\n\r\n${body}`;

/** How far a client's exchange goes before it leaves. */
const PHASES: readonly (readonly [phase: string, bytes: string, arrives: boolean])[] = [
  ["before its request", "", false],
  ["in the head of its request", `GET / HTTP/1.1\r\n${HOST}`, false],
  ["while the backend has not answered", `GET /silent HTTP/1.1\r\n${HOST}\r\n`, true],
  ["in its body", post("Content-Length: 9", "half"), true],
  ["in a chunk of its body", post("Transfer-Encoding: chunked", "9\r\nhalf"), true],
  ["in the middle of the response", `GET /begun HTTP/1.1\r\n${HOST}\r\n`, true],
  ["while it does not read the response", `GET /flood HTTP/1.1\r\n${HOST}\r\n`, true],
];

describe("clients that go away end the backend's requests within a second, and leave no socket on either side", () => {
  const folder = temporaryFolder();
  let backend: RawBackend;
  let sidecar: RunningCommand;
  beforeEach((context) => requireProgram(context, PROC));
  beforeAll(async () => {
    backend = await startEndlessBackend();
    sidecar = await startCommand(["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"], {
      cwd: folder.path,
    });
  });
  afterAll(async () => {
    await sidecar[Symbol.asyncDispose]();
    await backend[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  describe.each([
    ["with a FIN", (client: Socket) => client.destroy()],
    ["with a reset", (client: Socket) => client.resetAndDestroy()],
  ])("%s,", (_, leave) => {
    test.each(PHASES)("%s", async (_phase, bytes, arrives) => {
      const { pid, url } = sidecar;
      const before = { sockets: openSockets(pid), requests: requestsAt(backend) };
      const clients = await Promise.all(
        Array.from({ length: CLIENTS }, async () => {
          const client = connect(Number(new URL(url).port), "127.0.0.1");
          client.on("error", () => {});
          await once(client, "connect");
          client.write(bytes);
          return client;
        }),
      );
      const there = arrives ? 2 * CLIENTS : CLIENTS;
      await vi.waitFor(() => expect(openSockets(pid)).toBe(before.sockets + there), 10_000);
      if (arrives)
        await vi.waitFor(() => expect(requestsAt(backend)).toBe(before.requests + CLIENTS), 10_000);

      for (const client of clients) leave(client);

      await vi.waitFor(() => expect(backend.sockets.filter(({ closed }) => !closed)).toEqual([]), 1000);
      await vi.waitFor(() => expect(openSockets(pid)).toBe(before.sockets), 5000);
      expect(sidecar.output().stderr).not.toMatch(/ERR_|defect/);
    });
  });
});

test.each([
  ["GET", undefined],
  ["POST", "x"],
])(
  "a %s that waits for a connection to the backend is never sent where its client leaves",
  async (method, body) => {
    const { promise: arrived, resolve: arrives } = Promise.withResolvers<() => void>();
    const urls: (string | undefined)[] = [];
    await using backend = await startBackend((request, response) => {
      urls.push(request.url);
      if (request.url === "/first") arrives(() => response.end("ok"));
      else response.end("ok");
    });
    await using sidecar = await startSidecar("", {
      yaml: `upstream: {url: "${backend.url}", connections: 1}`,
    });
    const first = fetch(`${sidecar.url}/first`);
    const answer = await arrived;
    const leaver = new AbortController();
    const left = fetch(`${sidecar.url}/left`, { method, ...(body && { body }), signal: leaver.signal });
    left.catch(() => {});
    const last = fetch(`${sidecar.url}/last`);
    // Both wait when a request that came after them has been answered.
    expect((await fetch(`${sidecar.url}/__issuer/.well-known/jwks.json`)).status).toBe(200);

    leaver.abort();
    await expect(left).rejects.toThrow();
    expect((await fetch(`${sidecar.url}/__issuer/.well-known/jwks.json`)).status).toBe(200);
    answer();

    expect((await first).status).toBe(200);
    expect((await last).status).toBe(200);
    expect(urls).toEqual(["/first", "/last"]);
    expect(sidecar.failures).toEqual([]);
  },
);

describe("over HTTP/2 it is the same", () => {
  test.each([
    ["with a FIN", (client: Socket) => client.destroy()],
    ["with a reset", (client: Socket) => client.resetAndDestroy()],
  ])("without TLS, %s", async (_, leave) => {
    await using backend = await startEndlessBackend();
    await using sidecar = await startSidecar(backend.url, { yaml: LISTEN_HTTP2 });
    using client = await FrameClient.open(sidecar.port);
    await expectGivenUp(client, backend, () => leave(client.socket));
    expect(sidecar.failures).toEqual([]);
  });

  test("with TLS", async () => {
    await using backend = await startEndlessBackend();
    await using sidecar = await startTlsSidecar(backend.url);
    const socket = await sidecar.connect({ ALPNProtocols: ["h2"] });
    using client = new FrameClient(socket);
    client.send(OPENING);
    await expectGivenUp(client, backend, () => socket.destroy());
  });

  /** A request that is not answered, one whose response has begun, and one whose body goes on. */
  async function expectGivenUp(client: FrameClient, backend: RawBackend, leave: () => void): Promise<void> {
    client.send(
      requestFrame(1, requestFields([], { path: "/silent" })),
      requestFrame(3, requestFields([], { path: "/begun" })),
      requestFrame(5, requestFields([], { path: "/silent", method: "POST" }), END_HEADERS),
      frame(FRAME.data, 0, 5, Buffer.from("half")),
    );
    await vi.waitFor(() => expect(requestsAt(backend)).toBe(3), 5000);
    leave();
    await vi.waitFor(() => expect(backend.sockets.filter(({ closed }) => !closed)).toEqual([]), 1000);
  }
});
