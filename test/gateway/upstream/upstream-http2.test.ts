import { once } from "node:events";
import { request as httpRequest } from "node:http";
import {
  constants,
  createSecureServer,
  createServer,
  type Http2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { startBackend } from "../../support/backend.ts";
import { createCa, issueForServer, writeTlsFiles } from "../../support/certificates.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { sendRaw, statusesOf } from "../../support/raw-client.ts";
import { startSidecar } from "../../support/sidecar.ts";

const ca = await createCa();
const own = await issueForServer(ca);
const folder = temporaryFolder();
writeTlsFiles(folder.path, own, ca);

afterAll(() => folder[Symbol.dispose]());

type OnStream = (stream: ServerHttp2Stream, headers: Record<string, unknown>, raw: string[]) => void;

/** A backend that speaks HTTP/2 and nothing else. */
async function startHttp2Backend(onStream: OnStream, { tls = false, settings = {} } = {}) {
  const sessions: Http2Session[] = [];
  const server = tls
    ? createSecureServer({ cert: own.cert, key: own.key, settings })
    : createServer({ settings });
  server.on("session", (session) => {
    sessions.push(session);
    session.on("error", () => {});
  });
  server.on("stream", (stream, headers, _flags, raw) => {
    stream.on("error", () => {});
    onStream(stream as ServerHttp2Stream, headers as never, raw as never);
  });
  const port = await listen(server);
  return {
    url: `http${tls ? "s" : ""}://127.0.0.1:${port}`,
    sessions,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

function startWith(url: string, keys: object = {}) {
  const tls = url.startsWith("https") ? { tls: { ca: `${folder.path}/ca.crt` } } : {};
  return startSidecar("", { yaml: stringify({ upstream: { url, http2: true, ...tls, ...keys } }) });
}

describe.each([
  ["with prior knowledge", false],
  ["by ALPN", true],
])("an HTTP/2 upstream, %s,", (_how, tls) => {
  test("gets the request with its pseudo fields, and none that is about a connection", async () => {
    const seen: string[][] = [];
    await using backend = await startHttp2Backend(
      (stream, _headers, raw) => {
        seen.push(raw);
        stream.respond({ ":status": 200 });
        stream.end("ok");
      },
      { tls },
    );
    await using sidecar = await startWith(backend.url);

    await sendRaw(
      sidecar.port,
      "GET /a-b?c HTTP/1.1\r\nHost: api.example.com\r\nX-One: 1\r\nx-one: 2\r\nTE: trailers\r\nKeep-Alive: 5\r\nContent-Type: a\r\ncontent-type: b\r\nConnection: close, te\r\n\r\n",
    );

    const [raw = []] = seen;
    const lines = raw.flatMap((name, index) => (index % 2 ? [] : [`${name}: ${raw[index + 1]}`]));
    expect(lines.slice(0, 4)).toEqual([
      ":method: GET",
      `:scheme: ${tls ? "https" : "http"}`,
      ":authority: api.example.com",
      ":path: /a-b?c",
    ]);
    expect(lines).toEqual(expect.arrayContaining(["x-one: 1", "x-one: 2", "te: trailers"]));
    expect(lines.filter((line) => /^(?:host|connection|keep-alive|transfer-encoding)/.test(line))).toEqual(
      [],
    );
    expect(lines.filter((line) => line.startsWith("authorization: Bearer "))).toHaveLength(1);
  });

  test("carries many requests at once on one connection", async () => {
    const held: ServerHttp2Stream[] = [];
    await using backend = await startHttp2Backend(
      (stream) => {
        held.push(stream);
        // None is answered before all have come.
        if (held.length < 50) return;
        for (const each of held) {
          each.respond({ ":status": 200 });
          each.end("ok");
        }
      },
      { tls },
    );
    await using sidecar = await startWith(backend.url);

    const answers = await Promise.all(Array.from({ length: 50 }, () => fetch(sidecar.url)));

    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(backend.sessions).toHaveLength(1);
  });

  test("answers with repeated fields, and a body both ways", async () => {
    await using backend = await startHttp2Backend(
      (stream) => {
        stream.respond([
          ":status",
          "418",
          "set-cookie",
          "a=1",
          "x-one",
          "1",
          "set-cookie",
          "b=2",
          "x-one",
          "2",
        ]);
        stream.pipe(stream);
      },
      { tls },
    );
    await using sidecar = await startWith(backend.url);

    const answer = await sendRaw(
      sidecar.port,
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );

    expect(answer).toMatch(/^HTTP\/1\.1 418 I'm a Teapot\r\n/);
    expect(answer).toContain("set-cookie: a=1\r\nx-one: 1\r\nset-cookie: b=2\r\nx-one: 2\r\n");
    expect(answer).toContain("3\r\nabc\r\n0\r\n\r\n");
  });
});

test("no more streams are open at once than the backend takes, and the others wait", async () => {
  let open = 0;
  let most = 0;
  await using backend = await startHttp2Backend(
    (stream) => {
      open += 1;
      most = Math.max(most, open);
      setTimeout(() => {
        open -= 1;
        stream.respond({ ":status": 200 });
        stream.end();
      }, 20);
    },
    { settings: { maxConcurrentStreams: 3 } },
  );
  await using sidecar = await startWith(backend.url, { connections: 2 });

  // Before its first answer a backend has not said how many it takes.
  await fetch(sidecar.url);
  const answers = await Promise.all(Array.from({ length: 40 }, () => fetch(sidecar.url)));

  expect(answers.map(({ status }) => status)).toEqual(Array(40).fill(200));
  expect(most).toBeLessThanOrEqual(6);
  expect(backend.sessions).toHaveLength(2);
});

test("a backend that chooses HTTP/1.1 in the handshake is spoken to in HTTP/1.1", async () => {
  let connections = 0;
  const versions = new Set<string>();
  const server = createTlsServer(
    { cert: own.cert, key: own.key, ALPNProtocols: ["http/1.1"] },
    (request, response) => {
      versions.add(request.httpVersion);
      response.end("ok");
    },
  );
  server.on("connection", () => {
    connections += 1;
  });
  const port = await listen(server);
  await using sidecar = await startWith(`https://127.0.0.1:${port}`, { connections: 2 });

  for (let i = 0; i < 10; i++) expect(await (await fetch(sidecar.url)).text()).toBe("ok");
  const answers = await Promise.all(Array.from({ length: 20 }, () => fetch(sidecar.url)));

  expect(answers.every(({ status }) => status === 200)).toBe(true);
  expect([...versions]).toEqual(["1.1"]);
  // One that was asked for HTTP/2, and two in the pool.
  expect(connections).toBeLessThanOrEqual(3);
  server.close();
  server.closeAllConnections();
});

describe("a stream that the backend refuses (RFC 9113 §8.7)", () => {
  test.each([
    ["GET", "GET / HTTP/1.1\r\n"],
    ["POST without a body", "POST / HTTP/1.1\r\nContent-Length: 0\r\n"],
  ])("is tried once more: %s", async (_name, head) => {
    let streams = 0;
    await using backend = await startHttp2Backend((stream) => {
      streams += 1;
      if (streams === 1) return stream.close(constants.NGHTTP2_REFUSED_STREAM);
      stream.respond({ ":status": 200 });
      stream.end();
    });
    await using sidecar = await startWith(backend.url);

    const answer = await sendRaw(sidecar.port, `${head}Host: a\r\nConnection: close\r\n\r\n`);

    expect(statusesOf(answer)).toEqual([200]);
    expect(streams).toBe(2);
  });

  test.each([
    ["a second time", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 2],
    [
      "after a byte of the body was read",
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
      1,
    ],
  ])("is answered for with 502 %s", async (_name, request, expected) => {
    let streams = 0;
    await using backend = await startHttp2Backend((stream) => {
      streams += 1;
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
    });
    await using sidecar = await startWith(backend.url);

    expect(statusesOf(await sendRaw(sidecar.port, request))).toEqual([502]);
    expect(streams).toBe(expected);
  });
});

test("streams that are refused are tried again on no more connections than upstream.connections", async () => {
  let open = 0;
  await using backend = await startHttp2Backend(
    async (stream) => {
      open += 1;
      stream.once("close", () => {
        open -= 1;
      });
      if (open > 1) return stream.close(constants.NGHTTP2_REFUSED_STREAM);
      await setImmediate();
      stream.respond({ ":status": 200 });
      stream.end();
    },
    { settings: { maxConcurrentStreams: 1 } },
  );
  await using sidecar = await startWith(backend.url, { connections: 1 });

  const statuses = await Promise.all(
    Array.from({ length: 10 }, async () => (await fetch(sidecar.url)).status),
  );

  expect(new Set(statuses)).toEqual(new Set([200]));
  expect(backend.sessions).toHaveLength(1);
});

test("a backend that says GOAWAY loses no request: those under way end, and others go on a new connection", async () => {
  const streams = new Map<unknown, number>();
  await using backend = await startHttp2Backend((stream) => {
    const count = (streams.get(stream.session) ?? 0) + 1;
    streams.set(stream.session, count);
    // Behind all that are sent once more: there are ten clients, and nothing is sent twice more.
    if (count === 25) stream.session?.goaway();
    setTimeout(() => {
      // Those that the backend has not heard of when it says so are sent once more.
      if (stream.destroyed) return;
      stream.respond({ ":status": 200 });
      stream.end("ok");
    }, 5);
  });
  await using sidecar = await startWith(backend.url);
  const statuses: number[] = [];
  const ask = async () => {
    for (let i = 0; i < 20; i++) statuses.push((await fetch(sidecar.url)).status);
  };

  await Promise.all(Array.from({ length: 10 }, ask));

  expect(new Set(statuses)).toEqual(new Set([200]));
  expect(statuses).toHaveLength(200);
  expect(backend.sessions.length).toBeGreaterThan(5);
});

describe.concurrent("a response that an HTTP/2 backend cuts is never a clean end", () => {
  test.each([
    ["NO_ERROR", constants.NGHTTP2_NO_ERROR],
    ["INTERNAL_ERROR", constants.NGHTTP2_INTERNAL_ERROR],
    ["CANCEL", constants.NGHTTP2_CANCEL],
  ])("by a reset with %s", async (_name, code) => {
    await using backend = await startHttp2Backend((stream) => {
      stream.respond({ ":status": 200 });
      stream.write("half", () => reset(stream, code));
    });
    await using sidecar = await startWith(backend.url);

    const response = await fetch(sidecar.url);

    await expect(response.text()).rejects.toThrow();
    expect(sidecar.failures).toMatchObject([{ code: "ERR_UPSTREAM_BROKEN" }]);
  });

  test("by the end of the connection", async () => {
    await using backend = await startHttp2Backend((stream) => {
      stream.respond({ ":status": 200 });
      stream.write("half", () => setTimeout(() => stream.session?.destroy(), 20));
    });
    await using sidecar = await startWith(backend.url);

    const response = await fetch(sidecar.url);

    await expect(response.text()).rejects.toThrow();
  });

  test("by its silence", async () => {
    await using backend = await startHttp2Backend((stream) => {
      stream.respond({ ":status": 200 });
      stream.write("half");
    });
    await using sidecar = await startWith(backend.url, { timeouts: { body: "1s" } });

    const response = await fetch(sidecar.url);

    await expect(response.text()).rejects.toThrow();
    expect(sidecar.failures).toMatchObject([{ code: "ERR_UPSTREAM_TIMEOUT" }]);
  });
});

/** Sends nothing but RST_STREAM: Node.js itself would end the stream first. */
function reset(stream: ServerHttp2Stream, code: number): void {
  setTimeout(() => {
    const handle = Object.getOwnPropertySymbols(stream)
      .filter((symbol) => symbol.description === "kHandle")
      .map((symbol) => (stream as never)[symbol] as { rstStream(code: number): void })[0];
    handle?.rstStream(code);
  }, 20);
}

test.concurrent("an HTTP/2 backend that does not answer in time is answered for with 504, and its connection is not used again", async () => {
  await using backend = await startHttp2Backend((stream, headers) => {
    if (headers[":path"] === "/never") return;
    stream.respond({ ":status": 200 });
    stream.end();
  });
  await using sidecar = await startWith(backend.url, { timeouts: { headers: "1s" } });

  expect((await fetch(`${sidecar.url}/never`)).status).toBe(504);
  expect((await fetch(sidecar.url)).status).toBe(200);

  expect(backend.sessions).toHaveLength(2);
});

test.concurrent.each([
  ["a body that came whole", "Content-Length: 1000", "x".repeat(1000)],
  ["a part of a larger one", "Content-Length: 1000000", "x".repeat(100_000)],
])("an HTTP/2 backend that takes nothing of %s is answered for with 504", async (_, length, bytes) => {
  await using backend = await startHttp2Backend(
    (stream, headers) => {
      if (headers[":method"] === "GET") stream.respond({ ":status": 204 }, { endStream: true });
    },
    { settings: { initialWindowSize: 0 } },
  );
  await using sidecar = await startWith(backend.url, { timeouts: { headers: "1s" } });
  // By now it is known how little the backend takes.
  expect((await fetch(sidecar.url)).status).toBe(204);

  const answer = await sendRaw(
    sidecar.port,
    `POST / HTTP/1.1\r\nHost: a\r\n${length}\r\nConnection: close\r\n\r\n${bytes}`,
  );

  expect(statusesOf(answer)).toEqual([504]);
});

test.concurrent("a client may send its body for longer than timeouts.headers of the upstream", async () => {
  await using backend = await startHttp2Backend((stream) => {
    stream.resume().on("end", () => stream.respond({ ":status": 204 }, { endStream: true }));
  });
  await using sidecar = await startWith(backend.url, { timeouts: { headers: "1s" } });
  const client = httpRequest(sidecar.url, { method: "POST", headers: { "transfer-encoding": "chunked" } });
  client.write("x".repeat(100_000));
  await sleep(1500);
  client.end();

  expect((await once(client, "response"))[0].statusCode).toBe(204);
});

test.concurrent("an event stream may be silent for longer than timeouts.body, as over HTTP/1.1", async () => {
  await using backend = await startHttp2Backend((stream) => {
    stream.respond({ ":status": 200, "content-type": "text/event-stream" });
    stream.write("data: 1\n\n");
    setTimeout(() => stream.end("data: 2\n\n"), 2500);
  });
  const upstream = { url: backend.url, http2: true, timeouts: { body: "1s" } };
  await using sidecar = await startSidecar(backend.url, { yaml: stringify({ upstream }) });

  expect(await (await fetch(sidecar.url)).text()).toBe("data: 1\n\ndata: 2\n\n");
});

test("an HTTP/2 backend never takes half an upload for the whole", async () => {
  const { promise: ended, resolve } = Promise.withResolvers<string>();
  await using backend = await startHttp2Backend((stream) => {
    stream.on("data", () => client.destroy());
    stream.on("end", () => resolve("a clean end"));
    stream.on("aborted", () => resolve(`reset: ${stream.rstCode}`));
  });
  await using sidecar = await startWith(backend.url);
  const client = httpRequest(sidecar.url, { method: "POST", headers: { "transfer-encoding": "chunked" } });
  client.on("error", () => {});
  client.write("half");

  expect(await ended).toBe(`reset: ${constants.NGHTTP2_CANCEL}`);
  expect(sidecar.failures).toEqual([]);
});

test("a client that goes away ends the stream of its request, and no other", async () => {
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  await using backend = await startHttp2Backend((stream, headers) => {
    if (headers[":path"] === "/left") {
      stream.on("close", () => resolve());
      setTimeout(() => left.destroy(), 50);
    } else
      setTimeout(() => {
        stream.respond({ ":status": 200 });
        stream.end("ok");
      }, 300);
  });
  await using sidecar = await startWith(backend.url);
  const other = fetch(sidecar.url);
  const left = httpRequest(`${sidecar.url}/left`);
  left.on("error", () => {});
  left.end();

  await ended;

  expect(await (await other).text()).toBe("ok");
  expect(backend.sessions).toHaveLength(1);
});

test("an answer before the end of the upload is relayed", async () => {
  await using backend = await startHttp2Backend((stream) => {
    stream.respond({ ":status": 413 });
    stream.end("too large");
  });
  await using sidecar = await startWith(backend.url);
  const client = httpRequest(sidecar.url, { method: "POST", headers: { "content-length": 50_000_000 } });
  client.on("error", () => {});
  client.write(Buffer.alloc(100_000));

  const [response] = await once(client, "response");

  expect(response.statusCode).toBe(413);
  expect(Buffer.concat(await response.toArray()).toString()).toBe("too large");
});

test("a backend that does not speak HTTP/2 with prior knowledge is answered for with 502", async () => {
  await using backend = await startBackend();
  await using sidecar = await startWith(backend.url);

  expect((await fetch(sidecar.url)).status).toBe(502);
  expect(sidecar.failures).toMatchObject([{ code: "ERR_UPSTREAM_BROKEN" }]);
});
