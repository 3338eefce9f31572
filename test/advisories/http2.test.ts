import { once } from "node:events";
import { connect } from "node:net";
import { memoryUsage } from "node:process";
import { describe, expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { LISTEN_HTTP2 } from "../support/http2-client.ts";
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  FrameClient,
  fieldBlock,
  frame,
  PREFACE,
  requestFields,
  requestFrame,
} from "../support/http2-frames.ts";
import { startSidecar } from "../support/sidecar.ts";
import { startRig, TOKEN_FIELD } from "./support.ts";

const ACK = 0x1;

const PROTOCOL_ERROR = 1;
const REFUSED_STREAM = 7;
const ENHANCE_YOUR_CALM = 11;

const TOKEN = 'token: {headerName: X-Service-Token, tokenPrefix: "", audience: backend}\n';

type Fields = readonly (readonly [string, string])[];

/** Sends one request to a sidecar before a recorder; gives its outcome, and the rig that knows what was forwarded. */
async function attempt(fields: Fields, takesNote = true) {
  const rig = await startRig(`${LISTEN_HTTP2}${TOKEN}`);
  const client = await FrameClient.open(rig.sidecar.port);
  // What the server sets holds from when the client has taken note of it.
  await client.next(({ type }) => type === FRAME.settings);
  if (takesNote) client.send(frame(FRAME.settings, ACK, 0));
  client.send(requestFrame(1, fields));
  const outcome = await client.outcomeOf(1);
  return {
    rig,
    outcome,
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      await rig[Symbol.asyncDispose]();
    },
  };
}

const without = (name: string) => requestFields().filter(([field]) => field !== name);
const instead = (name: string, value: string) =>
  requestFields().map(([field, before]): [string, string] => [field, field === name ? value : before]);

describe("a stream is reset and nothing is forwarded for", () => {
  test.each<[string, Fields]>([
    // RFC 9113 §8.2.2
    ["Connection", requestFields([["connection", TOKEN_FIELD]])],
    ["Keep-Alive", requestFields([["keep-alive", "5"]])],
    ["Proxy-Connection", requestFields([["proxy-connection", "close"]])],
    ["Transfer-Encoding", requestFields([["transfer-encoding", "chunked"]])],
    ["Upgrade", requestFields([["upgrade", "websocket"]])],
    ["TE other than trailers", requestFields([["te", "gzip"]])],
    // §8.3
    ["no :method", without(":method")],
    ["no :scheme", without(":scheme")],
    ["no :path", without(":path")],
    ["neither :authority nor Host", without(":authority")],
    ["a second :path", requestFields([[":path", "/b"]])],
    ["a pseudo field behind others", [["x-a", "1"], ...requestFields()]],
    ["an unknown pseudo field", [[":token", "1"], ...requestFields()]],
    ["a pseudo field of responses", [[":status", "200"], ...requestFields()]],
    [
      "extended CONNECT, which is not offered",
      [[":protocol", "websocket"], ...instead(":method", "CONNECT")],
    ],
    ["an empty :path", instead(":path", "")],
    ["a :path without a slash", instead(":path", "admin")],
    ["a :path that is a URL", instead(":path", "http://internal/")],
    ["* for another method than OPTIONS", instead(":path", "*")],
    ["a line break in :path", instead(":path", "/ HTTP/1.1\r\nX-Service-Token: forged\r\n\r\n")],
    ["a space in :path", instead(":path", "/a HTTP/1.1")],
    ["NUL in :path", instead(":path", "/a\0")],
    ["a space in :method", instead(":method", "GET /admin")],
    ["a user in :authority", instead(":authority", "user@a")],
    [
      "two Host fields",
      requestFields([
        ["host", "a"],
        ["host", "a"],
      ]),
    ],
    // §8.2.1
    ["a name in upper case", requestFields([["X-Service-Token", "forged"]])],
    // §8.1.1
    ["a Content-Length without a body", requestFields([["content-length", "5"]], { method: "POST" })],
    ["a Content-Length that is no number", requestFields([["content-length", "0x0"]])],
    [
      "two Content-Lengths",
      requestFields([
        ["content-length", "0"],
        ["content-length", "0"],
      ]),
    ],
  ])("%s", async (_, fields) => {
    await using attempted = await attempt(fields);
    expect(attempted.outcome).toEqual({ reset: PROTOCOL_ERROR });
    expect(attempted.rig.backend.received()).toBe("");
  });

  test.each([
    ["more", "hello and more"],
    ["less", "hell"],
  ])("a body of %s bytes than Content-Length says", async (_, body) => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, { yaml: LISTEN_HTTP2 });
    using client = await FrameClient.open(sidecar.port);
    client.send(
      requestFrame(1, requestFields([["content-length", "5"]], { method: "POST" }), END_HEADERS),
      frame(FRAME.data, END_STREAM, 1, Buffer.from(body)),
    );
    // Too many end the connection, too few the stream.
    expect(await client.outcomeOf(1)).not.toHaveProperty("status");
    expect(backend.requests).toEqual([]);
  });
});

