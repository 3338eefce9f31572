import { createPublicKey } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";
import { ECHO_PATH } from "./backend.js";
import { freePort, residentMegabytes, start } from "./processes.js";
import { ask, untilAnswered } from "./requests.js";

/**
 * Starts a contestant on the core for proxies, and looks at the token that it sends.
 *
 * @returns the contestant with its `child`, `port` and `adminPort`; the milliseconds until it was ready; its memory then;
 * and the `algorithm` of its tokens, `undefined` where what it sends verifies with none of its keys
 */
export async function open(contestant, { folder, upstream, keys }) {
  const own = join(folder, contestant.name);
  mkdirSync(own, { recursive: true });
  const port = await freePort();
  const adminPort = await freePort();
  const logFile = join(own, "output.log");
  const commandLine = contestant.commandLine(own, { port, adminPort, upstream, ...keys });
  const begin = performance.now();
  const child = start(commandLine, { isProxy: true, logFile });
  const { headers } = contestant;
  const { body } = await untilAnswered(child, port, { path: ECHO_PATH, headers, logFile });
  const readyMilliseconds = performance.now() - begin;
  const memoryMegabytes = residentMegabytes(child.pid);
  const verifier = contestant.isCountersign
    ? createRemoteJWKSet(new URL(`http://127.0.0.1:${port}/__issuer/.well-known/jwks.json`))
    : createPublicKey(keys.privateKey);
  const algorithm = await verifiedAlgorithm(body, verifier);
  return { ...contestant, child, port, adminPort, readyMilliseconds, memoryMegabytes, algorithm };
}

/** What a token is signed with; `undefined` where there is none that verifies. */
async function verifiedAlgorithm(field, verifier) {
  const [, token = ""] = /^Bearer (\S+)$/.exec(field) ?? [];
  const requiredClaims = ["iss", "sub", "aud", "iat", "exp"];
  try {
    const { protectedHeader } = await jwtVerify(token, verifier, { requiredClaims });
    return protectedHeader.alg;
  } catch (error) {
    if (error instanceof errors.JOSEError) return undefined;
    throw error;
  }
}

/** The event loop's p99 delay in milliseconds, as a sidecar tells it for the last one to two minutes. */
export async function loopDelayMilliseconds({ adminPort }) {
  const { body } = await ask(adminPort, "/metrics");
  const [, seconds] = /^countersign_event_loop_delay_p99_seconds (\S+)$/m.exec(body);
  return Number(seconds) * 1000;
}
