import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createLocalJWKSet, jwtVerify } from "jose";
import { Server } from "socket.io";
import { io, type ManagerOptions } from "socket.io-client";
import { expect, test } from "vitest";
import { startSidecar } from "../support/sidecar.ts";

/** A server of socket.io that answers `add` with a sum, and greets whoever comes. */
async function startSocketIo() {
  const http = createServer();
  const server = new Server(http);
  server.on("connection", (socket) => {
    socket.emit("greeting", socket.handshake.headers.authorization);
    socket.on("add", (a: number, b: number, answer: (sum: number) => void) => answer(a + b));
    socket.on("bytes", (bytes: Buffer, answer: (same: Buffer) => void) => answer(bytes));
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  const { port } = http.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    server,
    async [Symbol.asyncDispose]() {
      await server.close();
    },
  };
}

test.each<[string, Partial<ManagerOptions>]>([
  ["that polls first, and then upgrades", {}],
  ["that has a WebSocket from the start", { transports: ["websocket"] }],
  ["that polls alone", { transports: ["polling"] }],
])("a client of socket.io %s talks with its server, which knows who is calling", async (_, options) => {
  await using backend = await startSocketIo();
  await using sidecar = await startSidecar(backend.url, { yaml: "token: {audience: chat, subject: me}" });
  const socket = io(sidecar.url, { ...options, forceNew: true });
  const greeting = new Promise<string>((resolve) => socket.once("greeting", resolve));
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  const { engine } = socket.io;
  if (!options.transports && engine.transport.name !== "websocket")
    await new Promise<void>((resolve) => engine.once("upgrade", () => resolve()));

  expect(engine.transport.name).toBe(options.transports?.[0] ?? "websocket");
  expect(await socket.emitWithAck("add", 2, 3)).toBe(5);
  const bytes = Buffer.alloc(300_000, "0123456789");
  expect(Buffer.from(await socket.emitWithAck("bytes", bytes)).equals(bytes)).toBe(true);
  const keys = createLocalJWKSet({ keys: [...sidecar.issuer.jwks().keys] });
  const { payload } = await jwtVerify((await greeting).replace("Bearer ", ""), keys, { audience: "chat" });
  expect(payload.sub).toBe("me");

  const left = new Promise<string>((resolve) => socket.once("disconnect", resolve));
  backend.server.disconnectSockets(true);
  expect(await left).toMatch(/server disconnect|transport close/);
  socket.close();
});

test("a client of socket.io comes back where the sidecar was restarted", async () => {
  await using backend = await startSocketIo();
  const sidecar = await startSidecar(backend.url);
  const socket = io(sidecar.url, { transports: ["websocket"], forceNew: true, reconnectionDelay: 50 });
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  const left = new Promise<string>((resolve) => socket.once("disconnect", resolve));
  const again = new Promise<void>((resolve) => socket.io.once("reconnect", () => resolve()));

  await sidecar.close();
  expect(await left).toBe("transport close");
  await using _restarted = await startSidecar(backend.url, { yaml: `listen: 127.0.0.1:${sidecar.port}` });

  await again;
  expect(await socket.emitWithAck("add", 2, 3)).toBe(5);
  socket.close();
});
