// What a request costs a replica that has its key ring in Redis for itself, and the same one while two more share the ring.
//
//   npm exec -s -- node bench/replicas.js           three minutes
//   npm exec -s -- node bench/replicas.js --quick   half a minute, and less exact
//
// It is one process all the time, so that nothing but the others makes a difference: they start and end again and again
// beside it, on another core. What counts is the median of the ratios of the periods that follow each other. redis-server is
// needed.
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startBackend } from "./backend.js";
import { PLAIN, serveCommand } from "./countersign.js";
import { temporaryFolder } from "./folder.js";
import { machineOf } from "./machine.js";
import { findProgram, freePort, leaveProxyCore, start, stop } from "./processes.js";
import { untilAnswered } from "./requests.js";
import { openShort, takeShortTurns } from "./short-turns.js";
import { median } from "./statistics.js";

const QUICK = process.argv.includes("--quick");
/** Of each kind. */
const PERIODS = QUICK ? 4 : 16;
const TURNS_A_PERIOD = QUICK ? 10 : 30;
const REQUESTS_A_TURN = 500;
const WARM_UP_TURNS = 60;
const SETTLING_MILLISECONDS = 500;

if (!findProgram("redis-server")) {
  console.error("redis-server is needed: apt-get install redis-server");
  process.exit(2);
}
const folder = temporaryFolder();
await leaveProxyCore();
const machine = machineOf({ periods: PERIODS, isQuick: QUICK });
const upstream = `http://127.0.0.1:${await startBackend(folder)}`;
const redisPort = await freePort();
start(["redis-server", "--port", String(redisPort), "--bind", "127.0.0.1", "--save", ""], {
  logFile: join(folder, "redis.log"),
});
const redis = { url: `redis://127.0.0.1:${redisPort}`, encryptionKey: randomBytes(32).toString("base64") };
// What a URL would tell is no part of the ring.
const issuer = { url: "http://127.0.0.1/__issuer", keys: { redis } };
const commandLine = (own, addresses) => serveCommand(own, addresses, { ...PLAIN, issuer });
const replica = await openShort("measured", commandLine, { folder, upstream });
await takeShortTurns([replica], { rounds: 0, warmUpRounds: WARM_UP_TURNS, requests: REQUESTS_A_TURN });

const alone = [];
const shared = [];
for (let period = 0; period < PERIODS; period++) {
  // Each comes first as often as last.
  const kinds = [async () => alone.push(await measure()), async () => shared.push(await measureWithOthers())];
  for (const take of period % 2 === 0 ? kinds : kinds.toReversed()) await take();
}

const ratios = shared.map((value, period) => value / alone[period]).toSorted((a, b) => a - b);
const quartile = (part) => ratios[Math.round((ratios.length - 1) * part)].toFixed(3);
const { node, processors, loadAverage, isPinned } = machine;
console.log(
  `Node.js ${node}, ${processors}, load ${loadAverage} before the run${isPinned ? "" : ", nothing pinned"}; ${PERIODS} periods of each kind, ${TURNS_A_PERIOD} turns of ${REQUESTS_A_TURN} requests in each.`,
);
console.log();
console.log("| replicas that share the ring | CPU µs a request | ratio | half of the ratios |");
console.log("| ---------------------------- | ---------------: | ----: | -----------------: |");
console.log(`| 1 | ${median(alone).toFixed(1)} | 1.000 | |`);
console.log(
  `| 3 | ${median(shared).toFixed(1)} | ${median(ratios).toFixed(3)} | ${quartile(0.25)} to ${quartile(0.75)} |`,
);
process.exit();

/** CPU microseconds a request. */
async function measure() {
  const before = replica.rounds.length;
  await sleep(SETTLING_MILLISECONDS);
  await takeShortTurns([replica], {
    rounds: TURNS_A_PERIOD,
    warmUpRounds: 2,
    requests: REQUESTS_A_TURN,
  });
  return median(replica.rounds.slice(before));
}

async function measureWithOthers() {
  const others = await Promise.all(["second", "third"].map(openOther));
  const value = await measure();
  await Promise.all(others.map(stop));
  return value;
}

async function openOther(name) {
  const own = join(folder, name);
  mkdirSync(own, { recursive: true });
  const port = await freePort();
  const logFile = join(own, "output.log");
  const child = start(commandLine(own, { port, adminPort: await freePort(), upstream }), { logFile });
  await untilAnswered(child, port, { path: "/orders/0", headers: {}, logFile });
  return child;
}
