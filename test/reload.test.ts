import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { decodeJwt } from "jose";
import { describe, expect, test } from "vitest";
import { type RawData, WebSocket, WebSocketServer } from "ws";
import { startBackend, type TestBackend } from "./support/backend.ts";
import { temporaryFolder } from "./support/command-line.ts";
import { startReloadable } from "./support/reloadable.ts";

/** The token that the backend got last. */
function lastToken({ requests }: Pick<TestBackend, "requests">) {
  return decodeJwt(String(requests.at(-1)?.headers.authorization).replace("Bearer ", ""));
}

describe("another configuration", () => {
  test("is used for every request that comes after it", async () => {
    await using old = await startBackend();
    await using other = await startBackend();
    await using sidecar = await startReloadable(`upstream: ${old.url}\ntoken: {audience: one}`);
    await fetch(sidecar.url);

    const outcome = await sidecar.reload(`upstream: ${other.url}\ntoken: {audience: two}`);
    await fetch(sidecar.url);

    expect(outcome.needsRestart).toEqual([]);
    expect(old.requests).toHaveLength(1);
    expect(other.requests).toHaveLength(1);
    expect(lastToken(other).aud).toBe("two");
  });

  test("leaves the requests under way with the one that they began with", async () => {
    const held: ServerResponse[] = [];
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    await using old = await startBackend((_request, response) => {
      response.write("be");
      held.push(response);
      begin();
    });
    await using other = await startBackend();
    await using sidecar = await startReloadable(`upstream: ${old.url}`);
    const underWay = fetch(sidecar.url).then((response) => response.text());
    await begun;

    await sidecar.reload(`upstream: ${other.url}`);
    expect(await (await fetch(sidecar.url)).text()).toBe("ok");
    held[0]?.end("gun");

    expect(await underWay).toBe("begun");
  });

  test("leaves the WebSockets open, and ends what is left of the old upstream behind the last of them", async () => {
    await using old = await startBackend();
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    await once(server, "listening");
    server.on("connection", (socket) => socket.on("message", (data: RawData) => socket.send(`${data}!`)));
    const { port } = server.address() as { port: number };
    await using sidecar = await startReloadable(`upstream: http://127.0.0.1:${port}`);
    const client = new WebSocket(sidecar.url);
    await once(client, "open");

    await sidecar.reload(`upstream: ${old.url}`);
    client.send("still here");
    const [answer] = (await once(client, "message")) as [RawData];
    expect(String(answer)).toBe("still here!");

    client.close();
    await once(client, "close");
    server.close();
    await once(server, "close");
  });

  test("goes on with the connections to an upstream that both have", async () => {
    const ports = new Set<number | undefined>();
    await using backend = await startBackend((request, response) => {
      ports.add(request.socket.remotePort);
      response.end("ok");
    });
    await using sidecar = await startReloadable(`upstream: ${backend.url}\ntoken: {audience: one}`);
    for (const audience of ["one", "two", "three"]) {
      await sidecar.reload(`upstream: ${backend.url}\ntoken: {audience: ${audience}}`);
      await (await fetch(sidecar.url)).text();
    }
    expect(ports.size).toBe(1);
  });

  test("is refused whole where a part of it cannot be opened, and /readyz says why", async () => {
    await using backend = await startBackend();
    await using sidecar = await startReloadable(`upstream: ${backend.url}\ntoken: {audience: one}`);
    const broken = `upstream: {url: "https://127.0.0.1:9", tls: {ca: /no/such/ca.crt}}\ntoken: {audience: two}`;

    await expect(sidecar.reload(broken)).rejects.toMatchObject({ code: "ERR_UPSTREAM_FILE" });
    expect((await fetch(sidecar.url)).status).toBe(200);
    expect(lastToken(backend).aud).toBe("one");
    expect(await sidecar.check("configuration")).toEqual({
      ready: true,
      reason: expect.stringContaining("/no/such/ca.crt: this file does not exist"),
    });

    await sidecar.reload(`upstream: ${backend.url}`);
    expect(await sidecar.check("configuration")).toEqual({ ready: true });
  });

  test("with a typo is refused with its place", async () => {
    await using backend = await startBackend();
    await using sidecar = await startReloadable(`upstream: ${backend.url}`);

    await expect(sidecar.reload(`upstream: ${backend.url}\ntoken:\n  audiance: two`)).rejects.toMatchObject({
      code: "ERR_CONFIG",
    });
    const { reason } = await sidecar.check("configuration");
    expect(reason).toMatch(/^sidecar\.yaml:\d+:3 token\.audiance: unknown key .*audience/);
  });

  test("names the keys that have no effect before a restart, and is used but for them", async () => {
    await using backend = await startBackend();
    await using sidecar = await startReloadable(`upstream: ${backend.url}\ntoken: {audience: one}`);
    const issuerUrl = sidecar.issuer().url;

    const { needsRestart } = await sidecar.reload(
      `listen: 127.0.0.1:1
admin: false
upstream: ${backend.url}
workers: 2
limits: {connections: 5, headerBytes: 4KiB, headerCount: 5, streams: 3, bodyBytes: 1KiB}
timeouts: {headers: 1s, request: 2s, send: 3s, keepAlive: 4s, drain: 5s, notReady: 6s}
issuer: {url: "https://else.example.com", basePath: /else, keys: {directory: ./elsewhere}}
token: {audience: two}`,
    );
    expect(needsRestart).toEqual([
      "listen",
      "admin",
      "workers",
      "limits.headerBytes",
      "limits.headerCount",
      "limits.connections",
      "limits.streams",
      "timeouts.headers",
      "timeouts.request",
      "timeouts.send",
      "timeouts.keepAlive",
      "issuer.url",
      "issuer.basePath",
      "issuer.keys",
    ]);

    const tooLong = await fetch(sidecar.url, { method: "POST", body: "x".repeat(2000) });
    expect(tooLong.status).toBe(413);
    expect((await fetch(sidecar.url)).status).toBe(200);
    expect(lastToken(backend)).toMatchObject({ aud: "two", iss: issuerUrl });
  });

  test("that signs with another algorithm has a key for it, and the keys before stay published", async () => {
    await using backend = await startBackend();
    await using sidecar = await startReloadable(`upstream: ${backend.url}`);
    const before = sidecar
      .issuer()
      .jwks()
      .keys.map(({ kid }) => kid);

    await sidecar.reload(`upstream: ${backend.url}\nissuer: {algorithm: ES256, keys: {ephemeral: true}}`);
    await fetch(sidecar.url);

    const { keys } = sidecar.issuer().jwks();
    expect(keys[0]?.alg).toBe("ES256");
    expect(keys.map(({ kid }) => kid)).toEqual([keys[0]?.kid, ...before]);
    const token = String(backend.requests.at(-1)?.headers.authorization).replace("Bearer ", "");
    expect(JSON.parse(Buffer.from(String(token.split(".")[0]), "base64url").toString())).toMatchObject({
      alg: "ES256",
      kid: keys[0]?.kid,
    });
  });

  test("goes on with what an authenticator that both have knows: the keys of an identity provider", async () => {
    await using backend = await startBackend();
    using folder = temporaryFolder();
    const file = `${folder.path}/keys.yaml`;
    writeFileSync(file, "keys: []\n");
    const opened: string[] = [];
    const yaml = (audience: string) =>
      `upstream: ${backend.url}
authenticators: {partners: {type: apiKey, keysFile: ${file}}}
authenticate: [partners]
token: {audience: ${audience}}`;
    await using sidecar = await startReloadable(yaml("one"), {
      onPolicyEvent: ({ key, kind }) => opened.push(`${key} ${kind}`),
    });
    for (const audience of ["two", "three"]) await sidecar.reload(yaml(audience));

    writeFileSync(file, "- nonsense\n");
    // Told of by one that watches it, and not by each configuration that there was.
    await expect.poll(() => opened).toEqual(["authenticators.partners problem"]);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(opened).toHaveLength(1);
  });

  test("is not taken by a sidecar that does not run", async () => {
    await using backend = await startBackend();
    const sidecar = await startReloadable(`upstream: ${backend.url}`);
    await sidecar.close();
    await expect(sidecar.reload(`upstream: ${backend.url}`)).rejects.toMatchObject({
      code: "ERR_NOT_RUNNING",
    });
  });
});
