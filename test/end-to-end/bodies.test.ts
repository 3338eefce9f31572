import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { gunzipSync, gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { type RunningCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { startSidecar } from "../support/sidecar.ts";

const MEGABYTE = 1_000_000;
const BLOCK = randomBytes(MEGABYTE);

function* blocks(count: number) {
  for (let i = 0; i < count; i++) yield BLOCK;
}

function digestOfBlocks(count: number): string {
  const hash = createHash("sha256");
  for (const block of blocks(count)) hash.update(block);
  return hash.digest("hex");
}

async function digestOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of stream) hash.update(chunk);
  return hash.digest("hex");
}

/** Answers GET /n with n megabytes, and anything else with the digest of its body. */
async function startBulkBackend() {
  return startBackend(async (request, response) => {
    const megabytes = Number(request.url?.slice(1));
    if (request.method === "GET") {
      response.writeHead(200, { "content-length": megabytes * MEGABYTE });
      await pipeline(Readable.from(blocks(megabytes)), response).catch(() => {});
    } else {
      response.end(await digestOf(request));
    }
  });
}

async function upload(url: string, megabytes: number): Promise<string> {
  const request = httpRequest(url, { method: "PUT", headers: { "content-length": megabytes * MEGABYTE } });
  const answered = once(request, "response") as Promise<[IncomingMessage]>;
  await pipeline(Readable.from(blocks(megabytes)), request);
  const [response] = await answered;
  return Buffer.concat(await response.toArray()).toString();
}

async function download(url: string): Promise<string> {
  const request = httpRequest(url).end();
  const [response] = (await once(request, "response")) as [IncomingMessage];
  return digestOf(response);
}

/** The largest growth of the process's resident memory while `work` runs, in bytes. */
async function memoryGrowth({ pid }: RunningCommand, work: () => Promise<unknown>): Promise<number> {
  const resident = () => Number(execFileSync("ps", ["-o", "rss=", "-p", String(pid)])) * 1024;
  const before = resident();
  let most = before;
  const sampling = setInterval(() => {
    most = Math.max(most, resident());
  }, 20);
  await work();
  clearInterval(sampling);
  return Math.max(most, resident()) - before;
}

test("100 MB pass byte for byte in both directions, in less than 64 MB of further memory", async () => {
  await using backend = await startBulkBackend();
  using folder = temporaryFolder();
  await using sidecar = await startCommand(["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"], {
    cwd: folder.path,
  });
  const expected = digestOfBlocks(100);
  await upload(`${sidecar.url}/`, 20);
  await download(`${sidecar.url}/20`);

  const growth = await memoryGrowth(sidecar, async () => {
    expect(await upload(`${sidecar.url}/`, 100)).toBe(expected);
    expect(await download(`${sidecar.url}/100`)).toBe(expected);
  });

  expect(growth).toBeLessThan(64 * 1024 * 1024);
});

test("a reader that stops reading stops the backend too", async () => {
  let sent = 0;
  await using backend = await startBackend(async (_request, response) => {
    response.on("error", () => {});
    for (const block of blocks(200)) {
      if (response.destroyed) return;
      if (!response.write(block)) await once(response, "drain").catch(() => {});
      sent++;
    }
    response.end();
  });
  await using sidecar = await startSidecar(backend.url);
  const request = httpRequest(sidecar.url).end();
  const [response] = (await once(request, "response")) as [IncomingMessage];
  response.pause();

  const settled = async () => {
    for (let before = -1; before !== sent; ) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    return sent;
  };

  expect(await settled()).toBeLessThan(50);
  request.destroy();
});

test.each(["GET", "POST", "PUT", "DELETE", "PATCH"])("%s with an empty body stays empty", async (method) => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);

  const response = await fetch(sidecar.url, { method });

  expect(response.status).toBe(200);
  expect(backend.requests[0]?.body).toHaveLength(0);
  expect(backend.requests[0]?.headers).not.toHaveProperty("transfer-encoding");
});

test.each(["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GET"])(
  "%s with chunks of no known length",
  async (method) => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url);
    const request = httpRequest(sidecar.url, { method, headers: { "transfer-encoding": "chunked" } });
    for (const chunk of ["one", "two", "three"]) request.write(chunk);
    request.end();

    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.resume();

    expect(backend.requests[0]?.body.toString()).toBe("onetwothree");
    expect(backend.requests[0]?.headers["transfer-encoding"]).toBe("chunked");
  },
);

test("a chunked response comes without a length, and its chunks one by one", async () => {
  await using backend = await startBackend((_request, response) => {
    response.write("one");
    response.end("two");
  });
  await using sidecar = await startSidecar(backend.url);

  const response = await fetch(sidecar.url);

  expect(response.headers.has("content-length")).toBe(false);
  expect(await response.text()).toBe("onetwo");
});

test("a compressed body is left as it is", async () => {
  const packed = gzipSync("a body that compresses ".repeat(100));
  await using backend = await startBackend((_request, response) => {
    response.writeHead(200, { "content-encoding": "gzip", "content-length": packed.length }).end(packed);
  });
  await using sidecar = await startSidecar(backend.url);
  const request = httpRequest(sidecar.url, { headers: { "accept-encoding": "gzip" } }).end();

  const [response] = (await once(request, "response")) as [IncomingMessage];
  const body = Buffer.concat(await response.toArray());

  expect(response.headers["content-encoding"]).toBe("gzip");
  expect(body).toEqual(packed);
  expect(gunzipSync(body).toString()).toContain("compresses");
});

test("events arrive one by one, each before the next is sent", async () => {
  const { promise: first, resolve: firstArrived } = Promise.withResolvers<void>();
  await using backend = await startBackend(async (_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: 1\n\n");
    await first;
    response.end("data: 2\n\n");
  });
  await using sidecar = await startSidecar(backend.url);

  const response = await fetch(sidecar.url, { headers: { accept: "text/event-stream" } });
  const events: string[] = [];
  for await (const chunk of response.body ?? []) {
    events.push(Buffer.from(chunk).toString());
    firstArrived();
  }

  expect(events).toEqual(["data: 1\n\n", "data: 2\n\n"]);
});

test("1000 connections at once each send three requests, and each gets its own answer", async () => {
  await using backend = await startBackend((request, response) => response.end(request.url));
  await using sidecar = await startSidecar(backend.url, { yaml: "token: {audience: load}" });
  const agent = new Agent({ keepAlive: true, maxSockets: 1000, maxFreeSockets: 1000 });
  const get = async (path: string) => {
    const request = httpRequest(sidecar.url + path, { agent }).end();
    const [response] = (await once(request, "response")) as [IncomingMessage];
    return { status: response.statusCode, path: Buffer.concat(await response.toArray()).toString() };
  };
  const paths = Array.from({ length: 1000 }, (_, index) => `/${index}`);

  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(paths.map(get));
    expect(answers).toEqual(paths.map((path) => ({ status: 200, path })));
  }

  expect(Object.values(agent.freeSockets).flat()).toHaveLength(1000);
  expect(sidecar.failures).toEqual([]);
  agent.destroy();
});
