import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** Many clients that ask for one thing after another, until they are told to stop or their connections end. */
export interface Load {
  /** Whole answers. */
  answered(): number;
  /** Waits until so many more have come. */
  more(answers: number): Promise<void>;
  /** Requests that were sent and got no whole answer. */
  readonly failures: readonly string[];
  /** Connections that the system reset before the other side had taken them: nobody has read what was sent. */
  neverTaken(): number;
  /** Lets every client finish what it has begun. */
  stop(): Promise<void>;
  /** Resolves when no client is left, as nobody takes their connections any more. */
  readonly ended: Promise<void>;
}

/** What {@link startLoad} takes. */
export interface LoadOptions {
  readonly clients: number;
  /** Opens a connection; rejects where nobody listens. */
  readonly connect: () => Promise<Socket>;
  /** Whether a client opens another connection when its own has ended. */
  readonly reconnects: boolean;
  /** Milliseconds between an answer and the next request. Default: none. */
  readonly pause?: () => number;
  /** What a client sends. Default: `GET /`. */
  readonly request?: string;
}

/** Opens a connection to a port of this machine. */
export async function connectTo(port: number): Promise<Socket> {
  const socket = connectTcp({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  return socket;
}

const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CHECK_MILLISECONDS = 5;
/** A client that lost its answer does not come back at once. */
const PAUSE_MILLISECONDS = 20;
/** Too late for whatever a request has to wait for in a test. */
const PATIENCE_MILLISECONDS = 10_000;

/** Starts clients that speak HTTP/1.1 on connections of their own and keep them open. Every answer must be 200 "ok". */
export function startLoad({
  clients,
  connect,
  reconnects,
  pause = () => 0,
  request = REQUEST,
}: LoadOptions): Load {
  const failures: string[] = [];
  let answered = 0;
  let neverTaken = 0;
  let isOver = false;

  async function run(): Promise<void> {
    do {
      let socket: Socket;
      try {
        socket = await connect();
      } catch {
        // Nothing was sent.
        return;
      }
      const isAnswered = await use(socket);
      if (reconnects && !isAnswered) await sleep(PAUSE_MILLISECONDS);
    } while (reconnects && !isOver);
  }

  /** @returns whether nothing was owed when the connection ended */
  function use(socket: Socket): Promise<boolean> {
    return new Promise((resolve) => {
      let received = "";
      let isOwed = false;
      let isFresh = true;
      let isReset = false;
      let isLast = false;
      let isEnding = false;
      const ask = () => {
        if (isEnding) return;
        if (isOver) return void socket.end();
        received = "";
        isOwed = true;
        socket.write(request);
      };
      let patience = "";
      socket.setTimeout(PATIENCE_MILLISECONDS, () => {
        patience = `, as nothing more had come for ${PATIENCE_MILLISECONDS} ms`;
        socket.destroy();
      });
      socket.on("error", (error: NodeJS.ErrnoException) => {
        isReset = error.code === "ECONNRESET";
      });
      // An end without an error: the client must not send on a connection that is ending.
      socket.on("end", () => {
        isEnding = true;
      });
      socket.on("data", (data) => {
        received += data;
        const head = received.indexOf("\r\n\r\n");
        const [, length] = /^content-length: (\d+)\r$/im.exec(received) ?? [];
        if (head === -1 || length === undefined || received.length < head + 4 + Number(length)) return;
        if (!received.startsWith("HTTP/1.1 200") || received.slice(head + 4) !== "ok")
          failures.push(received.slice(0, 200));
        answered++;
        isFresh = false;
        isOwed = false;
        isLast = /^connection: close\r$/im.test(received);
        if (isLast) return;
        const milliseconds = pause();
        // Where this process was held up, the end of the connection may have come with the answer, and is read behind it.
        if (milliseconds === 0) setImmediate(() => setImmediate(ask));
        else setTimeout(ask, milliseconds);
      });
      socket.once("close", () => {
        isEnding = true;
        if (isOwed && isFresh && isReset && received === "") neverTaken++;
        else if (isOwed) failures.push(`closed with ${received.length} bytes of an answer${patience}`);
        resolve(!isOwed);
      });
      ask();
    });
  }

  const ended = Promise.all(Array.from({ length: clients }, run)).then(() => {});
  return {
    answered: () => answered,
    async more(answers) {
      const wanted = answered + answers;
      while (answered < wanted) await sleep(CHECK_MILLISECONDS);
    },
    failures,
    neverTaken: () => neverTaken,
    ended,
    async stop() {
      isOver = true;
      await ended;
    },
  };
}
