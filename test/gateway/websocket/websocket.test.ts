import { once } from "node:events";
import { Agent, get, type IncomingMessage } from "node:http";
import { createLocalJWKSet, jwtVerify } from "jose";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { apiKeyEntry } from "../../support/api-keys.ts";
import { startRawBackend } from "../../support/raw-backend.ts";
import { startSidecar, type TestSidecar } from "../../support/sidecar.ts";
import { startTlsSidecar } from "../../support/tls-sidecar.ts";
import {
  nextMessage,
  openWebSocket,
  refusedWebSocket,
  startWebSocketBackend,
} from "../../support/websocket.ts";

async function claimsIn(sidecar: TestSidecar, field: string | string[] | undefined) {
  const keys = createLocalJWKSet({ keys: [...sidecar.issuer.jwks().keys] });
  const { payload } = await jwtVerify(String(field).replace(/^Bearer /, ""), keys);
  return payload;
}

describe("what a WebSocket carries arrives as it was sent, both ways:", () => {
  test("text", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url);
    const client = await openWebSocket(sidecar.url);

    client.send("grüß dich");

    expect(await nextMessage(client)).toBe("grüß dich");
    client.terminate();
  });

  test.each([
    ["of a few bytes", 5],
    ["of a few megabytes", 3_000_001],
  ])("a binary message %s", async (_, length) => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url);
    const client = await openWebSocket(sidecar.url);
    const sent = Buffer.from(Array.from({ length: 251 }, (_, index) => index));
    const message = Buffer.alloc(length, sent);

    client.send(message);

    const [received, isBinary] = (await once(client, "message")) as [Buffer, boolean];
    expect(isBinary).toBe(true);
    expect(received.equals(message)).toBe(true);
    client.terminate();
  });

  test("a thousand messages, in order", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url);
    const client = await openWebSocket(sidecar.url);
    const received: string[] = [];
    client.on("message", (data) => received.push(String(data)));
    const sent = Array.from({ length: 1000 }, (_, index) => `message ${index}`);

    for (const message of sent) client.send(message);
    client.close();
    await once(client, "close");

    expect(received).toEqual(sent);
  });

  test("ping and pong", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url);
    const connected = backend.connected();
    const client = await openWebSocket(sidecar.url);
    const server = await connected;

    client.ping("from the client");
    expect(String((await once(client, "pong"))[0])).toBe("from the client");
    server.ping("from the backend");
    expect(String((await once(server, "pong"))[0])).toBe("from the backend");
    client.terminate();
  });

  test("the code and the reason of a close, by the client and by the backend", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url);
    const open = async () => {
      const connected = backend.connected();
      return [await openWebSocket(sidecar.url), await connected] as const;
    };
    for (const [closer, other] of [await open(), (await open()).toReversed()]) {
      closer?.close(4321, "enough");
      const [code, reason] = (await once(other as NonNullable<typeof other>, "close")) as [number, Buffer];
      expect([code, reason.toString()]).toEqual([4321, "enough"]);
    }
  });

  test("with compression, where both sides want it", async () => {
    await using backend = await startWebSocketBackend({ perMessageDeflate: { threshold: 0 } });
    await using sidecar = await startSidecar(backend.url);
    const client = await openWebSocket(sidecar.url, { perMessageDeflate: { threshold: 0 } });

    expect(client.extensions).toContain("permessage-deflate");
    client.send("a".repeat(100_000));
    expect(await nextMessage(client)).toBe("a".repeat(100_000));
    client.terminate();
  });

  test("over TLS", async () => {
    await using backend = await startWebSocketBackend();
    await using tls = await startTlsSidecar(backend.url);
    const client = await openWebSocket(tls.sidecar.url, { ca: tls.ca.cert });

    client.send("secret");

    expect(await nextMessage(client)).toBe("secret");
    expect(backend.handshakes[0]?.headers["x-forwarded-proto"]).toBe("https");
    client.close();
    await once(client, "close");
  });
});

