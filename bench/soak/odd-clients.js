// Clients that break off, are slow, or send what must not be sent. What they do on purpose is no error; what they get is one
// where it is not what they should get.
import { connect } from "node:net";
import { setTimeout } from "node:timers/promises";
import { pause } from "./pause.js";

const PAUSE_MILLISECONDS = 200;
const PATIENCE_MILLISECONDS = 15_000;
const SLOW_BYTES = 8_000_000;
const SLOW_PAUSE_MILLISECONDS = 20;

const HOST = "Host: 127.0.0.1\r\n";
const HANDSHAKE = `GET /chat HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
/** "hello" with a mask of zeros (RFC 6455 §5.2), and as it comes back. */
const FRAME = Buffer.from([0x82, 0x85, 0, 0, 0, 0, ...Buffer.from("hello")]);
const ECHO = "\x82\x05hello";
/** The first bytes of a frame of 64 KiB. */
const HALF_FRAME = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3]);

/** What each kind does with a connection; it throws where it gets what it should not. */
const KINDS = {
  "leaves in the middle of a request's head": async (client) => {
    client.write(`GET /urls/1 HTTP/1.1\r\nHo`);
    await setTimeout(5);
  },
  "leaves in the middle of a body": async (client) => {
    client.write(`POST /bodies/in HTTP/1.1\r\n${HOST}Content-Length: 1000000\r\n\r\n${"x".repeat(50_000)}`);
    await setTimeout(5);
  },
  "leaves in the middle of a chunk": async (client) => {
    client.write(
      `POST /bodies/in HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nff\r\nhel`,
    );
    await setTimeout(5);
  },
  "leaves before the answer": async (client) => {
    client.write(`GET /bodies/late HTTP/1.1\r\n${HOST}\r\n`);
    await setTimeout(5);
  },
  "leaves in the middle of an answer": async (client) => {
    client.write(`GET /bodies/1000000 HTTP/1.1\r\n${HOST}\r\n`);
    await client.until(/^HTTP\/1\.1 200 /);
  },
  "leaves in the middle of a WebSocket frame": async (client) => {
    client.write(HANDSHAKE);
    await client.until(/^HTTP\/1\.1 101 .*\r\n\r\n/s);
    client.write(FRAME);
    await client.until({ test: (text) => text.endsWith(ECHO) });
    client.write(HALF_FRAME);
    await setTimeout(5);
  },
  "leaves in the middle of pipelined requests": async (client) => {
    client.write(`GET /urls/2 HTTP/1.1\r\n${HOST}\r\n`.repeat(10));
    await client.until(/^HTTP\/1\.1 200 /);
  },
  "gets an answer to each pipelined request": async (client) => {
    client.write(`GET /urls/3 HTTP/1.1\r\n${HOST}\r\n`.repeat(5));
    await client.until({ test: (text) => text.split("HTTP/1.1 200 ").length > 5 });
  },
  "reads slowly, and gets everything": async (client) => {
    client.write(`GET /bodies/${SLOW_BYTES} HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
    const bytes = await client.readSlowly();
    if (bytes < SLOW_BYTES) throw new Error(`${bytes} bytes have come, and not ${SLOW_BYTES}`);
  },
  "gets half of an answer from a backend that breaks off": async (client) => {
    client.write(`GET /bodies/half HTTP/1.1\r\n${HOST}\r\n`);
    await client.until(/^HTTP\/1\.1 (200|502) /);
    await client.end();
  },
  "is refused for its path": async (client) => {
    client.write(`GET /urls/..%2f1 HTTP/1.1\r\n${HOST}\r\n`);
    await client.until(/^HTTP\/1\.1 400 /);
  },
  "is refused for two lengths": async (client) => {
    client.write(
      `POST /urls/1 HTTP/1.1\r\n${HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    );
    await client.until(/^HTTP\/1\.1 400 /);
    await client.end();
  },
  "is refused for what is no HTTP": async (client) => {
    client.write("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n");
    await client.until(/^HTTP\/1\.1 400 /);
    await client.end();
  },
  "is refused for its key": async (client) => {
    client.write(`GET /orders/1 HTTP/1.1\r\n${HOST}X-Api-Key: unknown\r\n\r\n`);
    await client.until(/^HTTP\/1\.1 401 /);
  },
};

/** Runs one of each kind after another until `signal` is aborted; returns how many there were. */
export async function runOddClients({ port, tally, signal }) {
  let count = 0;
  const run = async ([name, act], index) => {
    for (let turn = index; !signal.aborted; turn++) {
      const client = openClient(port);
      count++;
      try {
        await client.connected;
        await act(client);
      } catch (error) {
        tally.add(`odd client: ${name}`, error.message);
      }
      // By a reset as often as by an end.
      if (turn % 2 === 0) client.socket.resetAndDestroy();
      else client.socket.destroy();
      await pause(PAUSE_MILLISECONDS, signal);
    }
  };
  await Promise.all(Object.entries(KINDS).map(run));
  return count;
}

/** A connection, what has come over it, and what to wait for. */
function openClient(port) {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  const connected = Promise.withResolvers();
  const ended = Promise.withResolvers();
  let received = "";
  let bytes = 0;
  let keeps = true;
  let look = () => {};
  socket.setTimeout(PATIENCE_MILLISECONDS, () => socket.destroy());
  socket.once("connect", connected.resolve);
  socket.on("error", connected.reject);
  // Not everybody waits for it.
  connected.promise.catch(() => {});
  socket.on("data", (data) => {
    bytes += data.length;
    if (keeps) received += data.toString("latin1");
    look();
  });
  socket.once("close", () => {
    ended.resolve();
    look();
  });
  return {
    socket,
    connected: connected.promise,
    write: (data) => socket.write(data),
    end: () => ended.promise,
    /** Waits until what has come passes the test of a pattern. */
    until(pattern) {
      const { promise, resolve, reject } = Promise.withResolvers();
      look = () => {
        if (pattern.test(received)) resolve();
        else if (socket.destroyed)
          reject(new Error(`closed after ${bytes} bytes: ${received.slice(0, 100)}`));
      };
      look();
      return promise;
    },
    /** Reads with a pause after each piece; returns how many bytes have come until the end. */
    async readSlowly() {
      keeps = false;
      look = () => {
        socket.pause();
        setTimeout(SLOW_PAUSE_MILLISECONDS).then(() => socket.resume());
      };
      await ended.promise;
      return bytes;
    },
  };
}
