import type { Socket } from "node:net";
import { describe, expect, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startRawBackend } from "../support/raw-backend.ts";
import { startSidecar } from "../support/sidecar.ts";

/** One response of a backend, and what it adds to it. */
function startBackendThatAdds(answer: (socket: Socket, path: string) => void) {
  return startRawBackend((socket, data) => {
    const path = /^GET (\S+) HTTP/.exec(data)?.[1];
    if (path !== undefined) answer(socket, path);
  });
}

const responseWith = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

describe("what a backend sends beyond its response reaches nobody, and its connection is not used again (CVE-2026-6733)", () => {
  test.each([
    ["a second response", responseWith("stray")],
    [
      "a second response with chunks",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstray\r\n0\r\n\r\n",
    ],
    ["bytes after the body", "stray"],
    ["an empty line and bytes", "\r\n\r\nstray"],
  ])("%s", async (_, added) => {
    await using backend = await startBackendThatAdds((socket, path) =>
      socket.write(responseWith(`for ${path}`) + (path === "/first" ? added : "")),
    );
    await using sidecar = await startSidecar(backend.url);

    const first = await fetch(`${sidecar.url}/first`);
    expect(await first.text()).toBe("for /first");
    for (const path of ["/second", "/third"])
      expect(await (await fetch(sidecar.url + path)).text()).toBe(`for ${path}`);

    const [spoilt] = backend.sockets;
    expect(backend.sockets).toHaveLength(2);
    await vi.waitFor(() => expect(spoilt?.destroyed).toBe(true), 5000);
    expect(sidecar.failures).toEqual([]);
  });

  test("a response that comes before it was asked for", async () => {
    await using backend = await startBackendThatAdds((socket, path) => {
      socket.write(responseWith(`for ${path}`));
      if (path === "/first") setTimeout(() => socket.write(responseWith("stray")), 20);
    });
    await using sidecar = await startSidecar(backend.url);

    expect(await (await fetch(`${sidecar.url}/first`)).text()).toBe("for /first");
    const [spoilt] = backend.sockets;
    await vi.waitFor(() => expect(spoilt?.destroyed).toBe(true), 5000);

    expect(await (await fetch(`${sidecar.url}/second`)).text()).toBe("for /second");
    expect(backend.sockets).toHaveLength(2);
  });
});

describe("a response whose end is in doubt is answered for with 502, and its connection is not used again", () => {
  test.each([
    [
      "Content-Length and Transfer-Encoding",
      "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nstray",
    ],
    [
      "Transfer-Encoding and Content-Length",
      "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nstray",
    ],
    ["two Content-Lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nstray"],
    ["a Content-Length that is no number", "Content-Length: 5x\r\n\r\nstray"],
    ["a space before the colon", "Content-Length : 5\r\n\r\nstray"],
  ])("%s", async (_, message) => {
    await using backend = await startBackendThatAdds((socket, path) =>
      socket.write(path === "/first" ? `HTTP/1.1 200 OK\r\n${message}` : responseWith(`for ${path}`)),
    );
    await using sidecar = await startSidecar(backend.url);

    const first = await fetch(`${sidecar.url}/first`);
    expect(first.status).toBe(502);
    expect(await first.json()).toMatchObject({ code: "ERR_UPSTREAM_BROKEN" });

    expect(await (await fetch(`${sidecar.url}/second`)).text()).toBe("for /second");
    expect(backend.sockets).toHaveLength(2);
    expect(backend.sockets[0]?.destroyed).toBe(true);
  });
});

test("a response cannot add a field, or a response, by a line break in a value", async () => {
  await using backend = await startRawBackend((socket) =>
    socket.write("HTTP/1.1 200 OK\r\nX-Note: a\rX-Forged: 1\r\nContent-Length: 2\r\n\r\nok"),
  );
  await using sidecar = await startSidecar(backend.url);

  const response = await fetch(sidecar.url);

  expect(response.status).toBe(502);
  expect(response.headers.has("x-forged")).toBe(false);
});

test("a redirect is the client's to follow: the sidecar asks nobody else", async () => {
  await using other = await startBackend();
  await using backend = await startBackend((_request, response) =>
    response.writeHead(307, { location: `${other.url}/stolen` }).end(),
  );
  await using sidecar = await startSidecar(backend.url);

  const response = await fetch(sidecar.url, { redirect: "manual" });

  expect(response.status).toBe(307);
  expect(response.headers.get("location")).toBe(`${other.url}/stolen`);
  expect(other.requests).toEqual([]);
});

test("a response is kept for nobody, whatever it says of its freshness", async () => {
  let count = 0;
  await using backend = await startBackend((_request, response) =>
    response.writeHead(200, { "cache-control": "public, max-age=3600", etag: '"1"' }).end(String(++count)),
  );
  await using sidecar = await startSidecar(backend.url);

  const texts = await Promise.all([1, 2, 3].map(async () => (await fetch(sidecar.url)).text()));

  expect(texts.toSorted()).toEqual(["1", "2", "3"]);
});
