// What logging and metrics cost a request: the same sidecar with both, with one of them, and with neither.
//
//   npm exec -s -- node bench/observability.js           about two minutes
//   npm exec -s -- node bench/observability.js --quick   twenty seconds, and less exact
//
// Each contestant is a process of its own, pinned to one core where `taskset` is there; the load and the backend have the
// other. The log is JSON and goes into a file. Times drift on a shared machine, so the contestants take turns, and what
// counts is the median of the ratios of the rounds: CPU microseconds of the process for one request.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const QUICK = process.argv.includes("--quick");
const ROUNDS = QUICK ? 20 : 150;
const REQUESTS_A_TURN = QUICK ? 500 : 1500;
const WARM_UP_TURNS = 20;
const CONNECTIONS = 32;

const QUIET = { level: "silent" };
const LOUD = { level: "info", format: "json" };
const CONTESTANTS = [
  { name: "neither", admin: false, log: QUIET },
  { name: "metrics", admin: "127.0.0.1:0", log: QUIET },
  { name: "log", admin: false, log: LOUD },
  { name: "log and metrics", admin: "127.0.0.1:0", log: LOUD },
];

const REQUEST = Buffer.from("GET /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n");
const BODY = "x".repeat(47);

let isDone = false;
const folder = mkdtempSync(join(tmpdir(), "countersign-bench-"));
const PROGRAM = fileURLToPath(new URL("../bin/countersign.js", import.meta.url));
const isPinned = availableParallelism() > 1 && process.platform === "linux";
if (isPinned) await once(spawn("taskset", ["-a", "-p", "-c", "1", String(process.pid)]), "close");

const backend = createServer((_request, response) => {
  response.setHeader("content-length", BODY.length);
  response.end(BODY);
});
backend.keepAliveTimeout = 60_000;
await new Promise((resolve) => backend.listen(0, "127.0.0.1", resolve));

const opened = [];
for (const contestant of CONTESTANTS) opened.push(await open(contestant));

for (let round = -WARM_UP_TURNS; round < ROUNDS; round++) {
  // Each comes first as often as last.
  const turns = round % 2 === 0 ? opened : opened.toReversed();
  for (const contestant of turns) {
    const before = cpuMicroseconds(contestant.child.pid);
    await contestant.load(REQUESTS_A_TURN);
    const microseconds = (cpuMicroseconds(contestant.child.pid) - before) / REQUESTS_A_TURN;
    if (round >= 0) contestant.rounds.push(microseconds);
  }
}

const [reference] = opened;
console.log(
  `Node.js ${process.version}; ${cpus().length} × ${cpus()[0]?.model}, load ${loadavg()[0]}; ${ROUNDS} rounds of ${REQUESTS_A_TURN} requests`,
);
console.log();
console.log(
  "| what is on | CPU µs a request | ratio to neither | quarter to three quarters | log lines a request |",
);
console.log("| --- | --: | --: | --: | --: |");
for (const { name, rounds, logFile } of opened) {
  const ratios = rounds.map((microseconds, round) => microseconds / reference.rounds[round]);
  const lines =
    statSync(logFile).size > 0 ? readFileSync(logFile, "latin1").split('"requestId"').length - 1 : 0;
  const requests = (ROUNDS + WARM_UP_TURNS) * REQUESTS_A_TURN;
  const figures = [
    quantile(rounds, 0.5).toFixed(1),
    `${quantile(ratios, 0.5).toFixed(3)}×`,
    `${quantile(ratios, 0.25).toFixed(3)} to ${quantile(ratios, 0.75).toFixed(3)}`,
    (lines / requests).toFixed(2),
  ];
  console.log(`| ${name} | ${figures.join(" | ")} |`);
}

isDone = true;
for (const { child } of opened) {
  child.kill("SIGTERM");
  await once(child, "exit");
}
backend.close();
rmSync(folder, { recursive: true });
process.exit();

/** Starts a sidecar, and connections to it. Its log goes into a file, as below a service manager. */
async function open({ name, ...settings }) {
  const file = join(folder, `${name}.yaml`);
  const logFile = join(folder, `${name}.log`);
  const port = await freePort();
  const configuration = {
    listen: `127.0.0.1:${port}`,
    upstream: `http://127.0.0.1:${backend.address().port}`,
    issuer: { keys: { ephemeral: true } },
    timeouts: { drain: "1s" },
    ...settings,
  };
  // JSON is YAML.
  writeFileSync(file, JSON.stringify(configuration));
  const log = openSync(logFile, "w");
  const program = [process.execPath, PROGRAM, "serve", "-c", file];
  const [command, ...words] = isPinned ? ["taskset", "-c", "0", ...program] : program;
  const child = spawn(command, words, { stdio: ["ignore", log, log] });
  child.once("exit", () => {
    if (isDone) return;
    console.error(readFileSync(logFile, "utf8"));
    process.exit(1);
  });
  return { name, child, logFile, load: await openLoad(port), rounds: [] };
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  server.close();
  return port;
}

/** Opens the connections; the function it gives sends so many requests over them, each as soon as one has been answered. */
async function openLoad(port) {
  const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => openSocket(port)));
  let unsent = 0;
  let awaited = 0;
  let done;
  for (const socket of sockets) {
    let received = "";
    socket.on("data", (data) => {
      received += data.latin1Slice();
      if (!received.endsWith(BODY)) return;
      if (!received.startsWith("HTTP/1.1 200 ")) throw new Error(`answered with ${received}`);
      received = "";
      awaited--;
      if (unsent > 0) ask(socket);
      else if (awaited === 0) done();
    });
  }
  return async (requests) => {
    unsent = requests;
    const { promise, resolve } = Promise.withResolvers();
    done = resolve;
    for (const socket of sockets) ask(socket);
    await promise;
  };

  function ask(socket) {
    unsent--;
    awaited++;
    socket.write(REQUEST);
  }
}

/** A connection to a sidecar that may still be starting. */
async function openSocket(port) {
  for (;;) {
    const socket = connect(port, "127.0.0.1").setNoDelay();
    const isOpen = await new Promise((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    if (isOpen) return socket;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The CPU time of all threads of a process. */
function cpuMicroseconds(pid) {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const nanoseconds = tasks.map((task) =>
    Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ", 1)[0]),
  );
  return nanoseconds.reduce((sum, part) => sum + part, 0) / 1000;
}

/** The value below which this share of the values lies. */
function quantile(values, share) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)];
}
