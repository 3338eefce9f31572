import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startRawBackend } from "../support/raw-backend.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

const CLOSE = "Connection: close\r\n\r\n";

test("method, target, repeated fields and their order go on as they came", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);

  await sendRaw(
    sidecar.port,
    `PURGE /a/b?c=%2F&&d HTTP/1.1\r\nHost: api.example.com\r\nX-One: 1\r\nx-two: a\r\nX-One: 2\r\nX-Latin: caf\xe9\r\n${CLOSE}`,
  );

  const [received] = backend.requests;
  expect(received).toMatchObject({ method: "PURGE", url: "/a/b?c=%2F&&d" });
  const own = received?.rawHeaders.join("\n") ?? "";
  expect(own).toContain("X-One\n1\nx-two\na\nX-One\n2\nX-Latin\ncaf\xe9");
});

test("the backend sees the client's Host, address and scheme, and Via", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);

  await sendRaw(sidecar.port, `GET / HTTP/1.1\r\nHost: api.example.com:81\r\nVia: 1.1 edge\r\n${CLOSE}`);

  expect(backend.requests[0]?.headers).toMatchObject({
    host: "api.example.com:81",
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-proto": "http",
    "x-forwarded-host": "api.example.com:81",
    via: expect.stringMatching(/^1\.1 edge, 1\.1 countersign-[\w-]{12}$/),
  });
});

test("without preserveHost the backend sees its own Host", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: `upstream: {url: "${backend.url}", preserveHost: false}`,
  });

  await sendRaw(sidecar.port, `GET / HTTP/1.1\r\nHost: api.example.com\r\n${CLOSE}`);

  expect(backend.requests[0]?.headers).toMatchObject({
    host: `127.0.0.1:${backend.port}`,
    "x-forwarded-host": "api.example.com",
  });
});

test("what a stranger says about forwarding is replaced", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);
  const claims = [
    "X-Forwarded-For: 10.0.0.1",
    "x_forwarded_for: 10.0.0.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-User: admin",
    "X-Forwarded-Port: 443",
    "Forwarded: for=10.0.0.1",
    "X-Real-IP: 10.0.0.1",
  ];

  await sendRaw(
    sidecar.port,
    `GET / HTTP/1.1\r\nHost: api.example.com\r\n${claims.join("\r\n")}\r\n${CLOSE}`,
  );

  // The id of the request and the signature of its token are random, and may hold any digits.
  const { "x-request-id": _id, authorization: _token, ...seen } = backend.requests[0]?.headers ?? {};
  expect(seen).toMatchObject({ host: "api.example.com" });
  expect(JSON.stringify(seen)).not.toMatch(/10\.0\.0\.1|evil\.example|admin|443|https/);
  expect(backend.requests[0]?.headers["x-forwarded-for"]).toBe("127.0.0.1");
});

test("connection-specific fields and those that Connection names stay on their connection", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);
  const fields = [
    "Connection: X-Private, keep-alive",
    "connection: x-other",
    "X-Private: 1",
    "X_Other: 1",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic c2VjcmV0",
    "TE: trailers",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQAAP__",
  ];

  await sendRaw(
    sidecar.port,
    `GET / HTTP/1.1\r\nHost: api.example.com\r\n${fields.join("\r\n")}\r\n${CLOSE}`,
  );

  const { headers = {} } = backend.requests[0] ?? {};
  for (const name of [
    "x-private",
    "x_other",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "http2-settings",
  ])
    expect(headers, name).not.toHaveProperty(name);
  expect(headers).not.toHaveProperty("proxy-authorization");
});

test("Connection cannot take away Host or Content-Length", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);

  await sendRaw(
    sidecar.port,
    "POST / HTTP/1.1\r\nHost: api.example.com\r\nConnection: close, host, content-length\r\nContent-Length: 3\r\n\r\nabc",
  );

  expect(backend.requests[0]?.headers).toMatchObject({ host: "api.example.com", "content-length": "3" });
  expect(backend.requests[0]?.body.toString()).toBe("abc");
});

test.each([
  ["a plain one is passed on", "abc-123", /^abc-123$/],
  ["none is made up", undefined, /^[0-9a-f-]{36}$/],
  ["one that is no plain token is replaced", 'a"b c', /^[0-9a-f-]{36}$/],
  ["one of more than 128 characters is replaced", "a".repeat(129), /^[0-9a-f-]{36}$/],
])("X-Request-Id: %s", async (_, sent, expected) => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);

  await fetch(sidecar.url, { headers: sent === undefined ? {} : { "x-request-id": sent } });

  expect(backend.requests[0]?.headers["x-request-id"]).toMatch(expected);
});