describe("a request is refused and nothing is forwarded for", () => {
  test.each<[string, Fields, number]>([
    ["a Host that differs from :authority", requestFields([["host", "b"]]), 400],
    ["a scheme that is neither http nor https", instead(":scheme", "gopher"), 400],
    [
      "such a scheme with a :path that is a URL",
      [
        [":method", "GET"],
        [":scheme", "x"],
        [":path", "http://internal/"],
        [":authority", "a"],
      ],
      400,
    ],
    ["a method in lower case", instead(":method", "get"), 400],
    ["a method that HTTP/1.1 does not know here", instead(":method", "FROB"), 400],
    ["an ambiguous path", instead(":path", "/open/..%2fadmin"), 400],
    [
      "CONNECT",
      [
        [":method", "CONNECT"],
        [":authority", "internal:22"],
      ],
      405,
    ],
    [
      "more field lines than are counted",
      requestFields(Array.from({ length: 201 }, (_, i): [string, string] => [`x-${i}`, "1"])),
      431,
    ],
  ])("%s", async (_, fields, status) => {
    await using attempted = await attempt(fields);
    expect(attempted.outcome.status).toBe(status);
    expect(attempted.rig.backend.received()).toBe("");
  });

  test.each<[string, Fields]>([
    [
      "far more field lines",
      requestFields(Array.from({ length: 600 }, (_, i): [string, string] => [`x-${i}`, ""])),
    ],
    ["more bytes of fields than limits.headerBytes", requestFields([["x-a", "a".repeat(16_300)]])],
  ])("%s, unanswered", async (_, fields) => {
    await using attempted = await attempt(fields);
    expect(attempted.outcome).toEqual({ reset: ENHANCE_YOUR_CALM });
    expect(attempted.rig.backend.received()).toBe("");
  });
});

test("limits.headerBytes holds for a client, too, that takes no note of it", async () => {
  await using attempted = await attempt(requestFields([["x-a", "a".repeat(16_300)]]), false);
  expect(attempted.outcome.status).toBe(431);
  expect(attempted.rig.backend.received()).toBe("");
});

describe("a forged field never reaches the backend", () => {
  test.each<[string, Fields]>([
    ["as it is", requestFields([[TOKEN_FIELD, "forged"]])],
    [
      "twice",
      requestFields([
        [TOKEN_FIELD, "forged"],
        [TOKEN_FIELD, "forged"],
      ]),
    ],
    [
      "with another spelling",
      requestFields([
        ["x_service_token", "forged"],
        ["x.service.token", "forged"],
      ]),
    ],
    ["behind a line break in another", requestFields([["x-a", "1\r\nX-Service-Token: forged"]])],
    ["behind NUL in another", requestFields([["x-a", "1\0\r\nx-service-token: forged"]])],
    ["in a name with a colon", requestFields([["x-service-token:", "forged"]])],
    ["in a name with a space", requestFields([["x-service-token ", "forged"]])],
  ])("%s", async (_, fields) => {
    await using attempted = await attempt(fields);
    expect(attempted.outcome.status).toBe(200);
    await attempted.rig.expectForwarded("GET / HTTP/1.1");
    expect(attempted.rig.backend.received()).not.toContain("forged");
  });

  test.each(["__proto__", "constructor", "toString"])("and one named %s does no harm", async (name) => {
    await using attempted = await attempt(requestFields([[name.toLowerCase(), "x"]]));
    expect(attempted.outcome.status).toBe(200);
    await attempted.rig.expectForwarded("GET / HTTP/1.1");
  });
});

