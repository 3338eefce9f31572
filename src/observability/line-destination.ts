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
const CHUNK_BYTES = 64 * 1024;
/** What a character takes at most (UTF-8, of a UTF-16 code unit). */
const MAX_CHARACTER_BYTES = 3;
/** What the end of the process waits for a reader. */
const PATIENCE_MILLISECONDS = 500;

const NOTHING = Buffer.alloc(0);
const LINE_FEED = 0x0a;

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
  /** What is written first: the chunk at hand, from where the last write ended. */
  #bytes: Buffer = NOTHING;
  /** Chunks behind it, each of whole lines. */
  readonly #full: Buffer[] = [];
  #fullBytes = 0;
  /** The last chunk: lines are put there at once, as a text that is put together is best read while it is warm. */
  #chunk: Buffer = NOTHING;
  #chunkBytes = 0;
  /** A chunk that has been written, to be used again. */
  #spare: Buffer | undefined;
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
    const waitingBytes = this.#waitingBytes;
    if (this.#isClosed || waitingBytes + line.length > MAX_WAITING_BYTES) {
      this.droppedLines++;
      return;
    }
    if (!this.#isOpen) this.#open();
    if (line.length * MAX_CHARACTER_BYTES > this.#chunk.length - this.#chunkBytes)
      this.#beginChunk(line.length);
    this.#chunkBytes += this.#chunk.write(line, this.#chunkBytes);
    if (waitingBytes >= CHUNK_BYTES && !this.#isStuck) this.#writeWaiting();
    else this.#timer ??= this.#writeIn(GATHER_MILLISECONDS);
  }

  flush(): void {
    const until = performance.now() + PATIENCE_MILLISECONDS;
    while (!this.#writeAtOnce() && performance.now() < until)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MILLISECONDS);
  }

  get #waitingBytes(): number {
    return this.#bytes.length + this.#fullBytes + this.#chunkBytes;
  }

  #beginChunk(characters: number): void {
    this.#endChunk();
    this.#chunk = this.#spare ?? NOTHING;
    this.#spare = undefined;
    const neededBytes = characters * MAX_CHARACTER_BYTES;
    if (this.#chunk.length < neededBytes)
      this.#chunk = Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, neededBytes));
  }

  #endChunk(): void {
    if (this.#chunkBytes === 0) return;
    this.#full.push(this.#chunk.subarray(0, this.#chunkBytes));
    this.#fullBytes += this.#chunkBytes;
    this.#chunk = NOTHING;
    this.#chunkBytes = 0;
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

  #writeIn(milliseconds: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#timer = undefined;
      this.#writeWaiting();
    }, milliseconds).unref();
  }

  #writeWaiting(): void {
    if (!this.#neverWaits) this.#writeBeside();
    else if (!this.#writeAtOnce()) this.#timer ??= this.#writeIn(RETRY_MILLISECONDS);
  }

  /** @returns whether nothing waits any more that could be written */
  #writeAtOnce(): boolean {
    try {
      while (this.#hasBytes()) {
        const bytes = this.#bytes;
        this.#wrote(bytes, writeSync(this.#fd, this.#neverWaits ? firstPieceOf(bytes) : bytes));
      }
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") this.#isStuck = true;
      else {
        const bytes = this.#bytes;
        this.#bytes = NOTHING;
        this.#failed(bytes, error as NodeJS.ErrnoException);
      }
      return this.#isClosed;
    }
  }

  #writeBeside(): void {
    if (this.#isWriting || !this.#hasBytes()) return;
    const bytes = this.#bytes;
    this.#bytes = NOTHING;
    this.#isWriting = true;
    write(this.#fd, bytes, (error, count) => {
      this.#isWriting = false;
      if (error) this.#failed(bytes, error);
      // Nothing else was taken meanwhile, but at the end of the process.
      else this.#wrote(bytes, count);
      if (this.#waitingBytes === 0) return;
      if (!error && (this.#bytes.length > 0 || this.#waitingBytes >= CHUNK_BYTES)) this.#writeBeside();
      else this.#timer ??= this.#writeIn(error ? RETRY_MILLISECONDS : GATHER_MILLISECONDS);
    });
  }

  /** Takes the next chunk, where nothing is left of the one at hand. */
  #hasBytes(): boolean {
    if (this.#bytes.length > 0) return true;
    if (this.#full.length === 0) this.#endChunk();
    this.#bytes = this.#full.shift() ?? NOTHING;
    this.#fullBytes -= this.#bytes.length;
    return this.#bytes.length > 0;
  }

  #wrote(bytes: Buffer, count: number): void {
    this.#isStuck = false;
    this.#bytes = bytes.subarray(count);
    if (this.#bytes.length === 0 && bytes.buffer.byteLength === CHUNK_BYTES)
      this.#spare = Buffer.from(bytes.buffer);
    if (this.droppedLines === this.#toldLines || this.#waitingBytes > MAX_WAITING_BYTES / 2) return;
    const untold = this.droppedLines - this.#toldLines;
    this.#toldLines = this.droppedLines;
    this.onDropped?.(untold);
  }

  /** @param bytes what could not be written */
  #failed(bytes: Buffer, { code }: NodeJS.ErrnoException): void {
    this.#isStuck = true;
    this.droppedLines += linesIn(bytes);
    // A full disk may have room again. Whoever closed a pipe does not come back.
    if (code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG") return;
    this.#isClosed = true;
    this.#endChunk();
    for (const full of this.#full.splice(0)) this.droppedLines += linesIn(full);
    this.#fullBytes = 0;
  }
}

/** As many whole lines as a pipe takes at once; of a line that is longer all. */
function firstPieceOf(bytes: Buffer): Buffer {
  if (bytes.length <= PIECE_BYTES) return bytes;
  const lastEnd = bytes.lastIndexOf(LINE_FEED, PIECE_BYTES - 1);
  const end = lastEnd === -1 ? bytes.indexOf(LINE_FEED, PIECE_BYTES) : lastEnd;
  return bytes.subarray(0, end + 1);
}

function linesIn(bytes: Buffer): number {
  return bytes.reduce((lines, byte) => (byte === LINE_FEED ? lines + 1 : lines), 0);
}
