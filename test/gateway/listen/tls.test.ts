import { once } from "node:events";
import { Agent } from "node:https";
import { connect as connectTcp, type Socket } from "node:net";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { decodeJwt } from "jose";
import { describe, expect, test } from "vitest";
import { startBackend } from "../../support/backend.ts";
import { createCa } from "../../support/certificates.ts";
import { startRawBackend } from "../../support/raw-backend.ts";
import { exchange, sendRaw, statusesOf } from "../../support/raw-client.ts";
import { get, startTlsSidecar } from "../../support/tls-sidecar.ts";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/** A TCP connection to a TLS port, on which nothing was sent yet. */
async function connectSilently(port: number): Promise<Socket> {
  const socket = connectTcp(port, "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

describe("versions and protocols", () => {
  test.each(["TLSv1.2", "TLSv1.3"] as const)("%s is spoken", async (version) => {
    await using backend = await startBackend();
    await using tls = await startTlsSidecar(backend.url);
    const socket = await tls.connect({ minVersion: version, maxVersion: version });
    expect(socket.getProtocol()).toBe(version);
    expect(
      statusesOf(await exchange(socket, GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))),
    ).toEqual([200]);
  });

  test("TLS 1.1 is refused, and the sidecar goes on", async () => {
    await using backend = await startBackend();
    await using tls = await startTlsSidecar(backend.url);
    const old: ConnectionOptions = {
      minVersion: "TLSv1",
      maxVersion: "TLSv1.1",
      ciphers: "DEFAULT@SECLEVEL=0",
    };
    await expect(tls.connect(old)).rejects.toThrow(/alert protocol version/);
    expect((await get(tls.sidecar.url, tls)).status).toBe(200);
  });

  test.each([
    { offers: ["h2", "http/1.1"], http2: true, chosen: "h2" },
    { offers: ["h2", "http/1.1"], http2: false, chosen: "http/1.1" },
    { offers: ["http/1.1"], http2: true, chosen: "http/1.1" },
    { offers: undefined, http2: true, chosen: false },
  ])("of $offers with http2: $http2 the sidecar chooses $chosen", async ({ offers, http2, chosen }) => {
    await using tls = await startTlsSidecar("http://127.0.0.1:9", { http2 });
    using socket = disposable(await tls.connect(offers && { ALPNProtocols: offers }));
    expect(socket.socket.alpnProtocol).toBe(chosen);
  });

  test.each([
    { offers: ["h2"], http2: false },
    { offers: ["http/0.9"], http2: true },
  ])("a client that offers $offers alone is refused with http2: $http2", async ({ offers, http2 }) => {
    await using tls = await startTlsSidecar("http://127.0.0.1:9", { http2 });
    await expect(tls.connect({ ALPNProtocols: offers })).rejects.toThrow(/no application protocol/);
  });

  test("plain HTTP on a TLS port is answered 400 in clear, and never forwarded", async () => {
    await using backend = await startRawBackend();
    await using tls = await startTlsSidecar(backend.url);
    expect(statusesOf(await sendRaw(tls.port, GET))).toEqual([400]);
    expect(backend.requestLines()).toEqual([]);
    expect((await get(tls.sidecar.url, tls)).status).toBe(200);
  });

  test("who the client is cannot be renegotiated under its requests", async () => {
    await using tls = await startTlsSidecar("http://127.0.0.1:9");
    const socket = await tls.connect({ maxVersion: "TLSv1.2" });
    socket.on("error", () => {});
    const outcome = new Promise((resolve) => {
      socket.renegotiate({}, resolve);
      socket.once("close", () => resolve(new Error("closed")));
    });
    expect(await outcome).toBeInstanceOf(Error);
  });
});

describe.concurrent("slow clients", () => {
  test("a handshake that never begins is cut off after timeouts.headers", async () => {
    await using tls = await startTlsSidecar("http://127.0.0.1:9", { yaml: "timeouts: {headers: 1s}\n" });
    const socket = await connectSilently(tls.port);
    const begun = Date.now();
    await exchange(socket);
    expect(Date.now() - begun).toBeLessThan(4000);
  });

  test("a handshake that trickles in is cut off after timeouts.headers", async () => {
    await using tls = await startTlsSidecar("http://127.0.0.1:9", { yaml: "timeouts: {headers: 1s}\n" });
    const socket = await connectSilently(tls.port);
    // The head of a record that announces a ClientHello of 512 bytes.
    socket.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]));
    const trickle = setInterval(() => socket.write(Buffer.alloc(1)), 100);
    const begun = Date.now();
    await exchange(socket);
    clearInterval(trickle);
    expect(Date.now() - begun).toBeLessThan(4000);
  });

  test("a client that says nothing behind its handshake is answered 408", async () => {
    await using tls = await startTlsSidecar("http://127.0.0.1:9", { yaml: "timeouts: {headers: 1s}\n" });
    expect(statusesOf(await exchange(await tls.connect()))).toEqual([408]);
  });
});