describe("floods", () => {
  /** A sidecar whose backend never answers, so that what reaches it stays there. */
  async function start(yaml = "") {
    let arrived = 0;
    let underWay = 0;
    const backend = await startBackend((request, response) => {
      if (request.url === "/answered") return void response.end("ok");
      arrived++;
      underWay++;
      response.once("close", () => underWay--);
    });
    const sidecar = await startSidecar(backend.url, { yaml: `${LISTEN_HTTP2}${yaml}` });
    return {
      sidecar,
      arrived: () => arrived,
      underWay: () => underWay,
      async expectAlive() {
        expect(await (await fetch(`${sidecar.url}/answered`)).text()).toBe("ok");
      },
      async [Symbol.asyncDispose]() {
        await backend[Symbol.asyncDispose]();
        await sidecar.close();
      },
    };
  }

  /** Writes pieces until the other side ends the connection, as fast as it takes them. */
  async function flood(client: FrameClient, count: number, piece: (index: number) => Buffer) {
    for (let i = 0; i < count && !client.socket.destroyed; i += 500) {
      const pieces = Array.from({ length: Math.min(500, count - i) }, (_, j) => piece(i + j));
      if (!client.socket.write(Buffer.concat(pieces)))
        await Promise.race([once(client.socket, "drain").catch(() => {}), client.closed]);
    }
  }

  /** Client and backend are in this process too; what 100 000 streams leave behind would be several times as much. */
  const MAX_GROWTH_BYTES = 200 * 1024 * 1024;

  const idOf = (index: number) => index * 2 + 1;
  const CANCEL = Buffer.from([0, 0, 0, 8]);

  test("100 000 requests that are taken back at once end their connection, and reach the backend no more than the limit", async () => {
    await using rig = await start();
    using client = await FrameClient.open(rig.sidecar.port);
    const before = memoryUsage.rss();
    await flood(client, 100_000, (i) =>
      Buffer.concat([requestFrame(idOf(i)), frame(FRAME.resetStream, 0, idOf(i), CANCEL)]),
    );
    await client.closed;

    await rig.expectAlive();
    expect(rig.arrived()).toBeLessThan(1500);
    const until = Date.now() + 5000;
    while (rig.underWay() > 0 && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(rig.underWay()).toBe(0);
    expect(memoryUsage.rss() - before).toBeLessThan(MAX_GROWTH_BYTES);
  });

  test("streams above limits.streams are refused, and those within it go on", async () => {
    await using rig = await start("limits: {streams: 3}\n");
    using client = await FrameClient.open(rig.sidecar.port);
    client.send(...[0, 1, 2, 3].map((index) => requestFrame(idOf(index))));
    expect(await client.outcomeOf(idOf(3))).toEqual({ reset: REFUSED_STREAM });
    const until = Date.now() + 5000;
    while (rig.arrived() < 3 && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(rig.arrived()).toBe(3);
    client.send(frame(FRAME.resetStream, 0, 1, CANCEL), requestFrame(idOf(4), instead(":path", "/answered")));
    expect(await client.outcomeOf(idOf(4))).toEqual({ status: 200 });
  });

  test("a header section without end ends its connection (CVE-2024-27983)", async () => {
    await using rig = await start();
    using client = await FrameClient.open(rig.sidecar.port);
    client.send(frame(FRAME.headers, END_STREAM, 1, fieldBlock(requestFields())));
    const piece = frame(FRAME.continuation, 0, 1, fieldBlock([["x-a", "a".repeat(1000)]]));
    await flood(client, 10_000, () => piece);
    await client.closed;
    expect(rig.arrived()).toBe(0);
    await rig.expectAlive();
  });

  test.each([
    ["PING", frame(FRAME.ping, 0, 0, Buffer.alloc(8))],
    ["SETTINGS", frame(FRAME.settings, 0, 0, Buffer.from([0, 4, 0, 1, 0, 0]))],
    ["empty DATA", frame(FRAME.data, 0, 1)],
    ["PRIORITY", frame(FRAME.priority, 0, 1, Buffer.from([0, 0, 0, 0, 1]))],
    ["WINDOW_UPDATE", frame(FRAME.windowUpdate, 0, 1, Buffer.from([0, 0, 0, 1]))],
  ])("100 000 frames %s do others no harm", async (_, piece) => {
    await using rig = await start();
    using client = await FrameClient.open(rig.sidecar.port);
    const before = memoryUsage.rss();
    client.send(requestFrame(1, requestFields([], { method: "POST" }), END_HEADERS));
    // What is answered is never read.
    client.socket.pause();
    const flooding = flood(client, 100_000, () => piece);
    await rig.expectAlive();
    await Promise.race([flooding, new Promise((resolve) => setTimeout(resolve, 3000))]);
    await rig.expectAlive();
    expect(memoryUsage.rss() - before).toBeLessThan(MAX_GROWTH_BYTES);
  });

  test.each([
    [
      "a frame that is too long",
      Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]), Buffer.alloc(1000)]),
    ],
    ["DATA for no stream", frame(FRAME.data, 0, 0, Buffer.from("abc"))],
    ["HEADERS on an even stream", requestFrame(2)],
    ["PUSH_PROMISE", frame(FRAME.pushPromise, END_HEADERS, 1, Buffer.from([0, 0, 0, 2]))],
    ["CONTINUATION of nothing", frame(FRAME.continuation, END_HEADERS, 1)],
    [
      "fields that cannot be decoded",
      frame(FRAME.headers, END_STREAM | END_HEADERS, 1, Buffer.from([0xff, 0xff])),
    ],
    ["a window that overflows", frame(FRAME.windowUpdate, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff]))],
  ])("%s ends the connection, and no other", async (_, bytes) => {
    await using rig = await start();
    using client = await FrameClient.open(rig.sidecar.port);
    client.send(bytes);
    await client.closed;
    expect(rig.arrived()).toBe(0);
    await rig.expectAlive();
  });
});

