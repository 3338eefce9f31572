import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { describe, expect, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startRawBackend } from "../support/raw-backend.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";
import { startStoppedBackend } from "../support/stopped-backend.ts";

const GET = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

function upstreamYaml(url: string, timeouts: string) {
  return { yaml: `upstream: {url: "${url}", timeouts: ${timeouts}}` };
}

/** A port on which nobody listens. */
async function closedPort(): Promise<string> {
  const backend = await startBackend();
  await backend[Symbol.asyncDispose]();
  return backend.url;
}

test.each([
  ["GET", undefined],
  ["POST", "a body that nobody will read"],
])("%s to a backend that refuses connections is answered 502", async (method, body) => {
  await using sidecar = await startSidecar(await closedPort());

  const response = await fetch(sidecar.url, { method, ...(body && { body }) });

  expect(response.status).toBe(502);
  expect(await response.json()).toEqual({
    title: "Bad Gateway",
    status: 502,
    detail: "the upstream cannot be reached",
    code: "ERR_UPSTREAM_UNREACHABLE",
    requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
  });
  const { host } = new URL(sidecar.config.upstream.origin);
  expect(sidecar.failures).toMatchObject([
    { code: "ERR_UPSTREAM_UNREACHABLE", cause: `connect ECONNREFUSED ${host}` },
  ]);
});

test("a large upload to a backend that refuses connections is still answered 502", async () => {
  await using sidecar = await startSidecar(await closedPort());
  const request = httpRequest(sidecar.url, { method: "POST", headers: { "content-length": 50_000_000 } });
  request.on("error", () => {});
  request.write(Buffer.alloc(1_000_000));

  const [response] = (await once(request, "response")) as [IncomingMessage];

  expect(response.statusCode).toBe(502);
  expect(response.headers.connection).toBe("close");
  request.destroy();
});

test("a host name that does not resolve is answered 502", async () => {
  await using sidecar = await startSidecar("http://no-such-host.invalid:9000");

  const response = await fetch(sidecar.url);

  expect(response.status).toBe(502);
  expect(await response.json()).toMatchObject({ code: "ERR_UPSTREAM_UNREACHABLE" });
});

test("a connection reset before a response byte is answered 502", async () => {
  await using backend = await startRawBackend((socket) => socket.resetAndDestroy());
  await using sidecar = await startSidecar(backend.url);

  const response = await fetch(sidecar.url);

  expect(response.status).toBe(502);
  expect(await response.json()).toMatchObject({ code: "ERR_UPSTREAM_BROKEN" });
});

