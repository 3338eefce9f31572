// The backend where there is no nginx: node bench/node-backend.js PORT BODY
import { createServer } from "node:http";
import { ECHO_PATH } from "./backend.js";

const [port, body] = process.argv.slice(2);

createServer({ keepAliveTimeout: 600_000 }, ({ url, headers }, response) => {
  const content = url === ECHO_PATH ? (headers.authorization ?? "") : body;
  response.setHeader("content-length", content.length);
  response.end(content);
}).listen(port, "127.0.0.1");
