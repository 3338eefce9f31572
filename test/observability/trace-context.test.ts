import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { connectHttp2, LISTEN_HTTP2 } from "../support/http2-client.ts";
import { startSidecar } from "../support/sidecar.ts";
import { openWebSocket, startWebSocketBackend } from "../support/websocket.ts";

const CONTEXT = {
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03",
  tracestate: "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE",
  baggage: "user=alice;ttl=3, region=eu%2Fwest",
};

/** Nothing that Countersign could read: whether it means something is for the backend to say. */
const UNREADABLE = {
  traceparent: "cc-not-a-trace",
  tracestate: "=,;=",
  baggage: "%%%",
};

describe.each([
  ["a trace context", CONTEXT],
  ["one that cannot be read", UNREADABLE],
])("where traces are off %s goes to the backend byte for byte", (_name, context) => {
  test("over HTTP/1.1", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url);
    await (await fetch(sidecar.url, { headers: context })).text();
    expect(backend.requests[0]?.headers).toMatchObject(context);
  });

  test("over HTTP/2", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, { yaml: LISTEN_HTTP2 });
    using client = await connectHttp2(sidecar.url);
    await client.request({ ":path": "/", ...context });
    expect(backend.requests[0]?.headers).toMatchObject(context);
  });

  test("in the handshake of a WebSocket", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url);
    const socket = await openWebSocket(sidecar.url, { headers: context });
    expect(backend.handshakes[0]?.headers).toMatchObject(context);
    socket.close();
    await once(socket, "close");
  });
});

test("where traces are off a request without a trace context gets none", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);
  await (await fetch(sidecar.url)).text();
  expect(Object.keys(backend.requests[0]?.headers ?? {})).not.toEqual(
    expect.arrayContaining([expect.stringMatching(/^(?:trace|baggage)/)]),
  );
});
