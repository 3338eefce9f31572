// What open connections cost: idle keep-alive connections and WebSockets, all at once, through a real sidecar process.
//
//   npm exec -s -- node bench/connections.js [connections] [webSockets]     default: 10000 2000; needs `ulimit -n 20000`
//
// Every connection is used once when it is opened and once more when all are open, and each answer is checked.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocket, WebSocketServer } from "ws";

/** Text is read below; nobody asks the operators' listener. */
const OUT_OF_THE_WAY = ["--log-format", "pretty", "--admin", "false"];

const AT_ONCE = 100;

if (process.argv[2] === "backend") startBackend();
else await measure(Number(process.argv[2] ?? 10_000), Number(process.argv[3] ?? 2000));

/** A backend that answers "ok", and sends back what comes over a WebSocket. */
function startBackend() {
  const server = createServer((_request, response) => response.end("ok"));
  const webSockets = new WebSocketServer({ server });
  webSockets.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
  // It ends with the program that started it.
  process.stdin.resume().once("end", () => process.exit());
}

async function measure(connections, webSockets) {
  const folder = mkdtempSync(join(tmpdir(), "countersign-"));
  const backend = spawn(process.execPath, [fileURLToPath(import.meta.url), "backend"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [backendPort] = await once(backend.stdout, "data");
  const configuration = {
    listen: "127.0.0.1:0",
    admin: false,
    upstream: `http://127.0.0.1:${String(backendPort).trim()}`,
    timeouts: { keepAlive: "10m" },
    limits: { connections: connections + webSockets },
    issuer: { keys: { directory: "keys" } },
  };
  const file = join(folder, "sidecar.yaml");
  writeFileSync(file, JSON.stringify(configuration));
  const program = fileURLToPath(new URL("../bin/countersign.js", import.meta.url));
  const sidecar = spawn(process.execPath, [program, "serve", "-c", file, ...OUT_OF_THE_WAY], {
    stdio: ["ignore", "inherit", "pipe"],
  });
  try {
    const port = await portOf(sidecar);
    const show = (what) => console.log(`${what.padEnd(50)} RSS ${residentMegabytesOf(sidecar.pid)} MB`);
    show("after start");
    const sockets = await inTurns(connections, () => openIdle(port));
    show(`${connections} idle connections`);
    const tunnels = await inTurns(webSockets, () => openWebSocket(port));
    show(`${connections} idle connections, ${webSockets} WebSockets`);
    await inTurns(sockets.length, (index) => request(sockets[index]));
    await inTurns(tunnels.length, (index) => echo(tunnels[index]));
    show("each of them used once more");
    for (const socket of sockets) socket.destroy();
    for (const tunnel of tunnels) tunnel.terminate();
  } finally {
    sidecar.kill("SIGINT");
    await once(sidecar, "exit");
    backend.stdin.end();
    rmSync(folder, { recursive: true });
  }
}

async function portOf(sidecar) {
  let output = "";
  for await (const piece of sidecar.stderr) {
    output += piece;
    const [, port] = /listening on +http:\/\/127\.0\.0\.1:(\d+)\n/.exec(output) ?? [];
    if (port) {
      sidecar.stderr.pipe(process.stderr);
      return Number(port);
    }
  }
  throw new Error(`the sidecar ended:\n${output}`);
}

/** Calls `work` for each index, {@link AT_ONCE} at a time. */
async function inTurns(count, work) {
  const results = [];
  for (let start = 0; start < count; start += AT_ONCE) {
    const size = Math.min(AT_ONCE, count - start);
    results.push(...(await Promise.all(Array.from({ length: size }, (_, index) => work(start + index)))));
  }
  return results;
}

async function openIdle(port) {
  const socket = connect({ port, host: "127.0.0.1" });
  await once(socket, "connect");
  await request(socket);
  return socket;
}

async function request(socket) {
  socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  let answer = "";
  while (!answer.endsWith("\r\n\r\nok") && !answer.endsWith("ok\r\n0\r\n\r\n")) {
    const [data] = await once(socket, "data");
    answer += data;
  }
  if (!answer.startsWith("HTTP/1.1 200 ")) throw new Error(`no answer but ${answer}`);
}

async function openWebSocket(port) {
  const tunnel = new WebSocket(`ws://127.0.0.1:${port}/`);
  await once(tunnel, "open");
  await echo(tunnel);
  return tunnel;
}

async function echo(tunnel) {
  tunnel.send("hello");
  const [data] = await once(tunnel, "message");
  if (String(data) !== "hello") throw new Error(`no echo but ${data}`);
}

function residentMegabytesOf(pid) {
  const [, kilobytes] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Math.round(kilobytes / 1024);
}
