import { once } from "node:events";
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from "node:net";
import { expect, test } from "vitest";
import { startRawBackend } from "../support/raw-backend.ts";
import { startTlsSidecar } from "../support/tls-sidecar.ts";

const BEGINNING = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
const ALERT = 0x15;

/** A TCP port in front of a TLS port that notes the type of each record from there (RFC 5246 §6.2.1). */
async function startRecorder(port: number) {
  const recordTypes: number[] = [];
  const server = createServer((from) => {
    const to = connectTcp(port, "127.0.0.1");
    from.on("error", () => {}).pipe(to);
    to.on("error", () => {}).pipe(from);
    let pending = Buffer.alloc(0);
    to.on("data", (data: Buffer) => {
      pending = Buffer.concat([pending, data]);
      while (pending.length >= 5 && pending.length >= 5 + pending.readUInt16BE(3)) {
        recordTypes.push(pending[0] as number);
        pending = pending.subarray(5 + pending.readUInt16BE(3));
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    recordTypes,
    [Symbol.dispose]: () => void server.close(),
  };
}

test.each([
  ["whole ends with the alert close_notify", (socket: Socket) => socket.end("0\r\n\r\n"), true],
  ["cut off ends without it", (socket: Socket) => socket.destroy(), false],
])(
  "over TLS a response to an HTTP/1.0 client that is %s: so it knows which it was",
  async (_, finish, hasAlert) => {
    await using backend = await startRawBackend((socket) => {
      socket.write(BEGINNING);
      setTimeout(() => finish(socket), 50);
    });
    await using tls = await startTlsSidecar(backend.url);
    using recorder = await startRecorder(tls.port);
    // In TLS 1.3 the type of a record is encrypted.
    const socket = await tls.connect({ port: recorder.port, maxVersion: "TLSv1.2" });
    let received = "";
    socket.on("data", (data) => {
      received += data;
    });
    socket.on("error", () => {});
    socket.write("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    await once(socket, "close");

    expect(received).toMatch(/\r\n\r\nhello$/);
    expect(recorder.recordTypes.includes(ALERT)).toBe(hasAlert);
  },
);
