import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { promisify } from "node:util";
import { decodeJwt } from "jose";
import { describe, expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { connectHttp2, LISTEN_HTTP2 } from "../support/http2-client.ts";
import {
  END_HEADERS,
  FRAME,
  FrameClient,
  frame,
  OPENING,
  requestFields,
  requestFrame,
} from "../support/http2-frames.ts";
import { CURL, H2LOAD, NETCAT, requireProgram } from "../support/programs.ts";
import { startRawBackend } from "../support/raw-backend.ts";
import { exchange, sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";
import { startTlsSidecar } from "../support/tls-sidecar.ts";

const run = promisify(execFile);

const START = (upstream: string, yaml = "") => startSidecar(upstream, { yaml: `${LISTEN_HTTP2}${yaml}` });

describe("a request", () => {
  test("reaches the backend as one of HTTP/1.1, with its token and what is known of the client", async () => {
    await using backend = await startBackend();
    await using sidecar = await START(backend.url, "token: {audience: $request(url)}\n");
    using client = await connectHttp2(sidecar.url);

    const { status, body } = await client.request({ ":path": "/orders?a=1", "x-a": "1" });

    expect({ status, body }).toEqual({ status: 200, body: "ok" });
    const [request] = backend.requests;
    const host = new URL(sidecar.url).host;
    expect(request).toMatchObject({ method: "GET", url: "/orders?a=1" });
    expect(request?.headers).toMatchObject({
      host,
      "x-a": "1",
      via: expect.stringMatching(/^2\.0 countersign-[\w-]{12}$/),
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-proto": "http",
      "x-forwarded-host": host,
    });
    expect(request?.rawHeaders.some((name) => name.startsWith(":"))).toBe(false);
    const token = request?.headers.authorization?.slice("Bearer ".length) ?? "";
    expect(decodeJwt(token).aud).toBe(`${sidecar.url}/orders?a=1`);
  });

  test("without a body has none at the backend, whatever its method", async () => {
    await using backend = await startBackend();
    await using sidecar = await START(backend.url);
    using client = await connectHttp2(sidecar.url);
    for (const method of ["GET", "POST", "DELETE"]) await client.request({ ":method": method });
    for (const { headers, body } of backend.requests)
      expect([headers["transfer-encoding"], body.length]).toEqual([undefined, 0]);
  });

  test("with a body but no length is chunked for the backend, also one to GET", async () => {
    await using backend = await startBackend();
    await using sidecar = await START(backend.url);
    using client = await connectHttp2(sidecar.url);
    const body = Buffer.alloc(300_000, "a");
    for (const method of ["PUT", "GET"]) await client.request({ ":method": method }, body);
    for (const request of backend.requests) {
      expect(request.headers).toMatchObject({ "transfer-encoding": "chunked" });
      expect(request.body.equals(body)).toBe(true);
    }
    expect(backend.requests).toHaveLength(2);
  });

  test("with a body and its length keeps that", async () => {
    await using backend = await startBackend();
    await using sidecar = await START(backend.url);
    using client = await connectHttp2(sidecar.url);
    await client.request({ ":method": "POST", "content-length": "5" }, "hello");
    expect(backend.requests[0]).toMatchObject({ headers: { "content-length": "5" } });
    expect(backend.requests[0]?.headers).not.toHaveProperty("transfer-encoding");
    expect(String(backend.requests[0]?.body)).toBe("hello");
  });

  test("has one Cookie field at the backend, however many pieces it came in", async () => {
    await using backend = await startBackend();
    await using sidecar = await START(backend.url);
    using client = await connectHttp2(sidecar.url);
    await client.request({ cookie: ["a=1", "b=2; c=3"] });
    expect(backend.requests[0]?.rawHeaders.filter((name) => name === "cookie")).toHaveLength(1);
    expect(backend.requests[0]?.headers.cookie).toBe("a=1; b=2; c=3");
  });

  test("loses its trailers", async () => {
    await using backend = await startRawBackend();
    await using sidecar = await START(backend.url);
    using client = await FrameClient.open(sidecar.port);
    client.send(
      requestFrame(1, requestFields([], { method: "POST" }), END_HEADERS),
      frame(FRAME.data, 0, 1, Buffer.from("abc")),
      requestFrame(1, [["x-service-token", "forged"]]),
    );
    expect(await client.outcomeOf(1)).toEqual({ status: 200 });
    expect(backend.received()).not.toContain("forged");
  });

  test("that expects 100-continue gets it when it is forwarded", async () => {
    await using backend = await startBackend();
    await using sidecar = await START(backend.url);
    using client = await connectHttp2(sidecar.url);
    const stream = client.session.request(
      { ":method": "POST", expect: "100-continue" },
      { endStream: false },
    );
    await once(stream, "continue");
    stream.end("hello");
    const [headers] = await once(stream, "response");
    expect(headers[":status"]).toBe(200);
    expect(backend.requests[0]?.headers).not.toHaveProperty("expect");
    expect(String(backend.requests[0]?.body)).toBe("hello");
  });

  test("that is reset in the middle of its body never looks whole to the backend", async () => {
    await using backend = await startRawBackend(() => {});
    await using sidecar = await START(backend.url);
    // Also with NO_ERROR: it is not the end of the body.
    for (const code of [0, 8]) {
      using client = await FrameClient.open(sidecar.port);
      const before = backend.sockets.length;
      client.send(
        requestFrame(1, requestFields([], { method: "POST" }), END_HEADERS),
        frame(FRAME.data, 0, 1, Buffer.from("abc")),
      );
      while (backend.sockets.length === before || !backend.received().endsWith("abc"))
        await new Promise(setImmediate);
      const socket = backend.sockets.at(-1);
      client.send(frame(FRAME.resetStream, 0, 1, Buffer.from([0, 0, 0, code])));
      if (!socket?.closed) await once(socket ?? process, "close");
      expect(backend.received()).not.toContain("0\r\n\r\n");
    }
    // Who leaves is no failure that the operator should know of.
    expect(sidecar.failures).toEqual([]);
  });
});

describe("a response", () => {
  test("has no field of a connection, and keeps the others", async () => {
    await using backend = await startBackend((_request, response) => {
      response.setHeader("connection", "close, x-hop");
      response.setHeader("x-hop", "1");
      response.setHeader("set-cookie", ["a=1", "b=2"]);
      response.writeHead(201, "Made Up");
      response.end("chunked");
    });
    await using sidecar = await START(backend.url);
    using client = await connectHttp2(sidecar.url);
    const { status, headers, body } = await client.request();
    expect({ status, body }).toEqual({ status: 201, body: "chunked" });
    expect(headers["set-cookie"]).toEqual(["a=1", "b=2"]);
    for (const name of ["connection", "keep-alive", "transfer-encoding", "x-hop"])
      expect(headers).not.toHaveProperty(name);
  });

  test("may repeat any field, in front of its content and behind it", async () => {
    const etags = 'ETag: "a"\r\nETag: "b"\r\n';
    await using backend = await startRawBackend((socket) =>
      socket.write(
        `HTTP/1.1 103 Early Hints\r\n${etags}\r\n` +
          `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n${etags}\r\n2\r\nok\r\n0\r\n${etags}\r\n`,
      ),
    );
    await using sidecar = await START(backend.url);
    using client = await connectHttp2(sidecar.url);
    const stream = client.session.request({ te: "trailers" });
    const trailers = once(stream, "trailers");
    const [, , head] = await once(stream, "response");
    let body = "";
    for await (const piece of stream) body += piece;
    const [, , raw] = await trailers;
    const values = (fields: string[]) => fields.filter((_, index) => fields[index - 1] === "etag");
    expect({ body, head: values(head), trailers: values(raw) }).toEqual({
      body: "ok",
      head: ['"a"', '"b"'],
      trailers: ['"a"', '"b"'],
    });
  });

  test("that is cut by the backend does not look whole", async () => {
    await using backend = await startRawBackend((socket) =>
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", () => socket.destroy()),
    );
    await using sidecar = await START(backend.url);
    using client = await FrameClient.open(sidecar.port);
    client.send(requestFrame(1));
    expect((await client.outcomeOf(1)).reset).toBeGreaterThan(0);
  });

  test("of Countersign's own to a bad request leaves the connection to the other streams", async () => {
    await using backend = await startBackend();
    await using sidecar = await START(backend.url);
    using client = await connectHttp2(sidecar.url);
    const { status, headers, body } = await client.request({ ":path": "/a/../b" });
    expect(status).toBe(400);
    expect(headers["content-type"]).toBe("application/problem+json");
    expect(JSON.parse(body).code).toBe("ERR_TARGET_AMBIGUOUS");
    expect((await client.request()).status).toBe(200);
  });

  test("that is earlier than the end of an upload is whole, and then nobody wants the rest", async () => {
    await using sidecar = await START("http://127.0.0.1:9");
    using client = await FrameClient.open(sidecar.port);
    client.send(requestFrame(1, requestFields([], { method: "POST" }), END_HEADERS));
    await client.next(
      ({ type, flags, streamId }) => type === FRAME.data && streamId === 1 && (flags & 1) === 1,
    );
    const reset = await client.next(({ type }) => type === FRAME.resetStream);
    expect(reset.payload.readUInt32BE(0)).toBe(0);
    expect(await client.outcomeOf(1)).toMatchObject({ status: 502 });
  });

  test("of the issuer comes over HTTP/2 too, and HEAD has no body", async () => {
    await using sidecar = await START("http://127.0.0.1:9");
    using client = await connectHttp2(sidecar.url);
    const path = "/__issuer/.well-known/jwks.json";
    const { status, headers, body } = await client.request({ ":path": path });
    expect(status).toBe(200);
    expect(JSON.parse(body).keys).toHaveLength(1);
    expect(await client.request({ ":path": path, ":method": "HEAD" })).toMatchObject({
      status: 200,
      body: "",
    });
    expect((await client.request({ ":path": path, "if-none-match": headers.etag })).status).toBe(304);
  });
});

describe("which protocol is spoken", () => {
  test("is known also where the preface comes byte by byte", async () => {
    await using backend = await startBackend();
    await using sidecar = await START(backend.url);
    const socket = connectTcp({ port: sidecar.port, host: "127.0.0.1", noDelay: true });
    using client = new FrameClient(socket);
    for (const byte of Buffer.concat([OPENING, requestFrame(1)])) {
      socket.write(Buffer.from([byte]));
      await new Promise(setImmediate);
    }
    expect(await client.outcomeOf(1)).toEqual({ status: 200 });
  });

  test.each([
    ["in one piece", ["POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"]],
    ["byte by byte", [..."POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"]],
    [
      "in two, after P",
      ["P", "OST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"],
    ],
  ])("HTTP/1.1 is still spoken where it comes %s", async (_, pieces) => {
    await using backend = await startBackend();
    await using sidecar = await START(backend.url);
    const socket = connectTcp({ port: sidecar.port, host: "127.0.0.1", noDelay: true });
    const answer = exchange(socket);
    for (const piece of pieces) {
      socket.write(piece);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(statusesOf(await answer)).toEqual([200]);
    expect(backend.requests.map(({ body }) => String(body))).toEqual(["hi"]);
  });

  test.each([
    ["says nothing", ""],
    ["stops in the preface", "PRI * HTTP/2.0\r\n"],
  ])("a client that %s is answered 408 after timeouts.headers", async (_, bytes) => {
    await using sidecar = await START("http://127.0.0.1:9", "timeouts: {headers: 1s}\n");
    expect(statusesOf(await sendRaw(sidecar.port, bytes))).toEqual([408]);
  });

  test("without http2: true the preface is no request", async () => {
    await using sidecar = await startSidecar("http://127.0.0.1:9");
    expect(await sendRaw(sidecar.port, OPENING)).not.toContain(" 200 ");
  });

  test("the request line of HTTP/1 cannot claim HTTP/2.0", async () => {
    await using backend = await startRawBackend();
    await using sidecar = await START(backend.url);
    expect(statusesOf(await sendRaw(sidecar.port, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"))).toEqual([505]);
    expect(backend.requestLines()).toEqual([]);
  });

  test("a request to upgrade to h2c is a plain one", async () => {
    await using backend = await startRawBackend();
    await using sidecar = await START(backend.url);
    const upgrade =
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    expect(statusesOf(await sendRaw(sidecar.port, upgrade))).toEqual([200]);
    expect(backend.received().toLowerCase()).not.toMatch(/upgrade|http2-settings/);
  });
});

describe("over TLS", () => {
  test("the client's certificate and address count as with HTTP/1.1", async () => {
    await using backend = await startBackend();
    await using tls = await startTlsSidecar(backend.url, {
      clientCertificate: "optional",
      yaml: `
authenticators:
  mesh: {type: clientCertificate, subject: commonName}
authenticate: [mesh]
token: {additionalClaims: {ip: $request(ip), url: $request(url)}}
`,
    });
    const { cert, key } = await tls.ca.issue({ commonName: "orders" });
    using client = await connectHttp2(tls.sidecar.url, { ca: tls.ca.cert, cert, key });
    expect((await client.request({ ":path": "/a" })).status).toBe(200);
    const token = backend.requests[0]?.headers.authorization?.slice("Bearer ".length) ?? "";
    expect(decodeJwt(token)).toMatchObject({
      sub: "orders",
      ip: "127.0.0.1",
      url: `${tls.sidecar.url}/a`,
    });
    using stranger = await connectHttp2(tls.sidecar.url, { ca: tls.ca.cert });
    expect((await stranger.request()).status).toBe(401);
  });
});

describe("real programs", () => {
  test("curl speaks HTTP/2 with prior knowledge, and by ALPN", async (context) => {
    requireProgram(context, CURL);
    await using backend = await startBackend();
    await using sidecar = await START(backend.url);
    await using tls = await startTlsSidecar(backend.url);
    const version = ["--silent", "--output", "/dev/null", "--write-out", "%{http_version} %{http_code}"];
    expect((await run("curl", [...version, "--http2-prior-knowledge", sidecar.url])).stdout).toBe("2 200");
    expect((await run("curl", [...version, "--http2", sidecar.url])).stdout).toBe("1.1 200");
    expect((await run("curl", [...version, "--http2", "--insecure", tls.sidecar.url])).stdout).toBe("2 200");
    expect((await run("curl", [...version, "--http1.1", "--insecure", tls.sidecar.url])).stdout).toBe(
      "1.1 200",
    );
  });

  test("h2load loses nothing", async (context) => {
    requireProgram(context, H2LOAD);
    await using backend = await startBackend();
    await using sidecar = await START(backend.url);
    const { stdout } = await run("h2load", ["-n", "1000", "-c", "5", "-m", "50", sidecar.url]);
    expect(stdout).toContain("1000 total, 1000 started, 1000 done, 1000 succeeded, 0 failed");
  });

  test("nc speaks HTTP/1.1 to the same port", async (context) => {
    requireProgram(context, NETCAT);
    await using backend = await startBackend();
    await using sidecar = await START(backend.url);
    const child = run("nc", ["127.0.0.1", String(sidecar.port)]);
    // The end of what it sends would be the end of its connection.
    child.child.stdout?.once("data", () => child.child.stdin?.end());
    child.child.stdin?.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect(statusesOf((await child).stdout)).toEqual([200]);
  });
});
