import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { startBackend } from "../../support/backend.ts";
import { startRawBackend } from "../../support/raw-backend.ts";
import { startSidecar } from "../../support/sidecar.ts";

/** A backend that answers when it is told to. */
async function startPatientBackend() {
  const held: { readonly url: string; readonly response: ServerResponse }[] = [];
  const backend = await startBackend(({ url = "" }, response) => void held.push({ url, response }));
  return {
    ...backend,
    held,
    answer() {
      held.shift()?.response.end("ok");
    },
  };
}

function startWith(url: string, keys: string) {
  return startSidecar("", { yaml: `upstream: {url: "${url}", ${keys}}` });
}

describe("an upstream with as many requests as connections", () => {
  test("has the next ones wait, and sends them in order", async () => {
    await using backend = await startPatientBackend();
    await using sidecar = await startWith(backend.url, "connections: 1, pending: 2");
    const answers = [];
    for (const path of ["/1", "/2", "/3"]) {
      answers.push(fetch(sidecar.url + path));
      // One after another, so that their order is known.
      await expect.poll(() => backend.held.length).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const seen: string[] = [];
    for (let i = 0; i < 3; i++) {
      await expect.poll(() => backend.held.length).toBe(1);
      seen.push(backend.held[0]?.url ?? "");
      backend.answer();
    }

    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(seen).toEqual(["/1", "/2", "/3"]);
  });

  test("refuses those above pending at once with 503 and Retry-After, and the issuer still answers", async () => {
    await using backend = await startPatientBackend();
    await using sidecar = await startWith(backend.url, "connections: 1, pending: 1");
    const first = fetch(sidecar.url);
    await expect.poll(() => backend.held.length).toBe(1);
    const second = fetch(sidecar.url);
    await new Promise((resolve) => setTimeout(resolve, 100));

    const third = await fetch(sidecar.url, { method: "POST", body: "x".repeat(1000) });

    expect(third.status).toBe(503);
    expect(third.headers.get("retry-after")).toBe("1");
    expect(await third.json()).toMatchObject({ code: "ERR_OVERLOADED" });
    expect((await fetch(`${sidecar.url}/__issuer/.well-known/jwks.json`)).status).toBe(200);
    expect(sidecar.failures).toMatchObject([{ code: "ERR_OVERLOADED" }]);
    backend.answer();
    expect((await first).status).toBe(200);
    await expect.poll(() => backend.held.length).toBe(1);
    backend.answer();
    expect((await second).status).toBe(200);
  });

  test("lets none wait where pending is 0", async () => {
    await using backend = await startPatientBackend();
    await using sidecar = await startWith(backend.url, "connections: 1, pending: 0");
    const first = fetch(sidecar.url);
    await expect.poll(() => backend.held.length).toBe(1);

    const refused = await fetch(sidecar.url);
    expect(refused.status).toBe(503);
    // The next request on the same connection may be luckier.
    expect(refused.headers.get("connection")).toBe("keep-alive");

    backend.answer();
    expect((await first).status).toBe(200);
    const next = fetch(sidecar.url);
    await expect.poll(() => backend.held.length).toBe(1);
    backend.answer();
    expect((await next).status).toBe(200);
  });

  test("refuses with 503 what has waited longer than timeouts.pending", async () => {
    await using backend = await startPatientBackend();
    await using sidecar = await startWith(backend.url, "connections: 1, timeouts: {pending: 1s}");
    const first = fetch(sidecar.url);
    await expect.poll(() => backend.held.length).toBe(1);
    const began = performance.now();

    const second = await fetch(sidecar.url);

    expect(second.status).toBe(503);
    expect(second.headers.get("retry-after")).toBe("1");
    expect(await second.json()).toMatchObject({ code: "ERR_OVERLOADED" });
    expect(performance.now() - began).toBeGreaterThan(1000);
    backend.answer();
    expect((await first).status).toBe(200);
    // It is never sent.
    expect(backend.held).toEqual([]);
  });

  test("forgets a request whose client has left while it waited, and keeps its connection", async () => {
    await using backend = await startPatientBackend();
    await using sidecar = await startWith(backend.url, "connections: 1");
    const first = fetch(sidecar.url);
    await expect.poll(() => backend.held.length).toBe(1);
    const socket = backend.held[0]?.response.socket;
    const client = connect(sidecar.port, "127.0.0.1");
    client.write("GET /left HTTP/1.1\r\nHost: a\r\n\r\n");
    await new Promise((resolve) => setTimeout(resolve, 100));
    client.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const third = fetch(`${sidecar.url}/third`);
    await new Promise((resolve) => setTimeout(resolve, 100));

    backend.answer();
    expect((await first).status).toBe(200);
    await expect.poll(() => backend.held.length).toBe(1);

    expect(backend.held[0]?.url).toBe("/third");
    expect(backend.held[0]?.response.socket).toBe(socket);
    backend.answer();
    expect((await third).status).toBe(200);
    expect(sidecar.failures).toEqual([]);
  });
});

test.concurrent("a slot is free again after each way in which a request can end", async () => {
  let round = 0;
  await using backend = await startRawBackend((socket) => {
    round += 1;
    if (round % 4 === 0) socket.resetAndDestroy();
    else if (round % 4 === 1) socket.end("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfifty");
    else if (round % 4 === 2) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    else socket.write("nonsense\r\n\r\n");
  });
  await using sidecar = await startWith(backend.url, "connections: 1, pending: 0");

  for (let i = 0; i < 12; i++) {
    const status = await fetch(sidecar.url, { method: "POST" })
      .then(async (response) => {
        await response.text();
        return response.status;
      })
      .catch(() => "cut");
    expect([200, 502, "cut"]).toContain(status);
  }

  expect(backend.requestLines()).toHaveLength(12);
});

test.concurrent("a client that takes no byte of a response for timeouts.send is cut off, and the backend with it", async () => {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  await using backend = await startBackend((_request, response) => {
    response.on("close", resolve);
    const more = () => {
      while (response.write(Buffer.alloc(65_536)));
    };
    response.on("drain", more);
    more();
  });
  await using sidecar = await startSidecar(backend.url, { yaml: "timeouts: {send: 1s}" });
  const client = connect(sidecar.port, "127.0.0.1");
  client.on("error", () => {});
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await once(client, "readable");
  const began = performance.now();

  await closed;

  expect(performance.now() - began).toBeGreaterThan(900);
  expect(sidecar.failures).toEqual([]);
  client.destroy();
}, 15_000);

test.concurrent("a client that takes a long response slowly, but takes it, gets it whole", async () => {
  await using backend = await startBackend((_request, response) => {
    response.end(Buffer.alloc(24_000_000));
  });
  await using sidecar = await startSidecar(backend.url, { yaml: "timeouts: {send: 1s}" });
  const client = connect(sidecar.port, "127.0.0.1");
  client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  let size = 0;
  client.on("data", (data) => {
    size += data.length;
    // Never for as long as timeouts.send.
    client.pause();
    setTimeout(() => client.resume(), size < 20_000_000 ? 12 : 0);
  });

  await once(client, "close");

  expect(size).toBeGreaterThan(24_000_000);
}, 20_000);

test.concurrent("Accept: text/event-stream alone does not lift timeouts.body", async () => {
  await using backend = await startRawBackend((socket) =>
    socket.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nfifty"),
  );
  await using sidecar = await startWith(backend.url, "timeouts: {body: 1s}");

  const response = await fetch(sidecar.url, { headers: { accept: "text/event-stream" } });

  await expect(response.text()).rejects.toThrow();
  expect(sidecar.failures).toMatchObject([{ code: "ERR_UPSTREAM_TIMEOUT" }]);
});

test.concurrent("a response of the type text/event-stream lifts it, whatever was asked for", async () => {
  await using backend = await startBackend((_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    response.write("data: 1\n\n");
    setTimeout(() => response.end("data: 2\n\n"), 2500);
  });
  await using sidecar = await startWith(backend.url, "timeouts: {body: 1s}");

  expect(await (await fetch(sidecar.url)).text()).toBe("data: 1\n\ndata: 2\n\n");
});
