import { connect, type Socket } from "node:net";
import { describe, expect, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startRawBackend } from "../support/raw-backend.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

/** A client that never closes its side. Once the other has, it goes on sending, and so learns when nobody is there any more. */
function stubbornClient(port: number, ...segments: readonly string[]): Socket {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("error", () => {});
  socket.resume();
  socket.once("end", () => {
    const sending = setInterval(() => socket.write("\r\n"), 100);
    socket.once("close", () => clearInterval(sending));
  });
  for (const [index, segment] of segments.entries())
    setTimeout(() => socket.write(segment, "latin1"), index * 200);
  return socket;
}

/** A client that keeps what it gets. */
function receivingClient(port: number) {
  let text = "";
  const client = connect(port, "127.0.0.1");
  client.on("error", () => {});
  client.on("data", (data) => {
    text += data.toString();
  });
  return { client, received: () => text };
}

/** Waits for the end of a connection, by whatever way. */
async function closed(socket: Socket): Promise<void> {
  await new Promise((resolve) => socket.once("close", resolve));
}

const HOST = "Host: a\r\n";

describe.concurrent("bytes after a request to upgrade are never taken for another request", () => {
  const upgrade = `GET /upgrade HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;
  const post = `POST /post HTTP/1.1\r\n${HOST}Content-Length: 38\r\n\r\n`;
  const smuggled = `GET /smuggled HTTP/1.1\r\n${HOST}\r\n`;

  test.each([
    ["in the same segment", [upgrade + post + smuggled]],
    ["in the next segment", [upgrade + post, smuggled]],
    ["in two further segments", [upgrade, post, smuggled]],
    [
      "behind a body",
      [`${upgrade.replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\n")}abc${post}`, smuggled],
    ],
  ])("%s", async (_, segments) => {
    await using backend = await startRawBackend();
    await using sidecar = await startSidecar(backend.url);

    await closed(stubbornClient(sidecar.port, ...segments));

    expect(backend.requestLines().filter((line) => !line.includes("/upgrade"))).toEqual([]);
  });
});

describe.concurrent("a connection that was answered with an error is closed, whatever its client does", () => {
  test.each([
    ["a broken request", "hello\r\n\r\n"],
    ["CONNECT", `CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`],
    ["a request that does not arrive in time", `GET / HTTP/1.1\r\n${HOST}`],
    ["a body that does not arrive in time", `POST / HTTP/1.1\r\n${HOST}Content-Length: 9\r\n\r\nx`],
  ])("%s", async (_, bytes) => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    await using backend = await startBackend((request) => void request.on("close", () => release()));
    await using sidecar = await startSidecar(backend.url, { yaml: "timeouts: {headers: 1s, request: 1s}" });
    const client = stubbornClient(sidecar.port, bytes);

    await closed(client);

    if (bytes.startsWith("POST")) await released;
  });
});

test.concurrent.each([
  ["garbage", "garbage\r\n\r\n"],
  ["CONNECT", `CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`],
])("%s behind a request does not get that request's answer, nor keep it back", async (_, broken) => {
  const { promise: arrived, resolve: requestArrived } = Promise.withResolvers<() => void>();
  await using backend = await startBackend((_request, response) =>
    requestArrived(() => response.end("paid")),
  );
  await using sidecar = await startSidecar(backend.url);
  const { client, received } = receivingClient(sidecar.port);
  client.write(`POST /pay HTTP/1.1\r\n${HOST}Content-Length: 1\r\n\r\nx`);
  const answer = await arrived;

  client.write(broken);
  setTimeout(answer, 100);
  await closed(client);

  expect(statusesOf(received())).toEqual([200]);
  expect(received()).toContain("paid");
});

test.concurrent.each([
  "Proxy-Connection: keep-alive",
  "Connection: close, keep-alive",
  "Connection: close\r\nProxy-Connection: keep-alive",
])("behind an HTTP/1.0 request with %j nothing is handled (RFC 9112 §9.3)", async (fields) => {
  await using backend = await startRawBackend();
  await using sidecar = await startSidecar(backend.url);
  const first = `GET /1 HTTP/1.0\r\n${HOST}${fields}\r\n\r\n`;

  const answer = await sendRaw(sidecar.port, `${first}GET /2 HTTP/1.1\r\n${HOST}\r\n`);

  expect(statusesOf(answer)).toEqual([200]);
  expect(backend.requestLines()).toEqual(["GET /1 HTTP/1.1"]);
});

