import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  createServer as createHttp2Server,
  type ServerHttp2Stream,
} from "node:http2";
import { type AddressInfo, connect } from "node:net";
import { describe, expect, test } from "vitest";
import { hasBody } from "../../../src/gateway/client/message-body.ts";
import { receivedFieldsOf } from "../../../src/gateway/client/received-fields.ts";
import type { RawFields } from "../../../src/gateway/fields.ts";
import { RequestRecord } from "../../../src/gateway/request-record.ts";
import { END_HEADERS, END_STREAM } from "../../support/http2-frames.ts";
import { startRawBackend } from "../../support/raw-backend.ts";
import { exchange, sendRaw, statusesOf } from "../../support/raw-client.ts";
import { startSidecar } from "../../support/sidecar.ts";
import { openTestUpstream } from "../../support/upstream.ts";

const CLOSE = "Connection: close\r\n\r\n";

/** A backend that answers every request with these bytes. */
function startBackendWith(bytes: string) {
  return startRawBackend((socket) => socket.write(Buffer.from(bytes, "latin1")));
}

/** Speaks HTTP/2 to clients, in front of an upstream. */
async function startFront(origin: string, http2 = false) {
  const upstream = await openTestUpstream({ origin, http2 });
  const failures: string[] = [];
  const server = createHttp2Server((clientRequest, clientResponse) => {
    const fields = receivedFieldsOf(clientRequest) as RawFields;
    const { method, url: target } = clientRequest;
    const request = {
      method,
      target,
      fields,
      hasBody: hasBody(clientRequest),
      maxBodyBytes: undefined,
      record: new RequestRecord(clientRequest, "a"),
    };
    upstream.forward(clientRequest, clientResponse, request, ({ cause }) => failures.push(cause.message));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return {
    client,
    failures,
    async [Symbol.asyncDispose]() {
      client.destroy();
      await upstream.destroy();
      server.close();
    },
  };
}

/** All that comes on a stream, in order. */
async function framesOf(client: ClientHttp2Session, headers = {}): Promise<unknown[]> {
  const stream = client.request({ ":path": "/", ...headers });
  const frames: unknown[] = [];
  stream.on("headers", (_headers, flags, raw) => frames.push(["interim", flags, raw]));
  stream.on("response", (_headers, flags, raw) => frames.push(["head", flags, raw]));
  stream.on("data", (data) => frames.push(["data", data.toString()]));
  stream.on("trailers", (_headers, _flags, raw) => frames.push(["trailers", raw]));
  stream.on("error", () => {});
  stream.on("end", () => frames.push("end"));
  await new Promise((resolve) => stream.once("close", resolve));
  if (stream.rstCode !== 0) frames.push(`reset ${stream.rstCode}`);
  return frames;
}

const HINTS =
  "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\nConnection: x-private\r\nX-Private: 1\r\n\r\n" +
  "HTTP/1.1 102 Processing\r\n\r\n" +
  "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok";

describe("interim responses", () => {
  test("go on to an HTTP/1.1 client, with their fields", async () => {
    await using backend = await startBackendWith(HINTS);
    await using sidecar = await startSidecar(backend.url);

    const answer = await sendRaw(sidecar.port, `GET / HTTP/1.1\r\nHost: a\r\n${CLOSE}`);

    expect(answer).toBe(
      "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\r\n" +
        "HTTP/1.1 102 Processing\r\n\r\n" +
        "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    );
  });

  test("do not go on to an HTTP/1.0 client", async () => {
    await using backend = await startBackendWith(HINTS);
    await using sidecar = await startSidecar(backend.url);

    const answer = await sendRaw(sidecar.port, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");

    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer).not.toContain("Link");
  });

  test("never stand within the response before them", async () => {
    await using backend = await startRawBackend((socket, data) => {
      if (data.includes("/slow"))
        setTimeout(() => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow"), 100);
      else socket.write(HINTS);
    });
    await using sidecar = await startSidecar(backend.url);

    const answer = await sendRaw(
      sidecar.port,
      `GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /fast HTTP/1.1\r\nHost: a\r\n${CLOSE}`,
    );

    // Its response waited for the one before, so that there was no time for an interim one.
    expect(statusesOf(answer)).toEqual([200, 200]);
    expect(answer.endsWith("\r\n\r\nok")).toBe(true);
  });

  test("go on to an HTTP/2 client as further HEADERS", async () => {
    await using backend = await startBackendWith(HINTS);
    await using front = await startFront(backend.url);

    expect(await framesOf(front.client)).toEqual([
      [
        "interim",
        END_HEADERS,
        [":status", "103", "link", "</a.css>; rel=preload", "link", "</b.js>; rel=preload"],
      ],
      ["interim", END_HEADERS, [":status", "102"]],
      ["head", END_HEADERS, [":status", "200", "date", "now", "content-length", "2"]],
      ["data", "ok"],
      "end",
    ]);
  });
});

const TRAILERS =
  "HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\n" +
  "X-Sum: 1\r\nX-Sum: 2\r\nSet-Cookie: a=b\r\nContent-Type: x\r\nConnection: close\r\nWWW-Authenticate: Basic\r\n\r\n";

describe("trailers of a response", () => {
  test("go on to an HTTP/1.1 client that keeps them: those that mean the same behind the content", async () => {
    await using backend = await startBackendWith(TRAILERS);
    await using sidecar = await startSidecar(backend.url);

    const answer = await sendRaw(sidecar.port, `GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n${CLOSE}`);

    expect(answer.endsWith("\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n")).toBe(true);
    expect(answer).not.toMatch(/set-cookie|content-length|www-authenticate|^trailer/im);
  });

  test.each([
    ["an HTTP/1.1 client that does not say so", `GET / HTTP/1.1\r\nHost: a\r\n${CLOSE}`],
    ["an HTTP/1.0 client", "GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\n\r\n"],
  ])("do not go on to %s", async (_who, request) => {
    await using backend = await startBackendWith(TRAILERS);
    await using sidecar = await startSidecar(backend.url);

    expect(await sendRaw(sidecar.port, request)).not.toMatch(/x-sum/i);
  });

  test("go on to an HTTP/2 client", async () => {
    await using backend = await startBackendWith(TRAILERS);
    await using front = await startFront(backend.url);

    expect(await framesOf(front.client)).toEqual([
      ["head", END_HEADERS, [":status", "200", "date", "now"]],
      ["data", "ok"],
      ["trailers", ["x-sum", "1", "x-sum", "2"]],
      "end",
    ]);
  });
});

describe("an HTTP/2 client", () => {
  test("never gets a field that is about a connection, nor a reason phrase", async () => {
    await using backend = await startBackendWith(
      "HTTP/1.1 200 Fine\r\nDate: now\r\nConnection: keep-alive, x-private\r\nKeep-Alive: timeout=5\r\nProxy-Connection: a\r\nX-Private: 1\r\nUpgrade: h2c\r\nX-Mixed: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    await using front = await startFront(backend.url);

    expect(await framesOf(front.client)).toEqual([
      [
        "head",
        END_HEADERS,
        [":status", "200", "date", "now", "x-mixed", "1", "set-cookie", "a=1", "set-cookie", "b=2"],
      ],
      ["data", "ok"],
      "end",
    ]);
  });

  test.each([
    ["with a length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfifty"],
    ["in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfifty\r\n"],
  ])("sees a reset where the response was cut, %s", async (_how, bytes) => {
    await using backend = await startRawBackend((socket) => socket.end(bytes));
    await using front = await startFront(backend.url);

    const frames = await framesOf(front.client);

    // INTERNAL_ERROR
    expect(frames.at(-1)).toBe("reset 2");
    expect(frames).not.toContain("end");
    expect(front.failures).toHaveLength(1);
  });

  test.each([
    ["204", {}, "HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n", []],
    ["304", {}, 'HTTP/1.1 304 Not Modified\r\nDate: now\r\nETag: "x"\r\n\r\n', ["etag", '"x"']],
    [
      "200",
      { ":method": "HEAD" },
      "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 1234\r\n\r\n",
      ["content-length", "1234"],
    ],
  ])("gets a %s without content: %j", async (status, headers, bytes, fields) => {
    await using backend = await startBackendWith(bytes);
    await using front = await startFront(backend.url);

    const [head, ...rest] = await framesOf(front.client, headers);

    expect(head).toMatchObject(["head", expect.any(Number), [":status", status, "date", "now", ...fields]]);
    expect(rest).toEqual(["end"]);
  });
});

test.each([
  ["with content", "HTTP/1.1 205 Reset Content\r\nDate: now\r\ncontent-length: 5\r\n\r\nfifty"],
  [
    "in chunks",
    "HTTP/1.1 205 Reset Content\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfifty\r\n0\r\n\r\n",
  ],
])("a 205 has no content, whatever the backend sends: %s (RFC 9110 §15.3.6)", async (_how, bytes) => {
  await using backend = await startBackendWith(bytes);
  await using sidecar = await startSidecar(backend.url);
  await using front = await startFront(backend.url);

  const answer = await sendRaw(sidecar.port, `GET / HTTP/1.1\r\nHost: a\r\n${CLOSE}`);

  expect(answer).toBe(
    "HTTP/1.1 205 Reset Content\r\nDate: now\r\ncontent-length: 0\r\nConnection: close\r\n\r\n",
  );
  expect(await framesOf(front.client)).toEqual([
    ["head", END_HEADERS | END_STREAM, [":status", "205", "date", "now", "content-length", "0"]],
    "end",
  ]);
});

describe("a space behind a value is no part of it (RFC 9110 §5.5)", () => {
  const [length, value] = ["Content-Length: 10  ", "X-Sum: 1 2\t "];
  const response = `HTTP/1.1 200 OK\r\nDate: now\r\n${length}\r\n${value}\r\n\r\n0123456789`;

  test("to an HTTP/1.1 client, whose connection goes on", async () => {
    await using backend = await startBackendWith(response);
    await using sidecar = await startSidecar(backend.url);

    const answer = await sendRaw(
      sidecar.port,
      `GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n${CLOSE}`,
    );

    expect(answer.match(/^(?:Content-Length|X-Sum): .*(?=\r\n)/gm)).toEqual(
      Array(2).fill(["Content-Length: 10", "X-Sum: 1 2"]).flat(),
    );
    expect(statusesOf(answer)).toEqual([200, 200]);
    expect(sidecar.failures).toEqual([]);
  });

  test("to an HTTP/2 client, for which it would make the response malformed (RFC 9113 §8.2.1)", async () => {
    await using backend = await startBackendWith(response);
    await using front = await startFront(backend.url);

    expect(await framesOf(front.client)).toEqual([
      ["head", END_HEADERS, [":status", "200", "date", "now", "content-length", "10", "x-sum", "1 2"]],
      ["data", "0123456789"],
      "end",
    ]);
    expect(front.failures).toEqual([]);
  });

  test("in trailers", async () => {
    await using backend = await startBackendWith(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1 2 \t\r\n\r\n",
    );
    await using front = await startFront(backend.url);

    expect(await framesOf(front.client)).toContainEqual(["trailers", ["x-sum", "1 2"]]);
  });

  test("and makes none whole that was cut", async () => {
    await using backend = await startRawBackend((socket) =>
      socket.end(response.replace("X-Sum", "Connection: close\r\nX-Sum").slice(0, -1)),
    );
    await using front = await startFront(backend.url);

    // INTERNAL_ERROR
    expect((await framesOf(front.client)).at(-1)).toBe("reset 2");
    expect(front.failures).toHaveLength(1);
  });
});

test("a repeated Content-Type goes on as it came", async () => {
  await using backend = await startBackendWith(
    "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Type: text/html\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok",
  );
  await using sidecar = await startSidecar(backend.url);

  expect(await sendRaw(sidecar.port, `GET / HTTP/1.1\r\nHost: a\r\n${CLOSE}`)).toBe(
    "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Type: text/html\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
  );
});

test("a gRPC response of trailers alone is one HEADERS frame that ends the stream", async () => {
  const server = createHttp2Server();
  server.on("stream", (stream) =>
    (stream as ServerHttp2Stream).respond(
      { ":status": 200, date: "now", "content-type": "application/grpc", "grpc-status": "5" },
      { endStream: true },
    ),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  await using front = await startFront(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, true);

  expect(await framesOf(front.client)).toEqual([
    [
      "head",
      END_HEADERS | END_STREAM,
      [":status", "200", "date", "now", "content-type", "application/grpc", "grpc-status", "5"],
    ],
    "end",
  ]);
  server.close();
});

test("a body goes on as it comes, coded as it is", async () => {
  const { promise: second, resolve } = Promise.withResolvers<void>();
  await using backend = await startRawBackend(async (socket) => {
    socket.write("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\n\x1f\x8b?", "latin1");
    await second;
    socket.write("end");
  });
  await using sidecar = await startSidecar(backend.url);
  const request = httpRequest(sidecar.url, { headers: { "accept-encoding": "gzip" } }).end();
  const [response] = (await once(request, "response")) as [IncomingMessage];

  const [first] = (await once(response, "data")) as [Buffer];
  resolve();
  const [rest] = (await once(response, "data")) as [Buffer];

  expect(first.toString("latin1")).toBe("\x1f\x8b?");
  expect(rest.toString()).toBe("end");
});

test("a client that keeps its connection gets the next response behind trailers", async () => {
  await using backend = await startBackendWith(TRAILERS);
  await using sidecar = await startSidecar(backend.url);
  const socket = connect(sidecar.port, "127.0.0.1");

  const answer = await exchange(
    socket,
    `GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n${CLOSE}`,
  );

  expect(answer.match(/X-Sum: 1\r\nX-Sum: 2\r\n\r\n/g)).toHaveLength(2);
});
