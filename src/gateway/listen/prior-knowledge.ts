import type { Socket } from "node:net";

/** What a client that speaks HTTP/2 sends before everything else (RFC 9113 §3.4). */
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** What becomes of a connection, once it is known what its client speaks. */
export interface SpokenProtocols {
  http1(socket: Socket): void;
  http2(socket: Socket): void;
  /** Nothing that tells one from the other has come in time. */
  silent(socket: Socket): void;
}

/**
 * Finds out by the first bytes of a connection whether its client speaks HTTP/2 with prior knowledge (RFC 9113 §3.3).
 * All that was read is put back. A connection that ends before is let go.
 */
export function tellProtocols(socket: Socket, milliseconds: number, spoken: SpokenProtocols): void {
  let seen: Buffer = Buffer.alloc(0);
  const late = setTimeout(() => settle(spoken.silent), milliseconds);
  const settle = (speak: (socket: Socket) => void) => {
    clearTimeout(late);
    socket.off("readable", read);
    socket.off("end", leave);
    socket.off("close", leave);
    if (seen.length > 0) socket.unshift(seen);
    speak(socket);
  };
  const leave = () => {
    clearTimeout(late);
    socket.end();
  };
  function read(): void {
    const bytes: Buffer | null = socket.read();
    // The end, too, is something to read.
    if (bytes === null) return;
    seen = seen.length === 0 ? bytes : Buffer.concat([seen, bytes]);
    const length = Math.min(seen.length, PREFACE.length);
    if (!seen.subarray(0, length).equals(PREFACE.subarray(0, length))) settle(spoken.http1);
    else if (length === PREFACE.length) settle(spoken.http2);
  }
  socket.on("readable", read);
  socket.once("end", leave);
  socket.once("close", leave);
}
