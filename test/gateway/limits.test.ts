import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect as connectHttp2, type IncomingHttpHeaders } from "node:http2";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { openStage } from "../../src/cli/rehearsal.ts";
import { makeRehearsalKeys } from "../../src/cli/rehearsal-keys.ts";
import { startBackend } from "../support/backend.ts";
import { startRawBackend } from "../support/raw-backend.ts";
import { exchange, sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

const CLOSE = "Connection: close\r\n\r\n";
const POST = "POST / HTTP/1.1\r\nHost: a\r\n";
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n`;

/** A body in chunks of one byte. */
const chunksOf = (bytes: number) => `${"1\r\na\r\n".repeat(bytes)}0\r\n\r\n`;

/** Code and detail of a problem. */
function problemIn(answer: string) {
  const [, code] = /"code":"(\w+)"/.exec(answer) ?? [];
  const [, detail] = /"detail":"([^"]*)"/.exec(answer) ?? [];
  return { statuses: statusesOf(answer), code, detail };
}

describe("limits.headerBytes", () => {
  const detail = "the request line and the fields are larger than 2048 bytes";

  test.each([
    ["fields", `GET / HTTP/1.1\r\nHost: a\r\nX-A: ${"a".repeat(2100)}\r\n${CLOSE}`],
    ["the target", `GET /${"a".repeat(2100)} HTTP/1.1\r\nHost: a\r\n${CLOSE}`],
    ["both together", `GET /${"a".repeat(1100)} HTTP/1.1\r\nHost: a\r\nX-A: ${"a".repeat(1100)}\r\n${CLOSE}`],
  ])("%s of more are answered 431, and the connection is closed", async (_, request) => {
    await using backend = await startRawBackend();
    await using sidecar = await startSidecar(backend.url, { yaml: "limits: {headerBytes: 2KiB}" });

    const answer = await sendRaw(sidecar.port, request);

    expect(problemIn(answer)).toEqual({ statuses: [431], code: "ERR_FIELDS_TOO_LARGE", detail });
    expect(backend.received()).toBe("");
  });

  test("can be raised above what Node.js takes by itself", async () => {
    await using backend = await startBackend((request, response) =>
      response.end(String(request.headers["x-a"]?.length)),
    );
    await using sidecar = await startSidecar(backend.url, { yaml: "limits: {headerBytes: 64KiB}" });

    // The backend has the limit of Node.js.
    const answer = await sendRaw(
      sidecar.port,
      `GET / HTTP/1.1\r\nHost: a\r\nX-A: ${"a".repeat(12_000)}\r\nConnection: close, x-b\r\nX-B: ${"b".repeat(40_000)}\r\n\r\n`,
    );

    expect(answer).toMatch(/\r\n\r\n12000$/);
  });

  test("holds for trailers too", async () => {
    await using backend = await startRawBackend(() => {});
    await using sidecar = await startSidecar(backend.url, { yaml: "limits: {headerBytes: 2KiB}" });

    const answer = await sendRaw(
      sidecar.port,
      `${CHUNKED}\r\n1\r\na\r\n0\r\nX-A: ${"a".repeat(2100)}\r\n\r\n`,
    );

    expect(problemIn(answer)).toEqual({ statuses: [431], code: "ERR_FIELDS_TOO_LARGE", detail });
    expect(backend.received()).not.toMatch(/\r\n0\r\n\r\n$/);
  });
});

test("more field lines than limits.headerCount are answered 431, and as many are not", async () => {
  await using backend = await startRawBackend();
  await using sidecar = await startSidecar(backend.url, { yaml: "limits: {headerCount: 5}" });
  const send = (count: number) =>
    sendRaw(sidecar.port, `GET / HTTP/1.1\r\nHost: a\r\n${"X-A: 1\r\n".repeat(count - 2)}${CLOSE}`);

  expect(problemIn(await send(6))).toEqual({
    statuses: [431],
    code: "ERR_FIELDS_TOO_LARGE",
    detail: "more than 5 field lines",
  });
  expect(backend.received()).toBe("");
  expect(problemIn(await send(5))).toMatchObject({ statuses: [200] });
});

test("limits.headerCount can be raised above what Node.js collects by itself, and no line is lost", async () => {
  await using backend = await startRawBackend();
  await using sidecar = await startSidecar(backend.url, { yaml: "limits: {headerCount: 3000}" });

  const lines = `Host: a\r\n${"A: 1\r\n".repeat(2500)}X-Last: 1\r\n`;
  await sendRaw(sidecar.port, `GET / HTTP/1.1\r\n${lines}${CLOSE}`);

  expect(backend.received().match(/^A: 1\r$/gm)).toHaveLength(2500);
  expect(backend.received()).toContain("\r\nX-Last: 1\r\n");
});

describe("limits.bodyBytes", () => {
  const yaml = "limits: {bodyBytes: 10}";
  const TOO_LARGE = {
    statuses: [413],
    code: "ERR_BODY_TOO_LARGE",
    detail: "the body is larger than 10 bytes",
  };

  test("a Content-Length above it is answered 413, and nothing is forwarded", async () => {
    await using backend = await startRawBackend();
    await using sidecar = await startSidecar(backend.url, { yaml });

    const answer = await sendRaw(sidecar.port, `${POST}Content-Length: 11\r\n\r\nhello world`);

    expect(problemIn(answer)).toEqual(TOO_LARGE);
    expect(backend.received()).toBe("");
    // It is the client's fault.
    expect(sidecar.failures).toEqual([]);
  });

  test("a client that asks first is not told to send one", async () => {
    await using backend = await startRawBackend();
    await using sidecar = await startSidecar(backend.url, { yaml });

    const answer = await sendRaw(sidecar.port, `${POST}Content-Length: 11\r\nExpect: 100-continue\r\n\r\n`);

    expect(problemIn(answer)).toEqual(TOO_LARGE);
    expect(backend.received()).toBe("");
  });

  test.each([
    ["by its length", `${POST}Content-Length: 10\r\n${CLOSE}${"a".repeat(10)}`],
    ["in chunks", `${CHUNKED}${CLOSE}${chunksOf(10)}`],
    ["without content", `${CHUNKED}${CLOSE}${chunksOf(0)}`],
  ])("a body of as much goes on: %s", async (_, request) => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, { yaml });

    expect(statusesOf(await sendRaw(sidecar.port, request))).toEqual([200]);

    expect(backend.requests).toHaveLength(1);
  });

  test("a chunked body of more is never a whole one for the backend, and the client gets 413", async () => {
    await using backend = await startRawBackend(() => {});
    await using sidecar = await startSidecar(backend.url, { yaml });

    // In one piece: the end of the body is there before anything has gone on.
    const answer = await sendRaw(sidecar.port, `${CHUNKED}\r\n${chunksOf(11)}`);

    expect(problemIn(answer)).toEqual(TOO_LARGE);
    expect(answer).toMatch(/^connection: close\r$/im);
    expect(backend.received()).not.toMatch(/\r\n0\r\n\r\n$/);
    expect(sidecar.failures).toEqual([]);
  });

  test("a chunked body is stopped at the limit, while it is sent", async () => {
    const { promise: cut, resolve: isCut } = Promise.withResolvers<string>();
    await using backend = await startRawBackend((socket, data) => {
      if (!data.includes("POST")) return;
      socket.once("close", () => isCut(backend.received()));
      client.write(chunksOf(11).slice(0, -5));
    });
    await using sidecar = await startSidecar(backend.url, { yaml });
    const client = connect(sidecar.port, "127.0.0.1");
    const answered = exchange(client, `${CHUNKED}\r\n3\r\nabc\r\n`);

    const received = await cut;

    expect(received).toContain("\r\n\r\n3\r\nabc\r\n");
    expect(received).not.toMatch(/\r\n0\r\n\r\n$/);
    expect(problemIn(await answered)).toEqual(TOO_LARGE);
  });

  test("where the response has begun, its connection is cut", async () => {
    await using backend = await startBackend((request, response) => {
      response.write("begun");
      request.on("error", () => {});
      request.resume();
    });
    await using sidecar = await startSidecar(backend.url, { yaml });
    const request = httpRequest(sidecar.url, { method: "POST", agent: false });
    request.on("error", () => {});
    request.write("abc");
    const [response] = (await once(request, "response")) as [IncomingMessage];
    let received = "";
    response.on("data", (data) => {
      received += data;
    });
    await once(response, "data");

    request.write("a".repeat(8));

    await expect(once(response, "end")).rejects.toThrow("aborted");
    expect(received).toBe("begun");
    expect(response.complete).toBe(false);
  });

  test("no byte more than the limit goes on, however large the pieces are", async () => {
    await using backend = await startRawBackend(() => {});
    await using sidecar = await startSidecar(backend.url, { yaml: "limits: {bodyBytes: 1KiB}" });
    const piece = `400\r\n${"x".repeat(1024)}\r\n`;

    const answer = await sendRaw(sidecar.port, `${CHUNKED}\r\n${piece.repeat(64)}0\r\n\r\n`);

    expect(statusesOf(answer)).toEqual([413]);
    expect(
      backend
        .received()
        .match(/x{100,}/g)
        ?.join("").length ?? 0,
    ).toBeLessThanOrEqual(1024);
  });

  test("without it a body may be as long as it is", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url);

    await fetch(sidecar.url, { method: "POST", body: Buffer.alloc(3_000_000) });

    expect(backend.requests[0]?.body.length).toBe(3_000_000);
  });

  test.each([
    ["a length", { "content-length": 11 }],
    ["none", {}],
  ])("over HTTP/2 a body of more is answered 413 too, with %s", async (_, headers) => {
    await using backend = await startRawBackend(() => {});
    await using sidecar = await startSidecar(backend.url, {
      yaml: `listen: {address: "127.0.0.1:0", http2: true}\n${yaml}`,
    });
    const session = connectHttp2(sidecar.url);
    const stream = session.request({ ":method": "POST", ":path": "/", ...headers });
    stream.on("error", () => {});
    stream.end("hello world");

    const [{ ":status": status }] = (await once(stream, "response")) as [IncomingHttpHeaders];
    const body = await text(stream);
    session.destroy();

    expect({ status, body: JSON.parse(body).code }).toEqual({ status: 413, body: "ERR_BODY_TOO_LARGE" });
    expect(backend.received()).not.toMatch(/\r\n0\r\n\r\n$/);
  });

  test("explain says the same", async () => {
    await using sidecar = await startSidecar("http://127.0.0.1:9", { yaml });
    const { config } = sidecar;
    await using stage = await openStage(config, { keys: await makeRehearsalKeys(config) });
    const fields = [["Content-Length", "11"]] as const;

    const { decision } = await stage.rehearse({ method: "POST", url: "/", fields, from: "127.0.0.1" });

    expect(decision).toMatchObject({ kind: "refused", code: "ERR_BODY_TOO_LARGE", detail: TOO_LARGE.detail });
  });
});

test("the operators' listener has the same limits", async () => {
  await using sidecar = await startSidecar("http://127.0.0.1:9", {
    yaml: "admin: 127.0.0.1:0\nidentity: {account: a}\nlimits: {headerCount: 5, headerBytes: 1KiB}",
  });
  const port = Number(new URL(sidecar.adminUrl ?? "").port);

  for (const line of ["X-A: 1\r\n".repeat(4), `X-A: ${"a".repeat(1100)}\r\n`])
    expect(statusesOf(await sendRaw(port, `GET / HTTP/1.1\r\nHost: a\r\n${line}${CLOSE}`))).toEqual([431]);
});