test.each([
  ["no HTTP", "hello\r\n\r\n"],
  ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"],
  [
    "an unasked switch of protocols",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
  ],
  ["a coding beside chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
  ["a coding that is not chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"],
  ["a tab behind chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n"],
  ["a no-break space before chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n"],
  ["an unasked 100", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
])("a backend that answers %s is answered for with 502", async (_, bytes) => {
  await using backend = await startRawBackend((socket) => socket.write(bytes, "latin1"));
  await using sidecar = await startSidecar(backend.url);

  const response = await fetch(sidecar.url);

  expect(response.status).toBe(502);
  expect(await response.json()).toMatchObject({ code: "ERR_UPSTREAM_BROKEN" });
});

test.concurrent("a backend that sends no fields in time is answered for with 504", async () => {
  await using backend = await startRawBackend(() => {});
  await using sidecar = await startSidecar(backend.url, upstreamYaml(backend.url, "{headers: 1s}"));

  const response = await fetch(sidecar.url);

  expect(response.status).toBe(504);
  expect(await response.json()).toMatchObject({ code: "ERR_UPSTREAM_TIMEOUT" });
  expect(sidecar.failures).toEqual([
    expect.objectContaining({
      code: "ERR_UPSTREAM_TIMEOUT",
      cause: expect.stringContaining("upstream.timeouts.headers"),
    }),
  ]);
});

test.concurrent("a backend that accepts no connection in time is answered for with 504", async () => {
  await using backend = await startStoppedBackend();
  await using sidecar = await startSidecar("", upstreamYaml(backend.url, "{connect: 1s}"));

  const response = await fetch(sidecar.url);

  expect(response.status).toBe(504);
  expect(await response.json()).toMatchObject({ code: "ERR_UPSTREAM_TIMEOUT" });
});

describe.concurrent("where the backend speaks another version of HTTP the log says which setting to change", () => {
  test("HTTP/2 alone", async () => {
    const settingsFrame = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    await using backend = await startRawBackend((socket) => socket.end(settingsFrame));
    await using sidecar = await startSidecar(backend.url);

    expect((await fetch(sidecar.url)).status).toBe(502);
    expect(sidecar.failures).toEqual([
      expect.objectContaining({
        code: "ERR_UPSTREAM_BROKEN",
        cause: expect.stringContaining("upstream.http2: true"),
      }),
    ]);
  });

  test("HTTP/1.1 alone", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar("", { yaml: `upstream: {url: "${backend.url}", http2: true}` });

    expect((await fetch(sidecar.url)).status).toBe(502);
    expect(sidecar.failures).toEqual([
      expect.objectContaining({
        code: "ERR_UPSTREAM_BROKEN",
        cause: expect.stringContaining("upstream.http2: false"),
      }),
    ]);
  });
});

describe.concurrent("a response that is cut in the middle is never a clean end", () => {
  test.each([
    ["with a length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfifty"],
    ["in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfifty\r\n"],
  ])("%s", async (_, bytes) => {
    await using backend = await startRawBackend((socket) => socket.end(bytes));
    await using sidecar = await startSidecar(backend.url);

    const response = await fetch(sidecar.url);

    await expect(response.text()).rejects.toThrow();
    expect(sidecar.failures).toEqual([expect.objectContaining({ code: "ERR_UPSTREAM_BROKEN" })]);
  });

  test("by a silence longer than timeouts.body", async () => {
    await using backend = await startRawBackend((socket) =>
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfifty"),
    );
    await using sidecar = await startSidecar(backend.url, upstreamYaml(backend.url, "{body: 1s}"));

    const response = await fetch(sidecar.url);

    await expect(response.text()).rejects.toThrow();
    expect(sidecar.failures).toEqual([expect.objectContaining({ code: "ERR_UPSTREAM_TIMEOUT" })]);
  });
});

test.concurrent("a silence longer than timeouts.body counts also behind a time when the client took nothing", async () => {
  const bytes = 20_000_000;
  await using backend = await startRawBackend((socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes + 1}\r\n\r\n`);
    socket.write(Buffer.alloc(bytes));
  });
  await using sidecar = await startSidecar(backend.url, upstreamYaml(backend.url, "{body: 1s}"));
  const client = connect(Number(new URL(sidecar.url).port), "127.0.0.1");
  client.write(GET);
  await once(client, "readable");

  client.resume();
  await once(client, "close");
  expect(sidecar.failures).toEqual([expect.objectContaining({ code: "ERR_UPSTREAM_TIMEOUT" })]);
});

test.concurrent("an event stream may be silent for longer than timeouts.body", async () => {
  await using backend = await startBackend((_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: 1\n\n");
    setTimeout(() => response.end("data: 2\n\n"), 2500);
  });
  await using sidecar = await startSidecar(backend.url, upstreamYaml(backend.url, "{body: 1s}"));

  const response = await fetch(sidecar.url, { headers: { accept: "text/event-stream" } });

  expect(await response.text()).toBe("data: 1\n\ndata: 2\n\n");
});

test("an answer in the middle of an upload is delivered, and the connection closes", async () => {
  await using backend = await startBackend((_request, response) => {
    response.writeHead(413, { connection: "close" }).end("too large");
  });
  await using sidecar = await startSidecar(backend.url);
  const request = httpRequest(sidecar.url, { method: "POST", headers: { "content-length": 50_000_000 } });
  request.on("error", () => {});
  request.write(Buffer.alloc(100_000));

  const [response] = (await once(request, "response")) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);

  expect(response.statusCode).toBe(413);
  expect(Buffer.concat(chunks).toString()).toBe("too large");
  expect(response.headers.connection).toBe("close");
});

describe("a client that goes away ends the backend's request within a second", {
  timeout: 1500,
}, () => {
  test("while the backend has not answered", async () => {
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    await using backend = await startBackend((request) => void request.on("close", () => resolve()));
    await using sidecar = await startSidecar(backend.url);
    const socket = connect(sidecar.port, "127.0.0.1", () =>
      socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    );

    await vi.waitFor(() => expect(socket.bytesWritten).toBeGreaterThan(0));
    setTimeout(() => socket.destroy(), 100);

    await ended;
    expect(sidecar.failures).toEqual([]);
  });

  test("in the middle of its upload", async () => {
    const { promise: ended, resolve } = Promise.withResolvers<boolean>();
    await using backend = await startBackend((request) => {
      request.on("data", () => socket.destroy());
      request.on("close", () => resolve(request.complete));
      request.on("error", () => {});
    });
    await using sidecar = await startSidecar(backend.url);
    const socket = connect(sidecar.port, "127.0.0.1", () =>
      socket.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf"),
    );

    expect(await ended).toBe(false);
    expect(sidecar.failures).toEqual([]);
  });

  test("in the middle of the response", async () => {
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    await using backend = await startBackend((_request, response) => {
      response.write("a");
      response.on("close", () => resolve());
    });
    await using sidecar = await startSidecar(backend.url);
    const socket = connect(sidecar.port, "127.0.0.1", () =>
      socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    );
    socket.on("data", () => socket.destroy());

    await ended;
    expect(sidecar.failures).toEqual([]);
  });
});

test("a POST is sent once, whatever becomes of it", async () => {
  await using backend = await startRawBackend((socket) => socket.resetAndDestroy());
  await using sidecar = await startSidecar(backend.url);

  const answer = await sendRaw(
    sidecar.port,
    GET.replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx"),
  );

  expect(statusesOf(answer)).toEqual([502]);
  expect(backend.requestLines()).toHaveLength(1);
});

test.each([
  ["Latin-1", "200 Trouv\xe9", /^HTTP\/1\.1 200 OK\r\n/],
  ["UTF-8", "200 \xe4\xbd\xa0", /^HTTP\/1\.1 200 \S*\r\n/],
  ["none", "200", /^HTTP\/1\.1 200 \w*\r\n/],
])("a reason phrase in %s does not hold up the response", async (_, statusLine, expected) => {
  await using backend = await startRawBackend((socket) =>
    socket.write(Buffer.from(`HTTP/1.1 ${statusLine}\r\nContent-Length: 2\r\n\r\nok`, "latin1")),
  );
  await using sidecar = await startSidecar(backend.url);

  const answer = await sendRaw(sidecar.port, GET);

  expect(answer).toMatch(expected);
  expect(answer.endsWith("ok")).toBe(true);
});

test("a reset is not the end of a response without a length (RFC 9112 §8)", async () => {
  await using backend = await startRawBackend((socket) =>
    socket.write("HTTP/1.1 200 OK\r\n\r\nhalf", () => setTimeout(() => socket.resetAndDestroy(), 50)),
  );
  await using sidecar = await startSidecar(backend.url);

  const answer = await sendRaw(sidecar.port, GET);

  expect(answer).toContain("half");
  expect(answer).not.toContain("0\r\n\r\n");
  expect(sidecar.failures).toMatchObject([{ code: "ERR_UPSTREAM_BROKEN" }]);
});

test("an HTTP/1.0 client sees a reset where the response was cut", async () => {
  await using backend = await startRawBackend((socket) =>
    socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfifty\r\n"),
  );
  await using sidecar = await startSidecar(backend.url);
  const client = connect(sidecar.port, "127.0.0.1", () => client.write("GET / HTTP/1.0\r\n\r\n"));
  client.resume();

  const [error] = await once(client, "error");

  expect(error).toMatchObject({ code: "ECONNRESET" });
});

test("a length on a 204 is not passed on (RFC 9110 §8.6)", async () => {
  await using backend = await startRawBackend((socket) =>
    socket.write("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
  );
  await using sidecar = await startSidecar(backend.url);

  expect(await sendRaw(sidecar.port, GET)).not.toMatch(/content-length/i);
});

describe("a response that breaks off while an earlier one is owed cuts the connection when its turn comes", () => {
  test.each(["1.1", "1.0"])("for HTTP/%s", async (version) => {
    const { promise: firstAsked, resolve: firstArrived } = Promise.withResolvers<() => void>();
    await using backend = await startBackend((request, response) => {
      if (request.url === "/first") return firstArrived(() => response.end("first"));
      response.writeHead(200, { "content-length": 100 });
      response.write("half", () => response.destroy());
    });
    await using sidecar = await startSidecar(backend.url);
    const answered = sendRaw(
      sidecar.port,
      `GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/${version}\r\nHost: a\r\n\r\n`,
    );
    const answerFirst = await firstAsked;
    await vi.waitFor(() => expect(sidecar.failures).toHaveLength(1));

    answerFirst();

    // It comes only when the connection has closed.
    const answer = await answered;
    expect(statusesOf(answer)[0]).toBe(200);
    expect(answer).toContain("first");
  });
});