test("a broken request after one that was answered is answered 400", async () => {
  await using backend = await startRawBackend();
  await using sidecar = await startSidecar(backend.url);
  const { client, received } = receivingClient(sidecar.port);
  client.write(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  await vi.waitFor(() => expect(received()).toContain("\r\n\r\nok"));
  client.end("garbage\r\n\r\n");
  await closed(client);

  expect(statusesOf(received())).toEqual([200, 400]);
});

test("a client that sends requests without end and reads nothing is cut off", async () => {
  let requests = 0;
  await using backend = await startBackend(() => {
    requests++;
  });
  await using sidecar = await startSidecar(backend.url);

  const answer = await sendRaw(sidecar.port, `GET / HTTP/1.1\r\n${HOST}\r\n`.repeat(10_000));

  expect(statusesOf(answer)).toEqual([]);
  expect(requests).toBeLessThanOrEqual(128);
});

test("requests that are sent ahead, a hundred at once, are all answered in order", async () => {
  await using backend = await startBackend((request, response) => {
    // A chunked body, so that each path stands on a line of its own.
    response.write(String(request.url));
    response.end();
  });
  await using sidecar = await startSidecar(backend.url);
  const paths = Array.from({ length: 100 }, (_, index) => `/${index}`);
  const requests = paths.map((path) => `GET ${path} HTTP/1.1\r\n${HOST}\r\n`).join("");

  const answer = await sendRaw(sidecar.port, requests.replace(/\r\n\r\n$/, "\r\nConnection: close\r\n\r\n"));

  expect([...answer.matchAll(/^(\/\d+)\r$/gm)].map(([, path]) => path)).toEqual(paths);
});

describe("nothing is handled behind a message that was refused, also where an earlier response is still owed", () => {
  const first = `GET /first HTTP/1.1\r\n${HOST}\r\n`;
  const smuggled = `GET /smuggled HTTP/1.1\r\n${HOST}\r\n`;

  test.each([
    [
      "another coding beside chunked",
      `POST /x HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      "Transfer-Encoding in HTTP/1.0",
      `POST /x HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ["a dot segment", `GET /a/../b HTTP/1.1\r\n${HOST}\r\n`],
    ["two hosts", `GET /x HTTP/1.1\r\n${HOST}${HOST}\r\n`],
  ])("%s", async (_, refused) => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url);

    const answer = await sendRaw(sidecar.port, first + refused + smuggled);

    expect(statusesOf(answer)).toEqual([200, 400]);
    expect(backend.requests.map(({ url }) => url)).toEqual(["/first"]);
  });
});

test("nothing is handled behind a response that said it was the last", async () => {
  const urls: string[] = [];
  await using backend = await startBackend((request, response) => {
    urls.push(String(request.url));
    response.write("early");
    request.on("end", () => response.end()).resume();
  });
  await using sidecar = await startSidecar(backend.url);
  const { client, received } = receivingClient(sidecar.port);
  client.write(`POST /up HTTP/1.1\r\n${HOST}Content-Length: 6\r\n\r\nabc`);
  await vi.waitFor(() => expect(received()).toContain("early"));

  client.write(`defPOST /after HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`);
  await closed(client);

  expect(received()).toMatch(/^connection: close\r$/im);
  expect(urls).toEqual(["/up"]);
});

test("an upgrade whose body does not arrive in time is answered too", async () => {
  await using backend = await startBackend(() => {});
  await using sidecar = await startSidecar(backend.url, { yaml: "timeouts: {headers: 1s, request: 1s}" });

  const answer = await sendRaw(
    sidecar.port,
    `POST / HTTP/1.1\r\n${HOST}Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 9\r\n\r\nx`,
  );

  expect(statusesOf(answer)).toEqual([408]);
});

test("a broken body does not get an answer where another response is owed before it", async () => {
  await using backend = await startBackend(() => {});
  await using sidecar = await startSidecar(backend.url);

  const answer = await sendRaw(
    sidecar.port,
    `GET /first HTTP/1.1\r\n${HOST}\r\nPOST /x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
  );

  expect(answer).toBe("");
});

test("what is no request gets no answer where another response is owed, also once one before that was sent", async () => {
  const urls: string[] = [];
  await using backend = await startBackend((request, response) => {
    urls.push(String(request.url));
    if (request.url !== "/held") response.end("ok");
  });
  await using sidecar = await startSidecar(backend.url);
  const { client, received } = receivingClient(sidecar.port);
  client.write(`GET /first HTTP/1.1\r\n${HOST}\r\nGET /held HTTP/1.1\r\n${HOST}\r\n`);
  await vi.waitFor(() => {
    expect(statusesOf(received())).toEqual([200]);
    expect(urls).toContain("/held");
  });

  client.write("what is this\r\n\r\n");
  // It has been read when a connection that was opened later has been answered.
  await sendRaw(sidecar.port, `GET /later HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
  expect(statusesOf(received())).toEqual([200]);
  client.destroy();
});

test("a broken body cuts a response that has begun", async () => {
  await using backend = await startBackend((_request, response) => void response.write("begun"));
  await using sidecar = await startSidecar(backend.url);
  const { client, received } = receivingClient(sidecar.port);
  client.write(`POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n`);
  await vi.waitFor(() => expect(received()).toContain("begun"));

  client.write("zz\r\n");
  await closed(client);

  expect(statusesOf(received())).toEqual([200]);
  expect(received()).not.toContain("0\r\n\r\n");
});

test("an answer is read by a client that goes on sending its body", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);
  const half = Buffer.alloc(2_500_000);

  for (let round = 0; round < 10; round++) {
    const { client, received } = receivingClient(sidecar.port);
    client.write(`POST /a/../b HTTP/1.1\r\n${HOST}Content-Length: 5000000\r\n\r\n`);
    client.write(half);
    client.write(half);
    await closed(client);
    expect(statusesOf(received())).toEqual([400]);
  }
});

test.each([
  ["alone", ""],
  ["behind a request", `GET /slow HTTP/1.1\r\n${HOST}\r\n`],
])("a client that resets its tunnel, %s, does no harm", async (_, before) => {
  await using backend = await startBackend((request, response) => {
    if (request.url !== "/slow") response.end();
  });
  await using sidecar = await startSidecar(backend.url);

  for (let round = 0; round < 20; round++) {
    const client = connect(sidecar.port, "127.0.0.1");
    client.on("error", () => {});
    client.write(`${before}CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`);
    setTimeout(() => client.resetAndDestroy(), 20);
    await closed(client);
  }

  expect((await fetch(sidecar.url)).status).toBe(200);
});

test("a broken body of a request for the issuer's documents gets no answer of its own", async () => {
  await using backend = await startRawBackend();
  await using sidecar = await startSidecar(backend.url);

  const answer = await sendRaw(
    sidecar.port,
    `GET /__issuer/.well-known/jwks.json HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabczz\r\n`,
  );

  expect(statusesOf(answer)).toEqual([200]);
});
