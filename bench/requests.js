import { readFileSync } from "node:fs";
import { get } from "node:http";
import { setTimeout } from "node:timers/promises";

const ASKED_EVERY_MILLISECONDS = 4;
const GIVEN_UP_AFTER_MILLISECONDS = 30_000;

/** Sends one request over a connection of its own; `undefined` where nobody listens. */
export async function ask(port, path = "/", headers = {}) {
  const { promise, resolve, reject } = Promise.withResolvers();
  get({ host: "127.0.0.1", port, path, headers, agent: false }, async (response) => {
    let body = "";
    for await (const piece of response.setEncoding("utf8")) body += piece;
    resolve({ status: response.statusCode, body });
  }).on("error", ({ code, message }) => {
    if (code === "ECONNREFUSED") resolve(undefined);
    else reject(new Error(`port ${port}: ${message}`));
  });
  return await promise;
}

/**
 * Asks again and again until a process that is starting answers with 200.
 *
 * @throws {Error} with what it logged, where it ends or takes half a minute
 */
export async function untilAnswered(child, port, { path, headers, logFile }) {
  for (const start = performance.now(); performance.now() - start < GIVEN_UP_AFTER_MILLISECONDS; ) {
    const answer = await ask(port, path, headers);
    if (answer?.status === 200) return answer;
    if (child.exitCode !== null) break;
    await setTimeout(ASKED_EVERY_MILLISECONDS);
  }
  throw new Error(
    `${child.spawnargs.join(" ")} does not answer:\n${readFileSync(logFile, "utf8").slice(-2000)}`,
  );
}
