import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** Types of frames (RFC 9113 §6). */
export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  resetStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

/** No other frame of this message follows on the stream (RFC 9113 §6.1, §6.2). */
export const END_STREAM = 0x1;
/** The section of fields ends with this frame (RFC 9113 §6.2). */
export const END_HEADERS = 0x4;

/** What a client sends before everything else (RFC 9113 §3.4). */
export const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** What a client says first: the preface, and settings that keep the server from compressing with a table. */
export const OPENING = Buffer.concat([
  Buffer.from(PREFACE),
  frame(FRAME.settings, 0, 0, Buffer.from([0, 1, 0, 0, 0, 0])),
]);

/** A frame that has arrived. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** The bytes of a frame: length, type, flags, stream, payload (RFC 9113 §4.1). */
export function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** Fields as they are, each a literal without index or Huffman code (RFC 7541 §6.2.2). */
export function fieldBlock(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

/** RFC 7541 §5.2. */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}

/** The pseudo fields of a request, with others in place of these or behind them. */
export function requestFields(
  others: readonly (readonly [string, string])[] = [],
  { method = "GET", path = "/", authority = "a" } = {},
): [string, string][] {
  return [
    [":method", method],
    [":scheme", "http"],
    [":path", path],
    [":authority", authority],
    ...others.map(([name, value]): [string, string] => [name, value]),
  ];
}

/** A HEADERS frame that is a whole request without a body, unless `flags` say otherwise. */
export function requestFrame(
  streamId: number,
  fields: readonly (readonly [string, string])[] = requestFields(),
  flags = END_STREAM | END_HEADERS,
): Buffer {
  return frame(FRAME.headers, flags, streamId, fieldBlock(fields));
}

/** An HTTP/2 connection that sends what it is told, and keeps every frame that comes. */
export class FrameClient implements Disposable {
  readonly socket: Socket;
  readonly frames: Frame[] = [];
  readonly closed: Promise<unknown>;
  #pending = Buffer.alloc(0);

  /** @param socket open; it is spoken to without further ado */
  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => socket.once("close", resolve));
    socket.on("data", (data: Buffer) => {
      this.#pending = Buffer.concat([this.#pending, data]);
      while (this.#pending.length >= 9 && this.#pending.length >= 9 + this.#pending.readUIntBE(0, 3)) {
        const length = this.#pending.readUIntBE(0, 3);
        const [type = 0, flags = 0] = this.#pending.subarray(3, 5);
        const streamId = this.#pending.readUInt32BE(5);
        this.frames.push({ type, flags, streamId, payload: this.#pending.subarray(9, 9 + length) });
        this.#pending = this.#pending.subarray(9 + length);
      }
    });
  }

  /** Connects without TLS, and opens with {@link OPENING}. */
  static async open(port: number): Promise<FrameClient> {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    const client = new FrameClient(socket);
    client.send(OPENING);
    return client;
  }

  send(...frames: Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  /** Waits for a frame, also one that has come already. Fails when the connection ends before, or after 5 seconds. */
  async next(matches: (frame: Frame) => boolean): Promise<Frame> {
    const deadline = Date.now() + 5000;
    for (;;) {
      const found = this.frames.find(matches);
      if (found) return found;
      if (this.socket.destroyed || Date.now() > deadline)
        throw new Error(`no such frame came, but ${JSON.stringify(this.frames)}`);
      await sleep(5);
    }
  }

  /** How a stream went: its status, and the code with which it or its connection was ended. */
  async outcomeOf(streamId: number): Promise<{ status?: number; reset?: number; goaway?: number }> {
    const last = await this.next(
      ({ type, flags, streamId: id }) =>
        type === FRAME.goaway ||
        (id === streamId && (type === FRAME.resetStream || (flags & END_STREAM) !== 0)),
    );
    const head = this.frames.find(({ type, streamId: id }) => type === FRAME.headers && id === streamId);
    return {
      ...(head && { status: statusOf(head.payload) }),
      ...(last.type === FRAME.resetStream && { reset: last.payload.readUInt32BE(0) }),
      ...(last.type === FRAME.goaway && { goaway: last.payload.readUInt32BE(4) }),
    };
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** The seven statuses of the static table, from its entry 8 on (RFC 7541 Appendix A). */
const INDEXED_STATUSES = [200, 204, 206, 304, 400, 404, 500];

/** The `:status` that a block begins with. */
function statusOf(block: Buffer): number {
  let offset = 0;
  // Changes of the table's size (RFC 7541 §6.3).
  while ((block.readUInt8(offset) & 0xe0) === 0x20) offset++;
  const first = block.readUInt8(offset);
  if (first >= 0x80) return INDEXED_STATUSES[(first & 0x7f) - 8] ?? 0;
  const length = block.readUInt8(offset + 1);
  const value = block.subarray(offset + 2, offset + 2 + (length & 0x7f));
  return Number(length & 0x80 ? digitsOf(value) : value.toString("latin1"));
}

/** Digits in the Huffman code: 0 to 2 have five bits, 3 to 9 six (RFC 7541 Appendix B). */
function digitsOf(bytes: Buffer): string {
  let bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  let digits = "";
  while (bits.length >= 5 && !/^1+$/.test(bits)) {
    const isShort = bits.startsWith("000");
    const code = Number.parseInt(bits.slice(0, isShort ? 5 : 6), 2);
    digits += isShort ? code : code - 22;
    bits = bits.slice(isShort ? 5 : 6);
  }
  return digits;
}