describe.concurrent("the end", () => {
  test("a handshake that never begins cannot hold it up", async () => {
    await using tls = await startTlsSidecar("http://127.0.0.1:9");
    const silent = await connectSilently(tls.port);
    const closed = exchange(silent);
    // Behind it, so that the server knows of the silent one.
    await exchange(await tls.connect(), "x\r\n\r\n");

    const begun = Date.now();
    await tls.sidecar.close();

    expect(Date.now() - begun).toBeLessThan(4000);
    await closed;
  });

  test("a connection that waits for its next request is closed", async () => {
    await using backend = await startBackend();
    await using tls = await startTlsSidecar(backend.url);
    const socket = await tls.connect();
    const answers = exchange(socket, GET);
    await once(socket, "data");
    await tls.sidecar.close();
    expect(statusesOf(await answers)).toEqual([200]);
  });

  test("a request under way is answered, and its connection closes behind the answer", async () => {
    const { promise: arrived, resolve: requestArrived } = Promise.withResolvers<void>();
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    await using backend = await startBackend(async (_request, response) => {
      requestArrived();
      await released;
      response.end("finished");
    });
    await using tls = await startTlsSidecar(backend.url);
    const answer = get(tls.sidecar.url, { ca: tls.ca, agent: new Agent({ keepAlive: true }) });
    await arrived;

    const closed = tls.sidecar.close();
    release();

    const { body, headers } = await answer;
    expect({ body, connection: headers.connection }).toEqual({ body: "finished", connection: "close" });
    await closed;
  });

  test("a request that outlasts timeouts.drain is cut off", async () => {
    const { promise: arrived, resolve: requestArrived } = Promise.withResolvers<void>();
    await using backend = await startBackend(() => requestArrived());
    await using tls = await startTlsSidecar(backend.url, { yaml: "timeouts: {drain: 1s}\n" });
    const answer = exchange(await tls.connect(), GET);
    await arrived;
    await tls.sidecar.close();
    expect(statusesOf(await answer)).toEqual([]);
  });
});

