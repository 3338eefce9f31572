import { describe, expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startRawBackend } from "../support/raw-backend.ts";
import { sendRaw } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

test("an error is problem+json with code and requestId, and is not cached", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, { yaml: "policies: [{name: a, match: {path: /a}}]" });

  const response = await fetch(`${sidecar.url}/b`, { headers: { "x-request-id": "my-id" } });

  expect(response.status).toBe(404);
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  expect(response.headers.get("cache-control")).toBe("no-store");
  expect(await response.json()).toEqual({
    title: "Not Found",
    status: 404,
    detail: "no policy matches this request",
    code: "ERR_NO_POLICY",
    requestId: "my-id",
  });
  expect(backend.requests).toEqual([]);
});

test("a refused request without a body leaves its connection open, one with an unread body closes it", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, { yaml: "policies: [{name: a, match: {path: /a}}]" });

  const kept = await sendRaw(
    sidecar.port,
    "GET /b HTTP/1.1\r\nHost: a\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
  );
  const closed = await sendRaw(sidecar.port, "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");

  expect(kept.match(/^HTTP\/1\.1 404/gm)).toHaveLength(2);
  expect(closed).toMatch(/^HTTP\/1\.1 404 [\s\S]*connection: close\r\n/i);
});

describe("a problem never names the upstream, and the log does", () => {
  test.each([
    ["refused", 502, undefined],
    ["broken", 502, "hello\r\n\r\n"],
    ["too slow", 504, ""],
  ])("%s", async (_, status, answer) => {
    await using backend = await startRawBackend((socket) => socket.write(answer ?? ""));
    const { port } = backend;
    if (answer === undefined) await backend[Symbol.asyncDispose]();
    await using sidecar = await startSidecar("", {
      yaml: `upstream: {url: "http://127.0.0.1:${port}", timeouts: {headers: 1s}}`,
    });

    const response = await fetch(sidecar.url);

    expect(response.status).toBe(status);
    expect(await response.text()).not.toMatch(new RegExp(`${port}|127\\.0\\.0\\.1`));
    expect(sidecar.failures).toHaveLength(1);
  });
});
