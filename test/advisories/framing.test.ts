import { describe, expect, test } from "vitest";
import { sendRaw } from "../support/raw-client.ts";
import { startRig } from "./support.ts";

/** What an attacker hopes that the backend takes for a request of its own. */
const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

describe("a message whose end is in doubt is refused, and the connection closed (RFC 9112 §6)", () => {
  test.each([
    [
      "Content-Length and Transfer-Encoding",
      "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    [
      "Transfer-Encoding and Content-Length",
      "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ],
    ["two codings, chunked not the last", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"],
    ["a coding beside chunked", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
    [
      "a coding on a line of its own",
      "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ["a Content-Length beyond all integers", "Content-Length: 9007199254740993\r\n\r\nabcd"],
    ["an unknown coding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"],
    ["two Content-Lengths", "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd"],
    ["a list of Content-Lengths", "Content-Length: 4, 5\r\n\r\nabcd"],
    ["a signed Content-Length", "Content-Length: +4\r\n\r\nabcd"],
    ["a space before the colon", "Content-Length : 4\r\n\r\nabcd"],
    ["a folded line", "X-A: 1\r\n Content-Length: 4\r\n\r\nabcd"],
    ["a bare line feed", "X-A: 1\nX-B: 2\r\nContent-Length: 4\r\n\r\nabcd"],
    ["a bare carriage return", "X-A: 1\rX-B: 2\r\nContent-Length: 4\r\n\r\nabcd"],
    ["a NUL in a value", "X-A: \x00\r\nContent-Length: 4\r\n\r\nabcd"],
    ["a chunk size that is no number", "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"],
    ["a negative chunk size", "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n"],
    ["a chunk longer than its size", "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n"],
    ["a bare line feed after a chunk size", "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"],
  ])("%s", async (_, message) => {
    await using rig = await startRig();

    // It returns only when the connection has closed.
    const statuses = await rig.send(`POST / HTTP/1.1\r\nHost: a\r\n${message}${SMUGGLED}`);

    expect(statuses).toEqual([400]);
    expect(rig.backend.received()).not.toContain("smuggled");
  });
});

test("chunk extensions are not passed on", async () => {
  await using rig = await startRig();

  await rig.send(
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
  );

  await rig.expectForwarded("POST / HTTP/1.1");
  expect(rig.backend.received()).not.toContain("x=y");
});

describe("a body is framed for every method (CVE-2026-29057)", () => {
  test.each(["DELETE", "GET", "OPTIONS", "HEAD"])("chunked %s", async (method) => {
    await using rig = await startRig();
    const body = SMUGGLED;

    await rig.send(
      `${method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n` +
        `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
    );

    const received = rig.backend.received();
    expect(received).toMatch(/^transfer-encoding: chunked\r$/im);
    expect(received).toContain(`\r\n\r\n${body.length.toString(16)}\r\n${body}`);
  });
});

test("a Content-Length in another spelling is not passed on", async () => {
  await using rig = await startRig();

  await rig.send(
    "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 100\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
  );

  await rig.expectForwarded("POST / HTTP/1.1");
  // Ids and tokens may have the same digits.
  expect(rig.backend.received()).not.toMatch(/: *100\r\n/);
});

test.each([
  ["GET /\r\n\r\n", 505],
  ["GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505],
  ["GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505],
  ["GET / HTTP/1.1\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost:\r\n\r\n", 400],
  ["hello\r\n\r\n", 400],
  ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400],
])("%j is answered %i and not forwarded", async (bytes, status) => {
  await using rig = await startRig();

  expect(await rig.send(bytes)).toEqual([status]);

  expect(rig.backend.received()).toBe("");
});

test("more field lines than 200 are answered 431, whatever the last one says", async () => {
  await using rig = await startRig();
  const lines = "a: 1\r\n".repeat(2100);

  const many = await rig.send(`GET / HTTP/1.1\r\nHost: a\r\n${lines}X-Service-Token: forged\r\n\r\n`);
  const some = await rig.send(
    `GET / HTTP/1.1\r\nHost: a\r\n${"a: 1\r\n".repeat(198)}Connection: close\r\n\r\n`,
  );

  expect(many).toEqual([431]);
  expect(some).toEqual([200]);
  await rig.expectForwarded("GET / HTTP/1.1");
});

test("fields larger than 16 KiB are answered 431", async () => {
  await using rig = await startRig();

  const answer = await sendRaw(
    rig.sidecar.port,
    `GET / HTTP/1.1\r\nHost: a\r\nX-A: ${"a".repeat(17_000)}\r\n\r\n`,
  );

  expect(answer).toMatch(/^HTTP\/1\.1 431 /);
  expect(answer).toContain('"code":"ERR_FIELDS_TOO_LARGE"');
  expect(rig.backend.received()).toBe("");
});

test("Transfer-Encoding in an HTTP/1.0 request is refused, and the connection closed (RFC 9112 §6.1)", async () => {
  await using rig = await startRig();

  const statuses = await rig.send(
    `POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  );

  expect(statuses).toEqual([400]);
  expect(rig.backend.received()).toBe("");
});

test("several spaces between method and target go on as one (RFC 9112 §3)", async () => {
  await using rig = await startRig();

  expect(await rig.send("GET   /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).toEqual([200]);

  expect(rig.backend.requestLines()).toEqual(["GET /open HTTP/1.1"]);
});

test("TRACE does not show a token to who asks for it", async () => {
  await using rig = await startRig();

  expect(await rig.send("TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).toEqual([405]);
  expect(await rig.send("TRACE /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).toEqual([200]);

  expect(rig.backend.requestLines()).toEqual(["TRACE /open HTTP/1.1"]);
});