/** SETTINGS_HEADER_TABLE_SIZE and SETTINGS_INITIAL_WINDOW_SIZE, both 0 (RFC 9113 §6.5.2). */
const NO_WINDOW = frame(FRAME.settings, 0, 0, Buffer.from([0, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]));

describe.concurrent("slow clients", () => {
  test("one that opens a connection and asks for nothing is let go after timeouts.headers", async () => {
    await using sidecar = await startSidecar("http://127.0.0.1:9", {
      yaml: `${LISTEN_HTTP2}timeouts: {headers: 1s}\n`,
    });
    using client = await FrameClient.open(sidecar.port);
    const begun = Date.now();
    await client.closed;
    expect(Date.now() - begun).toBeLessThan(5000);
    expect(client.frames.some(({ type }) => type === FRAME.goaway)).toBe(true);
  });

  test("one that asks for nothing more is let go after timeouts.keepAlive, also where its fields never end", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `${LISTEN_HTTP2}timeouts: {keepAlive: 1s}\n`,
    });
    using client = await FrameClient.open(sidecar.port);
    client.send(requestFrame(1));
    expect(await client.outcomeOf(1)).toEqual({ status: 200 });
    const begun = Date.now();
    client.send(frame(FRAME.headers, END_STREAM, 3, fieldBlock(requestFields())));
    await client.closed;
    expect(Date.now() - begun).toBeLessThan(5000);
  });

  test.each([
    ["an answer of Countersign's own", "/nowhere"],
    ["the issuer's documents", "/__issuer/.well-known/jwks.json"],
    ["a response", "/orders"],
  ])("one that takes no byte of %s is let go after timeouts.send", async (_, path) => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `${LISTEN_HTTP2}timeouts: {send: 1s, keepAlive: 1s}\npolicies: [{name: orders, match: {path: /orders}}]\n`,
    });
    const socket = connect(sidecar.port, "127.0.0.1");
    await once(socket, "connect");
    using client = new FrameClient(socket);
    client.send(Buffer.from(PREFACE), NO_WINDOW, requestFrame(1, requestFields([], { path })));
    expect((await client.outcomeOf(1)).reset).toBeGreaterThan(0);
    await client.closed;
  });

  test("a body that does not end is answered 408 after timeouts.request, and the other streams go on", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `${LISTEN_HTTP2}timeouts: {request: 1s, headers: 1s}\n`,
    });
    using client = await FrameClient.open(sidecar.port);
    client.send(
      requestFrame(1, requestFields([], { method: "POST" }), END_HEADERS),
      frame(FRAME.data, 0, 1, Buffer.from("abc")),
    );
    expect(await client.outcomeOf(1)).toMatchObject({ status: 408 });
    client.send(requestFrame(3));
    expect(await client.outcomeOf(3)).toEqual({ status: 200 });
    expect(backend.requests).toHaveLength(1);
  });
});
