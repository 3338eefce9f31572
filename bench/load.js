import { fileURLToPath } from "node:url";
import { findProgram, start } from "./processes.js";

const PATH = "/orders/1";
const wrk = findProgram("wrk");

/** What sends the load: wrk, or where that is not installed autocannon, which is slower itself. */
export const loadProgram = wrk === undefined ? "autocannon" : "wrk";

/**
 * Sends requests as {@link sendAnyLoad} does, all of which must be answered well.
 *
 * @throws {Error} when a request failed, or was not answered with 2xx
 */
export async function sendLoad(options) {
  const figures = await sendAnyLoad(options);
  if (figures.failed > 0) throw new Error(`port ${options.port} fails: ${JSON.stringify(figures)}`);
  return figures;
}

/**
 * Sends requests to a port of the loopback address over so many connections, each as soon as the one before is answered.
 *
 * @returns how many `requests` were answered, in how many `seconds`; `p50` and `p99` of the latency, in microseconds; how
 * many `failed`, and of these how many for each of its `reasons`
 */
export async function sendAnyLoad({ port, headers = {}, connections, milliseconds }) {
  const url = `http://127.0.0.1:${port}${PATH}`;
  const child = start(commandLine(url, headers, connections, milliseconds));
  if (wrk !== undefined) {
    const timer = setTimeout(interrupt, milliseconds, child);
    child.once("exit", () => clearTimeout(timer));
  }
  let output = "";
  for await (const piece of child.stdout) output += piece;
  const json = output.split("\n").find((line) => line.startsWith("{"));
  // Interrupted before it had begun, or it could not.
  if (json === undefined && child.signalCode === "SIGINT") return { requests: 0, failed: 0 };
  if (json === undefined) throw new Error(`${loadProgram} tells no figures:\n${output}`);
  return JSON.parse(json);
}

/** wrk counts in whole seconds; interrupted, it tells what it has. It overhears one that comes just before it sleeps. */
function interrupt(child) {
  child.kill("SIGINT");
  const timer = setInterval(() => child.kill("SIGINT"), 100);
  child.once("exit", () => clearInterval(timer));
}

function commandLine(url, headers, connections, milliseconds) {
  if (wrk === undefined) {
    const program = fileURLToPath(new URL("peers/autocannon.js", import.meta.url));
    return [process.execPath, program, url, `${connections}`, `${milliseconds}`, JSON.stringify(headers)];
  }
  const fields = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const script = fileURLToPath(new URL("wrk-figures.lua", import.meta.url));
  return [wrk, "-t1", `-c${connections}`, "-d3600s", "-s", script, ...fields, url];
}
