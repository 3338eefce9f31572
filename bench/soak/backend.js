// The backend for everything but the load: node bench/soak/backend.js PORT
//
// It answers with the Authorization field that it got, so that the token can be verified; with the number of bytes of a body;
// with so many bytes, late, or with half of an answer; and sends back what comes over a WebSocket.
import { createServer } from "node:http";
import { pipeline } from "node:stream/promises";
import { setTimeout } from "node:timers/promises";
import { WebSocketServer } from "ws";
import { piecesOf } from "../body.js";

const LATE_MILLISECONDS = 200;
const KEEP_ALIVE_MILLISECONDS = 5000;

const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MILLISECONDS }, (request, response) => {
  // Clients that break off are what this is for.
  answer(request, response).catch(() => response.destroy());
});
const webSockets = new WebSocketServer({ server });
webSockets.on("connection", (socket) => {
  socket.on("message", (data) => socket.send(data));
  socket.on("error", () => {});
});
server.listen(Number(process.argv[2]), "127.0.0.1");

async function answer(request, response) {
  const { url, method, headers } = request;
  const [, what] = /^\/bodies\/(\w+)$/.exec(url) ?? [];
  if (method === "POST") {
    let received = 0;
    for await (const piece of request) received += piece.length;
    response.end(String(received));
  } else if (what === "late") {
    await setTimeout(LATE_MILLISECONDS);
    response.end("late");
  } else if (what === "half") {
    response
      .writeHead(200, { "content-length": 200_000 })
      .write(Buffer.alloc(100_000), () => response.destroy());
  } else if (what !== undefined) {
    response.setHeader("content-length", what);
    await pipeline(piecesOf(Number(what)), response);
  } else {
    response.end(headers.authorization);
  }
}