test("the response's status, reason and repeated fields come back as they were", async () => {
  await using backend = await startRawBackend((socket) => {
    socket.end(
      "HTTP/1.1 418 Short and stout\r\nSet-Cookie: a=1\r\nX-One: 1\r\nSet-Cookie: b=2\r\nX-Latin: caf\xe9\r\nContent-Length: 3\r\n" +
        "Connection: X-Private, close\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\r\ntea",
      "latin1",
    );
  });
  await using sidecar = await startSidecar(backend.url);

  const answer = await sendRaw(sidecar.port, `GET / HTTP/1.1\r\nHost: a\r\n${CLOSE}`);

  expect(answer).toMatch(/^HTTP\/1\.1 418 Short and stout\r\n/);
  expect(answer).toContain(
    "Set-Cookie: a=1\r\nX-One: 1\r\nSet-Cookie: b=2\r\nX-Latin: caf\xe9\r\nContent-Length: 3\r\n",
  );
  expect(answer).not.toMatch(/X-Private|timeout=5|Proxy-Authenticate/i);
  expect(answer.endsWith("\r\n\r\ntea")).toBe(true);
});

test.each([
  [
    "HEAD",
    "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
    /^HTTP\/1\.1 200 OK\r\nContent-Length: 1234\r\n/,
  ],
  [
    "GET",
    "HTTP/1.1 204 No Content\r\n\r\n",
    /^HTTP\/1\.1 204 No Content\r\n(?!.*(?:content-length|transfer-encoding))/is,
  ],
  ["GET", 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', /^HTTP\/1\.1 304 Not Modified\r\nETag: "x"\r\n/],
])("%s answered %j has no body", async (method, response, expected) => {
  await using backend = await startRawBackend((socket) => socket.write(response));
  await using sidecar = await startSidecar(backend.url);

  const answer = await sendRaw(sidecar.port, `${method} / HTTP/1.1\r\nHost: a\r\n${CLOSE}`);

  expect(answer).toMatch(expected);
  expect(answer.split("\r\n\r\n")[1]).toBe("");
});

test("an interim response does not end the exchange", async () => {
  await using backend = await startRawBackend((socket) => {
    socket.write(
      "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
  });
  await using sidecar = await startSidecar(backend.url);

  const response = await fetch(sidecar.url);

  expect(response.status).toBe(200);
  expect(await response.text()).toBe("ok");
});

test("an HTTP/1.0 client without Host is served, and its token names the listener", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);

  const answer = await sendRaw(sidecar.port, "GET /a HTTP/1.0\r\n\r\n");

  expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  expect(answer).not.toMatch(/chunked/i);
  const [, payload = ""] = backend.requests[0]?.headers.authorization?.split(".") ?? [];
  expect(JSON.parse(Buffer.from(payload, "base64url").toString()).aud).toBe(`${sidecar.url}/a`);
  expect(backend.requests[0]?.headers).not.toHaveProperty("x-forwarded-host");
});

test("100 Continue is sent once the request goes on, and Expect stays here", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);
  const request = httpRequest(sidecar.url, {
    method: "POST",
    headers: { expect: "100-continue", "content-length": 3 },
  });
  request.flushHeaders();

  await once(request, "continue");
  request.end("abc");
  const [response] = (await once(request, "response")) as [IncomingMessage];

  expect(response.statusCode).toBe(200);
  expect(backend.requests[0]?.body.toString()).toBe("abc");
  expect(backend.requests[0]?.headers).not.toHaveProperty("expect");
});

test("a request that is refused gets no 100 Continue", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, { yaml: "policies: [{name: a, match: {path: /a}}]" });

  const answer = await sendRaw(
    sidecar.port,
    "POST /b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
  );

  expect(answer).toMatch(/^HTTP\/1\.1 404 /);
  expect(backend.requests).toHaveLength(0);
});

test("an HTTP/1.0 client gets no 100 Continue, whatever it expects", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);

  const answer = await sendRaw(
    sidecar.port,
    "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
  );

  expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  expect(backend.requests[0]?.body.toString()).toBe("abc");
});

test("an expectation that is not known is left out, and the request goes on", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);

  const answer = await sendRaw(sidecar.port, `GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n${CLOSE}`);

  expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  expect(backend.requests[0]?.headers).not.toHaveProperty("expect");
});

test("repeated fields come back as they were where the sidecar closes the connection too", async () => {
  await using backend = await startRawBackend((socket) =>
    socket.write(
      "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-One: 1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
    ),
  );
  await using sidecar = await startSidecar(backend.url);

  // Nothing is taken from a connection after a request to upgrade.
  const answer = await sendRaw(
    sidecar.port,
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
  );

  const lines = answer.match(/^(?:set-cookie|x-one|connection): .*$/gim)?.map((line) => line.trim());
  expect(lines).toEqual(["Set-Cookie: a=1", "X-One: 1", "Set-Cookie: b=2", "Connection: close"]);
});

test("100 Continue for a request that was sent ahead never stands within its response", async () => {
  const { promise: second, resolve: secondAnswered } = Promise.withResolvers<void>();
  await using backend = await startBackend(async (request, response) => {
    if (request.url === "/slow") await second;
    response.end(Buffer.from("answer"), () => secondAnswered());
  });
  await using sidecar = await startSidecar(backend.url);

  const answer = await sendRaw(
    sidecar.port,
    "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" +
      `POST /fast HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n${CLOSE}abc`,
  );

  // Its response waited for the one before, so that there was no time for an interim one.
  const [slow, fast] = answer.split(/(?=HTTP\/1\.1 )/);
  expect(statusesOf(answer)).toEqual([200, 200]);
  expect(slow).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\nanswer$/);
  expect(fast).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\nanswer$/);
});