describe("clients' certificates", () => {
  test("a client without one is refused where it is required", async () => {
    await using backend = await startRawBackend();
    await using tls = await startTlsSidecar(backend.url, { clientCertificate: "required" });
    await expect(get(tls.sidecar.url, tls)).rejects.toThrow(/certificate required|socket hang up|ECONNRESET/);
    expect(backend.requestLines()).toEqual([]);
  });

  test.each(["TLSv1.2", "TLSv1.3"] as const)(
    "with %s one of another CA is refused where it is required, also on a connection that is resumed",
    async (version) => {
      await using backend = await startRawBackend();
      await using tls = await startTlsSidecar(backend.url, { clientCertificate: "required" });
      const { cert, key } = await (await createCa()).issue({ commonName: "orders" });
      const client = { cert, key, minVersion: version, maxVersion: version };
      let session: Buffer | undefined;
      for (let attempt = 0; attempt < 2; attempt++) {
        const socket = await tls.connect({ ...client, session }).catch(() => undefined);
        socket?.on("session", (ticket) => {
          session = ticket;
        });
        if (socket) expect(statusesOf(await exchange(socket, GET))).toEqual([]);
      }
      expect(backend.requestLines()).toEqual([]);
    },
  );

  test("a client with one of the CA is served where it is required", async () => {
    await using backend = await startBackend();
    await using tls = await startTlsSidecar(backend.url, { clientCertificate: "required" });
    const client = await tls.ca.issue({ commonName: "orders" });
    expect((await get(tls.sidecar.url, { ca: tls.ca, client })).status).toBe(200);
  });

  test("a client without one is served where it is optional, and asked for none by default", async () => {
    await using backend = await startBackend();
    for (const clientCertificate of ["optional", "none"] as const) {
      await using tls = await startTlsSidecar(backend.url, { clientCertificate });
      expect((await get(tls.sidecar.url, tls)).status).toBe(200);
    }
  });
});

describe("requests over TLS", () => {
  test("several on one connection are answered", async () => {
    await using backend = await startBackend();
    await using tls = await startTlsSidecar(backend.url);
    const socket = await tls.connect();
    expect(
      statusesOf(await exchange(socket, `${GET}${GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")}`)),
    ).toEqual([200, 200]);
  });

  test("the issuer is https by default, in its documents and its tokens", async () => {
    await using backend = await startBackend();
    await using tls = await startTlsSidecar(backend.url);
    const issuer = `https://127.0.0.1:${tls.port}/__issuer`;
    expect(tls.sidecar.url).toBe(`https://127.0.0.1:${tls.port}`);

    const { body } = await get(`${issuer}/.well-known/openid-configuration`, tls);
    expect(JSON.parse(body)).toMatchObject({ issuer, jwks_uri: `${issuer}/.well-known/jwks.json` });

    await get(`${tls.sidecar.url}/orders`, tls);
    expect(decodeJwt(backend.requests[0]?.headers.authorization?.slice(7) ?? "").iss).toBe(issuer);
  });

  test.each([
    [
      "two kinds of framing",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
    ["a bare line feed", "GET / HTTP/1.1\nHost: a\n\n", 400],
    ["a tunnel", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405],
    ["too many bytes of fields", `GET / HTTP/1.1\r\nHost: a\r\nA: ${"a".repeat(17_000)}\r\n\r\n`, 431],
  ])("%s is refused as without TLS", async (_, bytes, status) => {
    await using backend = await startRawBackend();
    await using tls = await startTlsSidecar(backend.url);
    expect(statusesOf(await exchange(await tls.connect(), bytes))).toEqual([status]);
    expect(backend.requestLines()).toEqual([]);
  });

  test("a request to upgrade is a plain one, and the last of its connection", async () => {
    await using backend = await startRawBackend();
    await using tls = await startTlsSidecar(backend.url);
    const upgrade = GET.replace("\r\n\r\n", "\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    expect(statusesOf(await exchange(await tls.connect(), upgrade + GET))).toEqual([200]);
    expect(backend.requestLines()).toEqual(["GET / HTTP/1.1"]);
    expect(backend.received().toLowerCase()).not.toContain("upgrade");
  });

  test("a client that breaks off its TLS in the middle of a request does no harm", async () => {
    await using backend = await startBackend();
    await using tls = await startTlsSidecar(backend.url);
    const socket = await tls.connect();
    socket.on("error", () => {});
    socket.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    // Without the alert that ends TLS.
    socket.destroy();
    expect((await get(tls.sidecar.url, tls)).status).toBe(200);
  });
});

function disposable(socket: TLSSocket): { readonly socket: TLSSocket } & Disposable {
  return { socket, [Symbol.dispose]: () => void socket.destroy() };
}
