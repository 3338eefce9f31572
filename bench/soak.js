// Whether a sidecar stays what it is at full load, while everything around it changes: npm run bench:soak -- --help
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ECHO_PATH, startBackend } from "./backend.js";
import { API_KEY_FIELDS } from "./countersign.js";
import { temporaryFolder } from "./folder.js";
import { installPeers } from "./install-peers.js";
import { loadProgram } from "./load.js";
import { machineOf } from "./machine.js";
import { freePort, leaveProxyCore, start, stop } from "./processes.js";
import { untilAnswered } from "./requests.js";
import { drawSoak } from "./soak/chart.js";
import { runCheckedClients } from "./soak/checked-clients.js";
import { Configurations } from "./soak/configuration.js";
import { runLoad } from "./soak/load.js";
import { watchLog } from "./soak/log-watch.js";
import { runOddClients } from "./soak/odd-clients.js";
import { readOptions } from "./soak/options.js";
import { periodOf, periodSecondsOf } from "./soak/periods.js";
import { Reloads } from "./soak/reloads.js";
import { printBegin, printEnd, printPeriod } from "./soak/report.js";
import { Rotations } from "./soak/rotations.js";
import { runSamples, sampleOf } from "./soak/samples.js";
import { Scrapes } from "./soak/scrapes.js";
import { Tally } from "./soak/tally.js";
import { verdictOf } from "./soak/verdict.js";
import { Verifier } from "./soak/verifier.js";

/** What is compiled while it runs becomes faster for some seconds, and what is remembered grows until it is full. */
const WARM_UP_SECONDS = 20;
/** Connections to a backend are kept for some seconds after their last request. */
const GONE_AFTER_SECONDS = 15;

const { minutes, json, svg } = readOptions();
const seconds = minutes * 60;
const periodSeconds = periodSecondsOf(seconds);
if (loadProgram === "autocannon") installPeers();

const folder = temporaryFolder();
await leaveProxyCore();
const machine = machineOf({});

const backendPort = await startBackend(folder);
const oddBackendPort = await startOddBackend();
const [port, adminPort] = [await freePort(), await freePort()];
const addresses = { port, adminPort, upstream: `http://127.0.0.1:${backendPort}` };
const configurations = new Configurations(folder, addresses, `http://127.0.0.1:${oddBackendPort}`);
let isEnding = false;
const logFile = join(folder, "sidecar.log");
const sidecar = start(configurations.serveCommand(), { isProxy: true, logFile });
sidecar.once("exit", (code, name) => {
  if (!isEnding) throw new Error(`the sidecar has ended (${code ?? name}):\n${endOf(logFile)}`);
});
await untilAnswered(sidecar, port, { path: ECHO_PATH, headers: API_KEY_FIELDS, logFile });
const { pid } = sidecar;

const scrapes = new Scrapes(adminPort);
const started = sampleOf(pid, await scrapes.take());
const beginsAt = performance.now() + WARM_UP_SECONDS * 1000;
const now = () => (performance.now() - beginsAt) / 1000;
const tally = new Tally(now);
const seen = { samples: [], turns: [], marks: [], errorTimes: tally.times };
const mark = (kind) => seen.marks.push({ at: now(), kind });
const verifier = new Verifier(port);
const reloads = new Reloads({ port, pid, configurations, verifier, scrapes, tally, mark });
const rotations = new Rotations({ folder: configurations.writeForCommands(), scrapes, tally, mark });

printBegin({ machine, minutes, periodSeconds });
const clients = new AbortController();
const watching = new AbortController();
const watched = Promise.all([
  scrapes.run(watching.signal),
  watchLog({ file: logFile, tally, signal: watching.signal }),
]);
const { signal } = clients;
const others = Promise.all([
  runCheckedClients({ port, verifier, reloads, tally, signal }),
  runOddClients({ port, tally, signal }),
  reloads.run(signal),
  rotations.run(signal),
  runSamples({ pid, scrapes, now, signal, sample: (sample) => seen.samples.push(sample) }),
]);
let rows = 0;
await runLoad({ port, seconds, now, tally, turn });
clients.abort();
const [asked, odd] = await others;
while ((rows + 0.5) * periodSeconds < seconds) printRow();
const left = await leftWhenGone();
watching.abort();
await watched;
isEnding = true;
await stop(sidecar);

const verdict = verdictOf({ seconds, periodSeconds, seen, tally, started, left, verifier });
const linesDropped = scrapes.last.total("countersign_log_lines_dropped_total");
const counts = { asked, odd, reloads: reloads.counts, rotations: rotations.counts, linesDropped };
const errors = tally.kinds();
printEnd({ counts, errors, verdict });
const report = { machine, minutes, periodSeconds, ...seen, started, left, counts, errors, verdict };
if (json !== undefined) writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`);
if (svg !== undefined) writeFileSync(svg, drawSoak({ ...report, seconds }));
process.exit(verdict.every(({ isMet }) => isMet) ? 0 : 1);

async function startOddBackend() {
  const oddPort = await freePort();
  const program = fileURLToPath(new URL("soak/backend.js", import.meta.url));
  const log = join(folder, "odd-backend.log");
  await untilAnswered(start([process.execPath, program, String(oddPort)], { logFile: log }), oddPort, {
    path: "/bodies/1",
    logFile: log,
  });
  return oddPort;
}

function turn(figures) {
  seen.turns.push(figures);
  while ((rows + 1) * periodSeconds < now()) printRow();
}

function printRow() {
  printPeriod(periodOf(seen, rows * periodSeconds, (rows + 1) * periodSeconds));
  rows++;
}

/** What is still open some seconds after the last client has gone. */
async function leftWhenGone() {
  const until = performance.now() + GONE_AFTER_SECONDS * 1000;
  for (;;) {
    const sample = sampleOf(pid, await scrapes.take());
    const isEmpty = sample.connections + sample.webSockets + sample.requestsInFlight === 0;
    if ((isEmpty && sample.descriptors <= started.descriptors) || performance.now() > until) return sample;
    await setTimeout(200);
  }
}

function endOf(file) {
  return readFileSync(file, "utf8").slice(-2000);
}
