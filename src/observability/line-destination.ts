import { fstatSync, write, writeSync } from "node:fs";

/** Lines that wait to be written take this much at most; what comes then is dropped. */
const MAX_WAITING_BYTES = 1024 * 1024;
/** A pipe takes so much at once whole or not at all (PIPE_BUF), so that no line of another worker gets into one of ours. */
const PIECE_BYTES = 4096;
/** Lines wait for others, to be written with them. */
const GATHER_MILLISECONDS = 10;
/** Where nobody reads, or the disk is full. */
const RETRY_MILLISECONDS = 20;
/** So much is written at once, without waiting for more. */
const GATHERED_BYTES = 64 * 1024;
/** Buffers that are kept for later. */
const MAX_SPARE = 16;
/** What the end of the process waits for a reader. */
const PATIENCE_MILLISECONDS = 500;

/** Whole lines, as many as fit. */
interface Piece {
  readonly buffer: Buffer;
  bytes: number;
  lines: number;
}

/** What is being written. */
interface Rest {
  readonly bytes: Buffer;
  /** What of it was whole lines before any of it was written. */
  readonly lines: number;
}

/** Where lines go. */
export interface LineSink {
  /** Takes one line, with its end. It never waits, and never throws. */
  write(line: string): void;
  /** Writes now what waits, as far as it can be; for where the process may end. */
  flush(): void;
  /** Lines that nobody will read. */
  readonly droppedLines: number;
  /** Told of lines that were dropped, with their number, when others can be written again. */
  onDropped: ((lines: number) => void) | undefined;
}

/**
 * Writes lines to a file descriptor beside the requests: where nobody reads them, the newest are dropped and counted, and
 * nothing waits for the reader.
 */
export class LineDestination implements LineSink {
  droppedLines = 0;
  onDropped: ((lines: number) => void) | undefined;
  /** Those that somebody was told of. */
  #toldLines = 0;
  readonly #fd: number;
  readonly #waiting: Piece[] = [];
  #waitingBytes = 0;
  /** What is written first: the rest of a piece. */
  #rest: Rest | undefined;
  /** Pieces that have been written, to be used again. */
  readonly #spare: Buffer[] = [];
  #isOpen = false;
  /** A pipe or a socket takes what it can at once; what is written to anything else might take time. */
  #neverWaits = false;
  #isWriting = false;
  #timer: NodeJS.Timeout | undefined;
  /** The last write did not work. */
  #isStuck = false;
  /** Nobody will ever read again. */
  #isClosed = false;

  /** @param fd of a file, a terminal, a pipe or a socket */
  constructor(fd: number) {
    this.#fd = fd;
  }