describe("the handshake", () => {
  test("has a token that verifies, made as for any request", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url, { yaml: "token: {subject: me}" });
    const client = await openWebSocket(`${sidecar.url}/chat?room=1`);

    const { authorization } = backend.handshakes[0]?.headers ?? {};
    expect(await claimsIn(sidecar, authorization)).toMatchObject({
      sub: "me",
      aud: `${sidecar.url}/chat?room=1`,
    });
    client.terminate();
  });

  test("goes to the very path that was asked for, and says who the client is", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url);
    const target = "/a%20b/~c?x=%41&y&&z=1?";
    const client = await openWebSocket(`${sidecar.url}${target}`, { headers: { "x-request-id": "trace-1" } });

    const [handshake] = backend.handshakes;
    expect(handshake?.url).toBe(target);
    expect(handshake?.headers).toMatchObject({
      host: `127.0.0.1:${sidecar.port}`,
      connection: "Upgrade",
      upgrade: "websocket",
      "x-request-id": "trace-1",
      "x-forwarded-for": "127.0.0.1",
      via: expect.stringMatching(/^1\.1 countersign-[\w-]{12}$/),
      "sec-websocket-version": "13",
    });
    client.terminate();
  });

  test("has the upstream's own host, where the client's is not to be preserved", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `upstream: {url: "${backend.url}", preserveHost: false}`,
    });
    const client = await openWebSocket(sidecar.url);

    expect(backend.handshakes[0]?.headers.host).toBe(new URL(backend.url).host);
    client.terminate();
  });

  test("asks for the subprotocols of the client, and gets the backend's choice", async () => {
    await using backend = await startWebSocketBackend({ handleProtocols: () => "v2.chat" });
    await using sidecar = await startSidecar(backend.url);
    const client = await openWebSocket(sidecar.url, { protocols: ["v1.chat", "v2.chat"] });

    expect(backend.handshakes[0]?.headers["sec-websocket-protocol"]).toBe("v1.chat,v2.chat");
    expect(client.protocol).toBe("v2.chat");
    client.terminate();
  });

  test("has no Sec-WebSocket field that the client did not send", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url);
    const client = await openWebSocket(sidecar.url, { perMessageDeflate: false });

    const names = Object.keys(backend.handshakes[0]?.headers ?? {});
    expect(names.filter((name) => name.startsWith("sec-")).sort()).toEqual([
      "sec-websocket-key",
      "sec-websocket-version",
    ]);
    client.terminate();
  });

  test("keeps repeated fields apart, in both directions, and the bytes of their values", async () => {
    await using backend = await startWebSocketBackend();
    backend.server.on("headers", (lines) =>
      lines.push("Set-Cookie: a=1", "Set-Cookie: b=2", "X-Bytes: \xe4"),
    );
    await using sidecar = await startSidecar(backend.url);
    const socket = new WebSocket(sidecar.url.replace("http", "ws"), {
      headers: { "X-Several": ["1", "2"] as unknown as string, "X-Bytes": "\xe4" },
    });
    const [[answer]] = (await Promise.all([once(socket, "upgrade"), once(socket, "open")])) as [
      [IncomingMessage],
      unknown,
    ];

    const raw = backend.handshakes[0]?.rawHeaders ?? [];
    expect(raw.filter((_, index) => raw[index - 1] === "X-Several")).toEqual(["1", "2"]);
    expect(backend.handshakes[0]?.headers["x-bytes"]).toBe("\xe4");
    // The backend writes UTF-8.
    expect(answer.headers).toMatchObject({ "set-cookie": ["a=1", "b=2"], "x-bytes": "\xc3\xa4" });
    socket.terminate();
  });
});

