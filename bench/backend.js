import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { nginxCommand } from "./nginx.js";
import { findProgram, freePort, start } from "./processes.js";
import { untilAnswered } from "./requests.js";

/** Where the backend answers with the Authorization field that it got, so that the token can be verified. */
export const ECHO_PATH = "/orders/echo";

const BODY = "x".repeat(47);
const nginx = findProgram("nginx");

/** What the backend is. */
export const backendProgram = nginx === undefined ? "node:http" : "nginx";

/** Starts the backend, which answers each request with 47 bytes; returns its port. */
export async function startBackend(folder) {
  const port = await freePort();
  const program = fileURLToPath(new URL("node-backend.js", import.meta.url));
  const command =
    nginx === undefined
      ? [process.execPath, program, String(port), BODY]
      : nginxCommand(nginx, join(folder, "backend"), {
          http: `server {
    listen 127.0.0.1:${port};
    location / { return 200 "${BODY}"; }
    location = ${ECHO_PATH} { return 200 $http_authorization; }
  }`,
        });
  const logFile = join(folder, "backend.log");
  await untilAnswered(start(command, { logFile }), port, { logFile });
  return port;
}

/** Starts a backend that sends and takes bodies of any size; returns its port. */
export async function startBodyBackend(folder) {
  const port = await freePort();
  const program = fileURLToPath(new URL("body-backend.js", import.meta.url));
  const logFile = join(folder, "body-backend.log");
  const child = start([process.execPath, program, String(port)], { logFile });
  await untilAnswered(child, port, { path: ECHO_PATH, headers: { authorization: "x" }, logFile });
  return port;
}
