import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, test, vi } from "vitest";
import { type RawBackend, startRawBackend } from "../support/raw-backend.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";
import { rawHandshake, rawSwitch, SWITCH_LINES } from "../support/websocket.ts";
import { startRig } from "./support.ts";

/** A backend that opens every WebSocket, and closes its side at once. */
function switchingBackend(): Promise<RawBackend> {
  return startRawBackend((socket, data) => {
    if (/^upgrade:/im.test(data)) socket.end(rawSwitch());
    else if (data.includes("\r\n\r\n")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
}

describe("a handshake has one token field, ours", () => {
  const yaml = `
token: {headerName: X-Service-Token, tokenPrefix: "", audience: backend}
policies:
  - {name: open, match: {path: /open}, token: none}
  - {name: rest}
`;

  test.each([
    ["forged", "X-Service-Token: forged"],
    ["in capitals", "X-SERVICE-TOKEN: forged"],
    ["with underscores", "X_Service_Token: forged"],
    ["with dots", "x.service.token: forged"],
    [
      "repeated, in several spellings",
      "X-Service-Token: forged\r\nx_service_token: forged\r\nX~Service-Token: forged",
    ],
    ["named by Connection with upgrade", "Connection: Upgrade, X-Service-Token"],
    ["named by another line of Connection", "Connection: upgrade\r\nCONNECTION: x-service-token"],
    ["named by Connection in another spelling", "Connection: upgrade, x_service_token, x.service.token"],
  ])("%s (CVE-2021-32813, CVE-2024-45410, CVE-2025-64484)", async (_, lines) => {
    await using rig = await startRig(yaml);

    expect(await rig.send(rawHandshake("/", lines))).toEqual([200]);

    await rig.expectForwarded("GET / HTTP/1.1");
    expect(rig.backend.received()).not.toContain("forged");
    expect(rig.backend.received().match(/^connection: .*$/gim)).toEqual(["connection: Upgrade"]);
    expect(rig.backend.received().match(/^upgrade: .*$/gim)).toEqual(["upgrade: websocket"]);
  });

  test("or none, where the policy sends none", async () => {
    await using rig = await startRig(yaml);

    await rig.send(rawHandshake("/open", "X-Service-Token: forged", "x_service_token: forged"));

    expect(rig.backend.requestLines()).toEqual(["GET /open HTTP/1.1"]);
    expect(rig.backend.received()).not.toMatch(/forged|x.service.token/i);
  });

  test("and what strangers say about themselves is taken out", async () => {
    await using rig = await startRig(yaml);

    await rig.send(
      rawHandshake(
        "/",
        "X-Forwarded-For: 192.0.2.1",
        "Forwarded: for=forged",
        "Keep-Alive: 9",
        "TE: trailers",
      ),
    );

    expect(rig.backend.received()).not.toMatch(/192\.0\.2\.1|forged|^(?:keep-alive|te):/im);
  });

  test("fields named like members of every object do no harm (CVE-2026-21710)", async () => {
    await using rig = await startRig(yaml);

    await rig.send(rawHandshake("/", "__proto__: x", "constructor: y", "hasOwnProperty: z"));

    await rig.expectForwarded("GET / HTTP/1.1");
    expect(rig.backend.received()).toMatch(/^__proto__: x\r$/m);
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });
});

describe("the path of a handshake is, byte for byte, the one that was asked for", () => {
  test.each(["/a?", "/%6Fpen/~a'b?x=1&&y=%2F?z", "/a?b=..%2f", "/a/?//"])("%s", async (target) => {
    await using rig = await startRig();

    await rig.send(rawHandshake(target));

    expect(rig.backend.requestLines()).toEqual([`GET ${target} HTTP/1.1`]);
  });

  test("an absolute-form target goes to the fixed upstream in origin form", async () => {
    await using rig = await startRig();

    await rig.send(rawHandshake("http://evil.example/a?b"));

    await rig.expectForwarded("GET /a?b HTTP/1.1");
    expect(rig.backend.received().match(/^host: .*$/gim)).toEqual(["host: evil.example"]);
  });

  test.each([
    "http://[",
    "ws://a/",
    "http://user@evil.example/",
    "*",
    "evil.example",
    "/a/../b",
    "/a%2e%2e/%2e%2e",
    "/a%2fb",
    "/a\\b",
    "//evil.example",
    "/a;b",
    "/a#b",
    "/a%00",
  ])("%s is refused, and nothing is forwarded", async (target) => {
    await using rig = await startRig();

    expect(await rig.send(rawHandshake(target))).toEqual([400]);

    expect(rig.backend.received()).toBe("");
  });

  test("two hosts, and too many fields, are refused", async () => {
    await using rig = await startRig();

    expect(await rig.send(rawHandshake("/", "Host: b"))).toEqual([400]);
    expect(await rig.send(rawHandshake("/", ...Array.from({ length: 200 }, () => "A: b")))).toEqual([431]);

    expect(rig.backend.received()).toBe("");
  });
});

describe("only a WebSocket is asked for; every other request to upgrade is a plain one", () => {
  const handshake = (change: (bytes: string) => string) => change(rawHandshake("/"));
  const upgradeTo = (value: string) => (bytes: string) =>
    bytes.replace("Upgrade: websocket", `Upgrade: ${value}`);

  test.each([
    ["h2c", upgradeTo("h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")],
    ["an unknown protocol", upgradeTo("evil/1")],
    ["a version of WebSocket", upgradeTo("websocket/13")],
    ["two protocols", upgradeTo("websocket, h2c")],
    ["two lines", upgradeTo("websocket\r\nUpgrade: websocket")],
    ["HTTP/1.0", (bytes: string) => bytes.replace("HTTP/1.1", "HTTP/1.0")],
    ["POST", (bytes: string) => bytes.replace("GET", "POST").replace("Host", "Content-Length: 0\r\nHost")],
    ["OPTIONS", (bytes: string) => bytes.replace("GET", "OPTIONS")],
    ["no key", (bytes: string) => bytes.replace(/Sec-WebSocket-Key.*\r\n/, "")],
    ["a key that is none", (bytes: string) => bytes.replace(/Key: .*\r\n/, "Key: x\r\n")],
    ["two keys", (bytes: string) => bytes.replace(/(Sec-WebSocket-Key.*\r\n)/, "$1$1")],
    ["a body", (bytes: string) => `${bytes.replace("Host", "Content-Length: 3\r\nHost")}abc`],
    [
      "a chunked body",
      (bytes: string) => `${bytes.replace("Host", "Transfer-Encoding: chunked\r\nHost")}0\r\n\r\n`,
    ],
    ["no Connection: upgrade", (bytes: string) => bytes.replace("Connection: Upgrade", "Connection: close")],
    [
      "Proxy-Connection: upgrade",
      (bytes: string) =>
        bytes.replace("Connection: Upgrade", "Proxy-Connection: Upgrade\r\nConnection: close"),
    ],
  ])("%s", async (_, change) => {
    await using backend = await switchingBackend();
    await using sidecar = await startSidecar(backend.url);

    expect(statusesOf(await sendRaw(sidecar.port, handshake(change)))).toEqual([200]);

    expect(backend.requestLines()).toHaveLength(1);
    expect(backend.received()).not.toMatch(/^(?:upgrade|http2-settings):/im);
    expect(backend.received()).not.toMatch(/^connection: .*upgrade/im);
  });

  test("a handshake that is sent while a response is owed", async () => {
    const { promise: handshakeSent, resolve: answerFirst } = Promise.withResolvers<void>();
    await using backend = await startRawBackend(async (socket, data) => {
      if (data.startsWith("GET /first ")) await handshakeSent;
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    await using sidecar = await startSidecar(backend.url);

    const answer = sendRaw(sidecar.port, `GET /first HTTP/1.1\r\nHost: a\r\n\r\n${rawHandshake("/second")}`);
    await vi.waitFor(() => expect(backend.requestLines()).toHaveLength(2));
    answerFirst();

    expect(statusesOf(await answer)).toEqual([200, 200]);
    expect(backend.received()).not.toMatch(/^upgrade:/im);
  });
});

describe("bytes behind a handshake are never a request", () => {
  const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

  test.each([
    [
      "where the backend refuses the WebSocket",
      "/",
      "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
      403,
    ],
    ["where it answers as to a plain request", "/", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200],
    [
      "where it asks for another protocol",
      "/",
      "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
      426,
    ],
    ["where the sidecar refuses", "/a/../b", "", 400],
  ])("%s", async (_, path, answer, status) => {
    await using backend = await startRawBackend((socket) => socket.write(answer));
    await using sidecar = await startSidecar(backend.url);

    expect(statusesOf(await sendRaw(sidecar.port, rawHandshake(path) + smuggled.repeat(3)))).toEqual([
      status,
    ]);

    expect(backend.received()).not.toContain("smuggled");
  });

  test("nor are those that come when the backend has refused", async () => {
    await using backend = await startRawBackend((socket) =>
      socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000\r\n\r\nno"),
    );
    await using sidecar = await startSidecar(backend.url);
    const client = connect({ port: sidecar.port, host: "127.0.0.1" });
    client.on("error", () => {});
    client.write(rawHandshake("/"));
    await once(client, "data");

    client.write(smuggled);
    await vi.waitFor(() => expect(client.bytesWritten).toBeGreaterThan(smuggled.length));
    backend.sockets[0]?.write("x".repeat(999_998));
    client.resume();
    await once(client, "close");

    expect(backend.received()).not.toContain("smuggled");
  });

  test("before the switch of protocols nothing of them reaches the backend, behind it they do, unchanged", async () => {
    await using backend = await startRawBackend(() => {});
    await using sidecar = await startSidecar(backend.url);
    const client = connect({ port: sidecar.port, host: "127.0.0.1" });
    client.resume();
    client.write(`${rawHandshake("/")}early-1 `);
    await vi.waitFor(() => expect(backend.requestLines()).toEqual(["GET / HTTP/1.1"]));
    client.write("early-2 ");
    // A request on another connection has come through: the bytes would have, too.
    const other = sendRaw(sidecar.port, "GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    await vi.waitFor(() => expect(backend.requestLines()).toHaveLength(2));
    expect(backend.received()).not.toContain("early");

    backend.sockets[0]?.write(rawSwitch());
    client.write("late");
    await vi.waitFor(() => expect(backend.received()).toMatch(/early-1 early-2 late$/));

    client.destroy();
    backend.sockets[1]?.destroy();
    await other;
  });

  test("more than a client may send ahead is refused, and the backend's request given up", async () => {
    await using backend = await startRawBackend(() => {});
    await using sidecar = await startSidecar(backend.url);

    const answer = await sendRaw(sidecar.port, rawHandshake("/") + "x".repeat(70_000));

    expect(statusesOf(answer)).toEqual([400]);
    await vi.waitFor(() => expect(backend.sockets.every((socket) => socket.destroyed)).toBe(true));
    expect(backend.received()).not.toContain("xxx");
  });
});

test.each([
  ["a switch", rawSwitch()],
  ["another answer", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n"],
])("%s that comes when the client was refused already goes nowhere", async (_, answer) => {
  await using backend = await startRawBackend(() => {});
  await using sidecar = await startSidecar(backend.url);
  // It stays to read on, so that its connection is still there.
  const client = connect({ port: sidecar.port, host: "127.0.0.1", allowHalfOpen: true });
  client.on("error", () => {});
  let received = "";
  client.on("data", (data) => {
    received += data.toString("latin1");
  });
  client.write(rawHandshake("/"));
  await vi.waitFor(() => expect(backend.requestLines()).toHaveLength(1));
  client.write("x".repeat(70_000));
  await vi.waitFor(() => expect(statusesOf(received)).toEqual([400]));

  backend.sockets[0]?.write(`${answer}no`);
  await vi.waitFor(() => expect(backend.sockets[0]?.destroyed).toBe(true));
  client.destroy();

  expect(statusesOf(received)).toEqual([400]);
  expect(backend.received()).not.toContain("xxx");
});

describe("no tunnel without a real switch to WebSocket:", () => {
  const [UPGRADE, CONNECTION, ACCEPT] = SWITCH_LINES;
  const answer = (...lines: (string | undefined)[]) =>
    `HTTP/1.1 101 Switching Protocols\r\n${lines.join("\r\n")}\r\n\r\n`;

  test.each([
    ["101 without any field", "HTTP/1.1 101 Switching Protocols\r\n\r\n"],
    ["101 without Upgrade", answer(CONNECTION, ACCEPT)],
    ["101 without Connection", answer(UPGRADE, ACCEPT)],
    ["101 to h2c", answer("Upgrade: h2c", CONNECTION, ACCEPT)],
    ["101 to two protocols", answer("Upgrade: websocket, h2c", CONNECTION, ACCEPT)],
    ["101 without Sec-WebSocket-Accept", answer(UPGRADE, CONNECTION)],
    ["101 with another key's Sec-WebSocket-Accept", answer(UPGRADE, CONNECTION, "Sec-WebSocket-Accept: x")],
    ["101 with Sec-WebSocket-Accept twice", answer(UPGRADE, CONNECTION, ACCEPT, ACCEPT)],
    ["no HTTP", "hello\r\n\r\n"],
    ["an interim response, then the end", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"],
    [
      "a length beside a coding",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ["a coding beside chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
    ["a field that is no field", "HTTP/1.1 101 Switching Protocols\r\nUpgrade websocket\r\n\r\n"],
    ["too many fields", answer(UPGRADE, CONNECTION, ACCEPT, `A: ${"a".repeat(20_000)}`)],
  ])("%s is answered for with 502", async (_, bytes) => {
    await using backend = await startRawBackend((socket, data) => {
      if (!data.includes("\r\n\r\n")) return;
      socket.write(bytes);
      // One that has switched waits for what comes.
      if (!bytes.includes(" 101 ")) socket.end();
    });
    await using sidecar = await startSidecar(backend.url);

    const received = await sendRaw(sidecar.port, `${rawHandshake("/")}tunnelled`);

    expect(statusesOf(received)).toEqual([502]);
    expect(received).toContain('"code":"ERR_UPSTREAM_BROKEN"');
    expect(sidecar.failures).toMatchObject([{ code: "ERR_UPSTREAM_BROKEN" }]);
    expect(backend.received()).not.toContain("tunnelled");
    await vi.waitFor(() => expect(backend.sockets.every((socket) => socket.destroyed)).toBe(true));
  });

  test.each([
    "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno",
  ])("another status with the fields of a switch is a response: %j", async (bytes) => {
    await using backend = await startRawBackend((socket) => socket.write(bytes));
    await using sidecar = await startSidecar(backend.url);

    const received = await sendRaw(sidecar.port, `${rawHandshake("/")}tunnelled`);

    expect(statusesOf(received)).toEqual([Number(bytes.slice(9, 12))]);
    expect(received).not.toMatch(/^upgrade:/im);
    expect(received.match(/^connection: .*$/gim)).toEqual(["Connection: close"]);
    expect(backend.received()).not.toContain("tunnelled");
  });

  test("a switch that nobody asked for is answered for with 502", async () => {
    await using backend = await startRawBackend((socket) => socket.write(rawSwitch()));
    await using sidecar = await startSidecar(backend.url);

    const received = await sendRaw(
      sidecar.port,
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    );

    expect(statusesOf(received)).toEqual([502]);
    expect(backend.received()).not.toContain("smuggled");
  });
});

describe("an answer that opens no WebSocket is framed anew", () => {
  test.each([
    [
      "chunked",
      "Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nX-Trailer: 1\r\n\r\n",
      "2\r\nno\r\n0\r\n\r\n",
    ],
    ["with a length", "Content-Length: 2\r\n\r\nno", "no"],
    ["up to the end of the connection", "\r\nno", "2\r\nno\r\n0\r\n\r\n"],
    ["of no bytes", "Content-Length: 0\r\n\r\n", ""],
  ])("%s", async (_, message, body) => {
    await using backend = await startRawBackend((socket) => {
      const fields = "Keep-Alive: timeout=9\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-Kept: 1\r\n";
      socket.end(`HTTP/1.1 403 Forbidden\r\n${fields}${message}`);
    });
    await using sidecar = await startSidecar(backend.url);

    const received = await sendRaw(sidecar.port, rawHandshake("/"));

    expect(received).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
    expect(received.split("\r\n\r\n").slice(1).join("\r\n\r\n")).toBe(body);
    expect(received).toMatch(/^X-Kept: 1\r$/m);
    expect(received).not.toMatch(/^(?:keep-alive|x-hop|x-trailer):/im);
    expect(received.match(/^connection: .*$/gim)).toEqual(["Connection: close"]);
  });

  test("and a second response behind it goes nowhere (CVE-2026-6733)", async () => {
    const one = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    await using backend = await startRawBackend((socket) => socket.write(one + one));
    await using sidecar = await startSidecar(backend.url);

    const received = await sendRaw(sidecar.port, rawHandshake("/"));

    expect(statusesOf(received).length).toBeLessThanOrEqual(1);
    expect(received).not.toMatch(/no.*no/s);
  });

  test("nor do bytes behind an answer that has none", async () => {
    await using backend = await startRawBackend((socket) =>
      socket.write("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n\r\nforged"),
    );
    await using sidecar = await startSidecar(backend.url);

    const received = await sendRaw(sidecar.port, rawHandshake("/"));

    expect(statusesOf(received)).toEqual([204]);
    expect(received).not.toMatch(/forged|content-length/i);
  });
});

test("the fields of a switch are those of this connection, and the backend's own about the WebSocket", async () => {
  await using backend = await startRawBackend((socket, data) => {
    if (!data.includes("\r\n\r\n")) return;
    const connection = "Connection: Upgrade, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nContent-Length: 9";
    socket.end(
      `${rawSwitch("Sec-WebSocket-Protocol: chat", "X-Kept: 1").replace("Connection: Upgrade", connection)}from the backend`,
    );
  });
  await using sidecar = await startSidecar(backend.url);

  const received = await sendRaw(sidecar.port, rawHandshake("/"));

  const [head, ...rest] = received.split("\r\n\r\n");
  expect(head?.split("\r\n").sort()).toEqual(
    [
      "HTTP/1.1 101 Switching Protocols",
      "connection: Upgrade",
      "upgrade: websocket",
      SWITCH_LINES[2],
      "Sec-WebSocket-Protocol: chat",
      "X-Kept: 1",
    ].sort(),
  );
  expect(rest).toEqual(["from the backend"]);
});

test("the bytes of a field's value stay what they are, and never become the end of a line (CVE-2016-2216)", async () => {
  // As one byte each, the letters would be CR and LF.
  await using backend = await startRawBackend((socket) =>
    socket.end(Buffer.from(rawSwitch("X-Text: \u010d\u010aX-Forged: 1"), "utf8")),
  );
  await using sidecar = await startSidecar(backend.url);

  const received = await sendRaw(sidecar.port, rawHandshake("/"));

  expect(received).toContain("X-Text: \xc4\x8d\xc4\x8aX-Forged: 1\r\n");
});

test("a bad credential opens nothing, with Expect or without", async () => {
  await using backend = await switchingBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: "authenticators: {ops: {type: apiKey, header: X-Api-Key, keys: [{subject: a, sha256: '0000000000000000000000000000000000000000000000000000000000000000'}]}}\nauthenticate: [ops, anonymous]",
  });

  for (const lines of [["X-Api-Key: forged"], ["X-Api-Key: forged", "Expect: 100-continue"]])
    expect(statusesOf(await sendRaw(sidecar.port, rawHandshake("/", ...lines)))).toEqual([401]);

  expect(backend.received()).toBe("");
});
