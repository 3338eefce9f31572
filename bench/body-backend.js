// Sends and takes bodies of any size: node bench/body-backend.js PORT. GET /orders/SIZE is answered with so many bytes.
import { createServer } from "node:http";
import { pipeline } from "node:stream/promises";
import { ECHO_PATH } from "./backend.js";
import { piecesOf } from "./body.js";

createServer(async (request, response) => {
  const { url, method, headers } = request;
  if (method === "POST") {
    let received = 0;
    for await (const piece of request) received += piece.length;
    response.end(String(received));
  } else if (url === ECHO_PATH) {
    response.end(headers.authorization);
  } else {
    const size = Number(url.split("/").at(-1));
    response.setHeader("content-length", size);
    await pipeline(piecesOf(size), response);
  }
}).listen(Number(process.argv[2]), "127.0.0.1");