describe("who is calling is known as on any request:", () => {
  const yaml = `
authenticators:
  partners: {type: apiKey, header: X-Api-Key, keys: [${apiKeyEntry("acme-key", "acme")}]}
  browsers: {type: apiKey, query: key, keys: [${apiKeyEntry("web-key", "web")}]}
  sessions: {type: apiKey, cookie: session, keys: [${apiKeyEntry("cookie-key", "jar")}]}
token: {audience: chat}
policies:
  - {name: staff, match: {path: /staff}, authenticate: [partners], require: {claims: {role: staff}}}
  - {name: open, match: {path: /open}, authenticate: [anonymous], token: none}
  - {name: chat, match: {path: /chat}, authenticate: [partners, browsers, sessions]}
`;

  test.each([
    ["a field", "/chat", { "x-api-key": "acme-key" }, "acme"],
    ["a query", "/chat?key=web-key&room=1", {}, "web"],
    ["a cookie", "/chat", { cookie: "a=1; session=cookie-key" }, "jar"],
  ])("by an API key in %s, which does not reach the backend", async (_, path, headers, subject) => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url, { yaml });

    const client = await openWebSocket(`${sidecar.url}${path}`, { headers });

    const [handshake] = backend.handshakes;
    expect((await claimsIn(sidecar, handshake?.headers.authorization)).sub).toBe(subject);
    expect(JSON.stringify([handshake?.url, handshake?.rawHeaders])).not.toMatch(/-key/);
    client.terminate();
  });

  test.each([
    ["without a credential", "/chat", {}, 401, "ERR_CREDENTIAL_MISSING"],
    ["with a bad one", "/chat", { "x-api-key": "forged" }, 401, "ERR_CREDENTIAL_INVALID"],
    ["of a caller who may not", "/staff", { "x-api-key": "acme-key" }, 403, "ERR_REQUIREMENT_NOT_MET"],
    ["without a policy", "/elsewhere", {}, 404, "ERR_NO_POLICY"],
    ["for an unknown document of the issuer", "/__issuer/chat", {}, 404, "ERR_ISSUER_PATH_UNKNOWN"],
  ])(
    "a handshake %s is answered with a problem, and the backend sees nothing of it",
    async (_, path, headers, status, code) => {
      await using backend = await startWebSocketBackend();
      await using sidecar = await startSidecar(backend.url, { yaml });

      const { response, body } = await refusedWebSocket(`${sidecar.url}${path}`, {
        headers: { ...headers, "x-request-id": "trace-2" },
      });

      expect(response.statusCode).toBe(status);
      expect(response.headers["content-type"]).toBe("application/problem+json");
      expect(response.headers.connection).toBe("close");
      if (status === 401) expect(response.headers["www-authenticate"]).toContain("ApiKey");
      expect(JSON.parse(body)).toMatchObject({ status, code, requestId: "trace-2" });
      expect(backend.connections()).toBe(0);
    },
  );

  test("a policy without a token sends none", async () => {
    await using backend = await startWebSocketBackend();
    await using sidecar = await startSidecar(backend.url, { yaml });

    const client = await openWebSocket(`${sidecar.url}/open`, {
      headers: { authorization: "Bearer forged" },
    });

    expect(backend.handshakes[0]?.headers).not.toHaveProperty("authorization");
    client.terminate();
  });
});

test("a document of the issuer is answered as to a plain request", async () => {
  await using backend = await startWebSocketBackend();
  await using sidecar = await startSidecar(backend.url);

  const { response, body } = await refusedWebSocket(`${sidecar.url}/__issuer/.well-known/jwks.json`);

  expect(response.statusCode).toBe(200);
  expect(JSON.parse(body)).toEqual(sidecar.issuer.jwks());
  expect(backend.connections()).toBe(0);
});

test("what the backend answers instead of a WebSocket is relayed whole, and the connection closes", async () => {
  const body = "no".repeat(500_000);
  await using backend = await startWebSocketBackend({
    verifyClient: (_info, done) => done(false, 403, body, { "X-Why": "because" }),
  });
  await using sidecar = await startSidecar(backend.url);

  const refused = await refusedWebSocket(sidecar.url);

  expect(refused.response.statusCode).toBe(403);
  expect(refused.response.headers).toMatchObject({ connection: "close", "x-why": "because" });
  expect(refused.body).toBe(body);
  expect(sidecar.failures).toEqual([]);
});

test("a request on the same connection before the handshake is no obstacle", async () => {
  await using backend = await startWebSocketBackend();
  await using sidecar = await startSidecar(backend.url);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const [response] = await once(get(sidecar.url, { agent }), "response");
  response.resume();
  await once(response, "end");

  const client = await openWebSocket(sidecar.url, { agent });
  client.send("again");

  expect(await nextMessage(client)).toBe("again");
  client.terminate();
  agent.destroy();
});

test("the operators' listener opens no WebSocket", async () => {
  await using backend = await startRawBackend();
  await using sidecar = await startSidecar(backend.url, { yaml: "admin: 127.0.0.1:0" });

  const { response } = await refusedWebSocket(String(sidecar.adminUrl));

  expect(response.statusCode).toBe(404);
  expect(backend.sockets).toEqual([]);
});
