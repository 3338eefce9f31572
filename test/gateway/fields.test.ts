import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { startRawBackend } from "../support/raw-backend.ts";
import { exchange, sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

const CLOSE = "Connection: close\r\n\r\n";
const YAML = "policies: [{name: all, token: none}]";

/** One exchange: what the backend received, and what the client. `token: none`, so that TRACE goes on too. */
async function relay(request: string, response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") {
  await using backend = await startRawBackend((socket, data) => {
    if (data.includes("\r\n\r\n")) socket.write(Buffer.from(response, "latin1"));
  });
  await using sidecar = await startSidecar(backend.url, { yaml: YAML });
  const answer = await sendRaw(sidecar.port, request);
  return { received: backend.received(), answer, status: statusesOf(answer)[0] };
}

/** The lines of a message's header section with this name. */
function linesOf(message: string, name: string): string[] {
  const [head = ""] = message.split("\r\n\r\n");
  return head.split("\r\n").filter((line) => line.toLowerCase().startsWith(`${name}:`));
}

describe("OPTIONS of the server as a whole (RFC 9110 §9.3.7) is answered here, and goes no further", () => {
  test.each(["*", "http://api.example.com", "HTTP://api.example.com:81"])("%s", async (target) => {
    const { status, answer, received } = await relay(`OPTIONS ${target} HTTP/1.1\r\nHost: a\r\n${CLOSE}`);

    expect(status).toBe(204);
    expect(linesOf(answer, "allow")).toEqual(["allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]);
    expect(answer.split("\r\n\r\n")[1]).toBe("");
    expect(received).toBe("");
  });

  test("the connection ends behind a body that nobody needs, and what comes with it is no request", async () => {
    const { answer, received } = await relay(
      "OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /next HTTP/1.1\r\nHost: a\r\n\r\n",
    );

    expect(statusesOf(answer)).toEqual([204]);
    expect(linesOf(answer, "connection")).toEqual(["Connection: close"]);
    expect(received).toBe("");
  });

  test.each([
    ["OPTIONS * HTTP/1.1\r\n", "ERR_HOST_INVALID"],
    ["OPTIONS http://user@evil.example HTTP/1.1\r\nHost: a\r\n", "ERR_HOST_INVALID"],
    ["OPTIONS *a HTTP/1.1\r\nHost: a\r\n", "ERR_TARGET_INVALID"],
    ["GET * HTTP/1.1\r\nHost: a\r\n", "ERR_TARGET_INVALID"],
  ])("%j is refused all the same", async (head, code) => {
    const { status, answer, received } = await relay(head + CLOSE);

    expect(status).toBe(400);
    expect(answer).toContain(`"code":"${code}"`);
    expect(received).toBe("");
  });

  test("OPTIONS of a resource goes on", async () => {
    for (const target of ["/", "http://api.example.com/", "http://api.example.com?a"])
      expect((await relay(`OPTIONS ${target} HTTP/1.1\r\nHost: a\r\n${CLOSE}`)).received).toMatch(
        /^OPTIONS \/\S* HTTP\/1\.1\r\n/,
      );
  });
});

describe("Max-Forwards (RFC 9110 §7.6.2)", () => {
  test.each([
    ["OPTIONS", "3", "2"],
    ["TRACE", "1", "0"],
    ["OPTIONS", "99999999999999999999", "999999"],
    // Not a number: nothing is known of it.
    ["OPTIONS", "x", "x"],
    // It has no meaning for other methods.
    ["GET", "0", "0"],
  ])("%s with %s goes on with %s", async (method, sent, onwards) => {
    const { received } = await relay(`${method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: ${sent}\r\n${CLOSE}`);

    expect(linesOf(received, "max-forwards")).toEqual([`Max-Forwards: ${onwards}`]);
  });

  test.each([
    ["OPTIONS", "0", 204],
    ["OPTIONS", "00", 204],
    ["TRACE", "0", 405],
  ])("%s with %s goes no further, and is answered %i", async (method, value, expected) => {
    const { status, received } = await relay(
      `${method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: ${value}\r\n${CLOSE}`,
    );

    expect(status).toBe(expected);
    expect(received).toBe("");
  });

  test("of two the smaller counts, and both go on alike", async () => {
    const { received } = await relay(
      `OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 9\r\nmax-forwards: 4\r\n${CLOSE}`,
    );

    expect(linesOf(received, "max-forwards")).toEqual(["Max-Forwards: 3", "max-forwards: 3"]);
  });
});

describe("the length of a request without content (RFC 9110 §8.6)", () => {
  test.each([
    ["POST", "", ["content-length: 0"]],
    ["POST", "Content-Length: 0\r\n", ["content-length: 0"]],
    ["PUT", "", ["content-length: 0"]],
    ["GET", "", []],
    ["GET", "Content-Length: 0\r\n", []],
    ["DELETE", "Content-Length: 0\r\n", []],
  ])("%s with %j", async (method, field, expected) => {
    const { received } = await relay(`${method} / HTTP/1.1\r\nHost: a\r\n${field}${CLOSE}`);

    expect(linesOf(received, "content-length")).toEqual(expected);
    expect(linesOf(received, "transfer-encoding")).toEqual([]);
  });
});

test("a response's Connection cannot take away what frames it", async () => {
  const { answer } = await relay(
    `GET / HTTP/1.1\r\nHost: a\r\n${CLOSE}`,
    "HTTP/1.1 200 OK\r\nConnection: Content-Length, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok",
  );

  expect(linesOf(answer, "content-length")).toEqual(["Content-Length: 2"]);
  expect(linesOf(answer, "x-hop")).toEqual([]);
});

describe("trailers of a request", () => {
  test("are dropped, and not announced", async () => {
    const { received } = await relay(
      `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n${CLOSE}3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n`,
    );

    expect(received).toMatch(/\r\n\r\n3\r\nabc\r\n0\r\n\r\n$/);
    expect(received).not.toMatch(/x-sum|trailer|6\.6\.6/i);
  });
});

describe("Date (RFC 9110 §6.6.1)", () => {
  test("is added to a response that has none", async () => {
    const { answer } = await relay(`GET / HTTP/1.1\r\nHost: a\r\n${CLOSE}`);

    const [line = ""] = linesOf(answer, "date");
    expect(Math.abs(Date.parse(line.slice(6)) - Date.now())).toBeLessThan(5000);
  });

  test("of a backend goes on as it is", async () => {
    const sent = "Date: Tue, 15 Nov 1994 08:12:31 GMT";
    const { answer } = await relay(
      `GET / HTTP/1.1\r\nHost: a\r\n${CLOSE}`,
      `HTTP/1.1 200 OK\r\n${sent}\r\nContent-Length: 0\r\n\r\n`,
    );

    expect(linesOf(answer, "date")).toEqual([sent]);
  });
});

describe("Via (RFC 9110 §7.6.3)", () => {
  test("says which version the client spoke, behind those before, of several lines too", async () => {
    const { received } = await relay("GET / HTTP/1.0\r\nVia: 1.1 a, 1.0 b (c)\r\nvia: 2 d\r\n\r\n");

    expect(linesOf(received, "via")).toEqual([
      expect.stringMatching(/^via: 1\.1 a, 1\.0 b \(c\), 2 d, 1\.0 countersign-[\w-]{12}$/),
    ]);
  });

  test("of a response is the backend's alone", async () => {
    const { answer } = await relay(
      `GET / HTTP/1.1\r\nHost: a\r\n${CLOSE}`,
      "HTTP/1.1 200 OK\r\nVia: 1.1 inner\r\nContent-Length: 0\r\n\r\n",
    );

    expect(linesOf(answer, "via")).toEqual(["Via: 1.1 inner"]);
  });
});

test("what a response says of its own connection stays there, as Connection names it too", async () => {
  const { answer } = await relay(
    `GET / HTTP/1.1\r\nHost: a\r\n${CLOSE}`,
    [
      "HTTP/1.1 426 Upgrade Required",
      "Connection: X-Hop",
      "connection: x-other",
      "X-Hop: 1",
      "X-Other: 1",
      "Upgrade: TLS/1.0",
      "Keep-Alive: timeout=5",
      "Proxy-Connection: keep-alive",
      "Proxy-Authenticate: Basic",
      "Proxy-Authentication-Info: nextnonce=1",
      "Trailer: X-Sum",
      "X-End: 1",
      "Content-Length: 0\r\n\r\n",
    ].join("\r\n"),
  );

  const [head = ""] = answer.split("\r\n\r\n");
  expect(head.replace(/Date: .*/, "Date")).toBe(
    "HTTP/1.1 426 Upgrade Required\r\nX-End: 1\r\nContent-Length: 0\r\nDate\r\nConnection: close",
  );
});

describe("a response without content has none, however its backend frames it", () => {
  test.each([
    ["HEAD", "200 OK", "Transfer-Encoding: chunked", []],
    ["HEAD", "200 OK", "Content-Length: 12", ["Content-Length: 12"]],
    ["HEAD", "200 OK", "X-None: 1", []],
    ["GET", "204 No Content", "Content-Length: 0", []],
    ["GET", "204 No Content", "Transfer-Encoding: chunked", []],
    ["GET", "205 Reset Content", "Content-Length: 0", ["Content-Length: 0"]],
    ["GET", "304 Not Modified", "Content-Length: 12", ["Content-Length: 12"]],
    ["GET", "304 Not Modified", "Transfer-Encoding: chunked", []],
  ])("%s, %s with %s", async (method, status, field, lengths) => {
    const { answer } = await relay(
      `${method} / HTTP/1.1\r\nHost: a\r\n${CLOSE}`,
      `HTTP/1.1 ${status}\r\n${field}\r\n\r\n`,
    );

    const [head = "", content] = answer.split("\r\n\r\n");
    expect(head.startsWith(`HTTP/1.1 ${status}\r\n`)).toBe(true);
    expect(content).toBe("");
    expect(linesOf(answer, "content-length")).toEqual(lengths);
    expect(linesOf(answer, "transfer-encoding")).toEqual([]);
  });
});

describe("an HTTP/1.0 client", () => {
  const CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";

  test.each(["", "Connection: keep-alive\r\n"])(
    "gets no chunks, and the end of the connection instead; with %j",
    async (field) => {
      const { answer } = await relay(`GET / HTTP/1.0\r\n${field}\r\n`, CHUNKED);

      expect(linesOf(answer, "transfer-encoding")).toEqual([]);
      expect(linesOf(answer, "connection")).toEqual(["Connection: close"]);
      expect(answer.split("\r\n\r\n")[1]).toBe("abc");
    },
  );

  test("gets repeated fields where the backend put them", async () => {
    const lines = ["X-A: 1", "Set-Cookie: a=1", "x-a: 2", "set-cookie: b=2"];
    const { answer } = await relay(
      "GET / HTTP/1.0\r\n\r\n",
      `HTTP/1.1 200 OK\r\n${lines.join("\r\n")}\r\nContent-Length: 0\r\n\r\n`,
    );

    expect(answer.split("\r\n").slice(1, 5)).toEqual(lines);
  });

  test("keeps its connection where it asks for that, and the response has a length", async () => {
    await using backend = await startRawBackend();
    await using sidecar = await startSidecar(backend.url, { yaml: YAML });
    const socket = connect(sidecar.port, "127.0.0.1");
    await once(socket, "connect");

    const answer = await exchange(
      socket,
      "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
    );

    expect(statusesOf(answer)).toEqual([200, 200]);
    expect(answer.match(/^connection: .*$/gim)?.map((line) => line.trim())).toEqual([
      "Connection: keep-alive",
      "Connection: close",
    ]);
  });
});