  write(line: string): void {
    if (this.#isClosed || this.#waitingBytes + line.length > MAX_WAITING_BYTES) {
      this.droppedLines++;
      return;
    }
    const last = this.#waiting.at(-1);
    const bytes = (last && append(last, line)) || this.#begin(line);
    this.#waitingBytes += bytes;
    if (this.#waitingBytes >= GATHERED_BYTES && !this.#isStuck) this.#writeWaiting();
    else this.#writeSoon(GATHER_MILLISECONDS);
  }

  flush(): void {
    const until = performance.now() + PATIENCE_MILLISECONDS;
    while (!this.#writeAtOnce() && performance.now() < until)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MILLISECONDS);
  }

  /** Begins a piece with a line. */
  #begin(line: string): number {
    if (!this.#isOpen) this.#open();
    const piece = { buffer: this.#spare.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES), bytes: 0, lines: 0 };
    let bytes = append(piece, line);
    if (bytes === 0) {
      const buffer = Buffer.from(line);
      bytes = buffer.length;
      this.#waiting.push({ buffer, bytes, lines: 1 });
    } else this.#waiting.push(piece);
    return bytes;
  }

  #open(): void {
    this.#isOpen = true;
    try {
      const stat = fstatSync(this.#fd);
      this.#neverWaits = stat.isFIFO() || stat.isSocket();
      // Node.js sets O_NONBLOCK when it opens the stream; without it a write would wait for whoever reads.
      if (this.#neverWaits) void process.stderr;
    } catch {
      // There is no such descriptor. The first write finds that out, and drops.
    }
    process.once("exit", () => this.flush());
  }

  #writeSoon(milliseconds: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#writeWaiting();
    }, milliseconds).unref();
  }

  #writeWaiting(): void {
    if (!this.#neverWaits) this.#writeBeside();
    else if (!this.#writeAtOnce()) this.#writeSoon(RETRY_MILLISECONDS);
  }

  /** @returns whether nothing waits any more that could be written */
  #writeAtOnce(): boolean {
    try {
      for (let rest = this.#next(); rest; rest = this.#next())
        this.#took(rest, writeSync(this.#fd, rest.bytes));
      return true;
    } catch (error) {
      this.#failed(this.#rest as Rest, error as NodeJS.ErrnoException);
      return this.#isClosed;
    }
  }

  #writeBeside(): void {
    const rest = this.#isWriting ? undefined : this.#next();
    if (!rest) return;
    this.#rest = undefined;
    this.#isWriting = true;
    write(this.#fd, rest.bytes, (error, count) => {
      this.#isWriting = false;
      if (error) this.#failed(rest, error);
      else this.#took(rest, count);
      if (this.#rest || this.#waiting.length > 0) this.#writeSoon(error ? RETRY_MILLISECONDS : 0);
    });
  }

  /** What is to be written: as much as can be, but of a pipe no more than it takes whole. */
  #next(): Rest | undefined {
    if (this.#rest || this.#waiting.length === 0) return this.#rest;
    const pieces = this.#waiting.splice(0, this.#neverWaits ? 1 : this.#waiting.length);
    const [first] = pieces as [Piece];
    const bytes =
      pieces.length === 1
        ? first.buffer.subarray(0, first.bytes)
        : Buffer.concat(pieces.map((piece) => piece.buffer.subarray(0, piece.bytes)));
    this.#rest = { bytes, lines: pieces.reduce((sum, { lines }) => sum + lines, 0) };
    return this.#rest;
  }

  #took({ bytes, lines }: Rest, count: number): void {
    this.#isStuck = false;
    this.#waitingBytes -= count;
    this.#rest = count < bytes.length ? { bytes: bytes.subarray(count), lines } : undefined;
    if (!this.#rest && bytes.buffer.byteLength === PIECE_BYTES && this.#spare.length < MAX_SPARE)
      this.#spare.push(Buffer.from(bytes.buffer));
    if (this.droppedLines === this.#toldLines || this.#waitingBytes > MAX_WAITING_BYTES / 2) return;
    const untold = this.droppedLines - this.#toldLines;
    this.#toldLines = this.droppedLines;
    this.onDropped?.(untold);
  }

  #failed(rest: Rest, { code }: NodeJS.ErrnoException): void {
    this.#isStuck = true;
    if (code === "EAGAIN") {
      this.#rest = rest;
      return;
    }
    this.#rest = undefined;
    this.#waitingBytes -= rest.bytes.length;
    this.droppedLines += rest.lines;
    // A full disk may have room again. Whoever closed a pipe does not come back.
    if (code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG") return;
    this.#isClosed = true;
    for (const { lines } of this.#waiting.splice(0)) this.droppedLines += lines;
    this.#waitingBytes = 0;
  }
}

/**
 * Adds a line to a piece.
 *
 * @returns its bytes; 0 where it does not fit
 */
function append(piece: Piece, line: string): number {
  const { buffer, bytes } = piece;
  if (line.length > buffer.length - bytes) return 0;
  const written = buffer.write(line, bytes);
  // Letters beyond ASCII take more than one byte, and may not fit after all.
  if (written !== line.length && written !== Buffer.byteLength(line)) return 0;
  piece.bytes += written;
  piece.lines++;
  return written;
}
