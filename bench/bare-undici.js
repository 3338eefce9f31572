// The limit for this stack: node:http in front, undici's dispatch behind, and one fixed field set between them.
//
//   node bench/bare-undici.js PORT UPSTREAM
//
// It checks nothing and forwards what is not about the connection itself; no proxy of these two parts can do less.
import { createServer } from "node:http";
import { Pool } from "undici";

const [port, upstream] = process.argv.slice(2);
const OF_THE_CONNECTION = new Set(["connection", "keep-alive", "transfer-encoding"]);
const pool = new Pool(upstream, { connections: 128, pipelining: 1 });

createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  const headers = ["authorization", "Bearer fixed"];
  const { rawHeaders } = request;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i].toLowerCase();
    if (OF_THE_CONNECTION.has(name) || name === "authorization") continue;
    headers.push(name, rawHeaders[i + 1]);
  }
  const { method, url: path } = request;
  const body = method === "GET" || method === "HEAD" ? null : request;
  pool.dispatch({ method, path, headers, body }, new Relay(response));
}).listen(port, "127.0.0.1");

/** Writes what undici receives to the client, no faster than the client takes it. */
class Relay {
  #response;

  constructor(response) {
    this.#response = response;
  }

  onRequestStart() {}

  onResponseStart({ rawHeaders }, statusCode) {
    const headers = [];
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = rawHeaders[i].latin1Slice();
      if (!OF_THE_CONNECTION.has(name.toLowerCase())) headers.push(name, rawHeaders[i + 1].latin1Slice());
    }
    this.#response.writeHead(statusCode, headers);
  }

  onResponseData(controller, piece) {
    // Nobody takes what is for a client that has left, and its connection to the backend would wait for ever.
    if (this.#response.write(piece) || this.#response.destroyed) return;
    controller.pause();
    this.#response.once("drain", () => controller.resume());
  }

  onResponseEnd() {
    this.#response.end();
  }

  onResponseError() {
    this.#response.destroy();
  }
}
