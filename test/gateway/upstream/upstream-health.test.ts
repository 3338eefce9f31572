import { once } from "node:events";
import { createServer as createHttp2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../../src/index.ts";
import { openRoutes } from "../../../src/open-routes.ts";
import type { PolicyEvent } from "../../../src/policy-event.ts";
import { startBackend } from "../../support/backend.ts";
import { startRawBackend } from "../../support/raw-backend.ts";
import { startSidecar } from "../../support/sidecar.ts";

const NOW = 1_000_000;

/** Opens an upstream that is asked how it is each second. */
async function openAsked(url: string, keys = "", healthKeys = "") {
  const yaml = `upstream: {url: "${url}", healthCheck: {path: "/healthz?full", interval: 1s, timeout: 1s${healthKeys}}${keys}}`;
  const { config } = parseConfig(yaml, { file: "sidecar.yaml" });
  const events: PolicyEvent[] = [];
  const opened = await openRoutes(config, { now: () => NOW, onEvent: (event) => events.push(event) });
  return {
    events,
    start: () => opened.startHealthChecks(),
    health: () => opened.upstreamHealth(),
    [Symbol.asyncDispose]: () => opened.close(),
  };
}

test("a backend is unknown until it has answered, and healthy then; its Host is its own", async () => {
  await using backend = await startBackend();
  await using upstream = await openAsked(backend.url);
  expect(upstream.health()).toEqual([{ origin: backend.url, state: "unknown" }]);

  upstream.start();
  await expect.poll(() => upstream.health()).toEqual([{ origin: backend.url, state: "healthy" }]);

  expect(backend.requests[0]).toMatchObject({
    method: "GET",
    url: "/healthz?full",
    headers: { host: new URL(backend.url).host },
  });
  expect(upstream.events).toEqual([]);
});

test.each([200, 204, 302, 399])("a backend that answers %i is healthy", async (status) => {
  await using backend = await startBackend((_request, response) => void response.writeHead(status).end());
  await using upstream = await openAsked(backend.url);
  upstream.start();
  await expect.poll(() => upstream.health()).toEqual([{ origin: backend.url, state: "healthy" }]);
});

test("a backend that falls ill is told of once, and again when it is well", async () => {
  let status = 503;
  await using backend = await startBackend((_request, response) => void response.writeHead(status).end());
  await using upstream = await openAsked(backend.url);
  upstream.start();

  await expect
    .poll(() => upstream.health())
    .toEqual([{ origin: backend.url, state: "unhealthy", reason: "the status is 503", since: NOW }]);
  status = 404;
  await expect
    .poll(() => upstream.health(), { timeout: 4000 })
    .toMatchObject([{ reason: "the status is 404" }]);
  status = 200;
  await expect.poll(() => upstream.health(), { timeout: 4000 }).toMatchObject([{ state: "healthy" }]);

  expect(upstream.events).toEqual([
    {
      key: "upstream",
      kind: "problem",
      message: `${backend.url} is not healthy: GET /healthz?full: the status is 503`,
    },
    { key: "upstream", kind: "recovered", message: `${backend.url} is healthy again` },
  ]);
}, 15_000);

describe("a backend is unhealthy that", () => {
  test("refuses connections", async () => {
    const backend = await startBackend();
    await backend[Symbol.asyncDispose]();
    await using upstream = await openAsked(backend.url);
    upstream.start();
    await expect
      .poll(() => upstream.health())
      .toMatchObject([{ state: "unhealthy", reason: expect.stringContaining("ECONNREFUSED") }]);
  });

  test.each([
    ["does not answer in time", () => {}, "no answer in time"],
    [
      "sends no HTTP",
      (socket: import("node:net").Socket) => socket.write("hello\r\n\r\n"),
      "HTTP/1.1 protocol",
    ],
  ])("%s", async (_what, answer, reason) => {
    await using backend = await startRawBackend(answer as never);
    await using upstream = await openAsked(backend.url);
    upstream.start();
    await expect
      .poll(() => upstream.health(), { timeout: 4000 })
      .toMatchObject([{ state: "unhealthy", reason: expect.stringContaining(reason) }]);
  });
});

test("a backend whose connections are all in use is asked all the same", async () => {
  let checks = 0;
  await using backend = await startBackend(({ url }, response) => {
    if (url !== "/healthz?full") return;
    checks += 1;
    response.end();
  });
  await using sidecar = await startSidecar("", {
    yaml: `upstream: {url: "${backend.url}", connections: 1, healthCheck: {path: "/healthz?full", interval: 1s}}`,
  });
  const held = fetch(sidecar.url).catch(() => {});

  await expect.poll(() => checks, { timeout: 5000 }).toBeGreaterThan(1);

  await backend[Symbol.asyncDispose]();
  await held;
});

test("a backend that speaks HTTP/2 with prior knowledge is asked in HTTP/2", async () => {
  const server = createHttp2Server((_request, response) => void response.end());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await using upstream = await openAsked(url, ", http2: true");
  upstream.start();
  await expect.poll(() => upstream.health()).toMatchObject([{ state: "healthy" }]);
  server.close();
});

test("nobody is asked before that is begun, nor after the end", async () => {
  await using backend = await startBackend();
  {
    await using upstream = await openAsked(backend.url);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(backend.requests).toEqual([]);
    upstream.start();
    await expect.poll(() => backend.requests.length).toBe(1);
  }
  await new Promise((resolve) => setTimeout(resolve, 1300));
  expect(backend.requests).toHaveLength(1);
});

test("an upstream without healthCheck has no health", async () => {
  const { config } = parseConfig("upstream: http://127.0.0.1:9", { file: "sidecar.yaml" });
  const opened = await openRoutes(config, { now: () => NOW, onEvent: () => {} });
  opened.startHealthChecks();
  expect(opened.upstreamHealth()).toEqual([]);
  await opened.close();
});
