import { connect } from "node:net";
import { setTimeout as pass } from "node:timers/promises";

/** What a client does once it has sent everything. */
export type Ending =
  /** It waits for the other side to close, as that must. */
  | "waits"
  /** It goes away when nothing has come for a while. */
  | "leaves"
  /** It closes its own side, and then does as "leaves". */
  | "half-closes"
  /** It resets the connection at once. */
  | "resets";

/** What came of a connection. */
export interface Conversation {
  /** As Latin-1 text. */
  readonly received: string;
  /** How it ended: by the other side, by a reset from there, or by the client, which went away. */
  readonly end: "closed" | "reset" | "left";
}

/** Between two pieces, so that they are not read as one. */
const PAUSE_MILLISECONDS = 1;
/** A client that leaves has seen nothing for so long. */
const QUIET_MILLISECONDS = 25;
/** One that waits gives up then: whoever asked takes that for a failure. */
const PATIENCE_MILLISECONDS = 4000;

/** Sends pieces of bytes, given as Latin-1 text, over a new connection. It never throws. */
export async function converse(
  port: number,
  pieces: readonly string[],
  ending: Ending,
): Promise<Conversation> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
  let received = "";
  let end: Conversation["end"] | undefined;
  const { promise: over, resolve } = Promise.withResolvers<void>();
  socket.on("data", (data) => {
    received += data.toString("latin1");
    if (ending !== "waits") leaving.refresh();
  });
  socket.on("end", () => {
    end ??= "closed";
    socket.destroy();
  });
  socket.on("error", () => {
    end ??= "reset";
  });
  socket.on("close", () => resolve());
  const leaving = setTimeout(
    () => {
      end ??= "left";
      socket.destroy();
    },
    ending === "waits" ? PATIENCE_MILLISECONDS : QUIET_MILLISECONDS,
  );
  for (const [index, piece] of pieces.entries()) {
    if (index > 0) await pass(PAUSE_MILLISECONDS);
    if (socket.destroyed || !socket.writable) break;
    socket.write(piece, "latin1");
  }
  leaving.refresh();
  if (ending === "half-closes") socket.end();
  if (ending === "resets") {
    await pass(PAUSE_MILLISECONDS);
    end ??= "left";
    socket.resetAndDestroy();
  }
  await over;
  clearTimeout(leaving);
  return { received, end: end ?? "left" };
}
