/**
 * The process that holds a token's library, and the only one that calls it: one that hangs or crashes takes no request
 * along, and is replaced.
 */

import { openToken, type Token } from "./token.ts";
import { failureOf, TokenFailure } from "./token-failure.ts";
import type { NumberedOrder, TokenAnswer, TokenOrder } from "./token-messages.ts";

let token: Token | undefined;

async function answerTo(order: TokenOrder): Promise<Omit<TokenAnswer, "id">> {
  if (order.kind === "open") {
    token = await openToken(order.access);
    return {};
  }
  if (!token) throw new TokenFailure("lost", "the token is not open");
  if (order.kind === "find") return { keys: token.find(order.labels) };
  if (order.kind === "sign") return { signature: await token.sign(order) };
  if (order.kind === "list") return { labels: token.list() };
  token.generate(order);
  return {};
}

process.on("message", async ({ id, order }: NumberedOrder) => {
  let answer: TokenAnswer;
  try {
    answer = { id, ...(await answerTo(order)) };
  } catch (error) {
    const { kind, message } = failureOf(error, "the work of the library");
    answer = { id, problem: { kind, message } };
  }
  // Where nobody hears it any more, this process is about to end.
  if (process.connected) process.send?.(answer, () => {});
});

// A terminal and systemd send them to every process, and requests that end still need signatures.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});

// Whoever started this process is done, or gone.
process.once("disconnect", () => {
  try {
    token?.close();
  } catch {
    // The sessions end with the process.
  }
  // Not `exit`, which waits for threads, and one may hang in the library.
  process.kill(process.pid, "SIGKILL");
});
