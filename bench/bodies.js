// What a body of 1 GB costs either way, through Countersign and through a bare undici: CPU time, and memory that grows.
//
//   npm exec -s -- node bench/bodies.js           four minutes
//   npm exec -s -- node bench/bodies.js --quick   bodies of 100 MB, and less exact
//
// The two take turns, in new processes each round: one process carries a body at up to twice the cost of another that runs
// the same, for as long as it lives, as its memory happens to lie. What counts is the median of the rounds, and of their ratios.
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { request } from "node:http";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { startBodyBackend } from "./backend.js";
import { piecesOf } from "./body.js";
import { CONTESTANTS } from "./contestants.js";
import { temporaryFolder } from "./folder.js";
import { open } from "./open.js";
import { cpuMicroseconds, leaveProxyCore, residentMegabytes, stop } from "./processes.js";
import { median, medianRatio } from "./statistics.js";

const { quick } = parseArgs({ options: { quick: { type: "boolean" } } }).values;
const BYTES = quick ? 1e8 : 1e9;
const ROUNDS = 5;
const WARM_UP_BYTES = 1e8;
const MEMORY_EVERY_MILLISECONDS = 20;
/** Of the budget. */
const MOST_GROWTH_MEGABYTES = 64;
const LEAST_RATIO = 0.8;

const WAYS = { download, upload };

const folder = temporaryFolder();
await leaveProxyCore();
const backendPort = await startBodyBackend(folder);
const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const context = { folder, upstream: `http://127.0.0.1:${backendPort}`, keys: { privateKey } };
const contestants = ["bare", "countersign"].map((name) => CONTESTANTS.find((one) => one.name === name));

console.log("| | bytes a CPU second, bare undici | Countersign | ratio | memory grows by | |");
console.log("| --- | --: | --: | --: | --: | --- |");
for (const [name, transfer] of Object.entries(WAYS)) {
  const rounds = contestants.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, contestant] of contestants.entries()) {
      const opened = await open(contestant, context);
      await transfer(opened.port, WARM_UP_BYTES);
      rounds[index].push(await measure(opened, transfer));
      await stop(opened.child);
    }
  }
  const [bare, own] = rounds.map((figures) => figures.map(({ bytesPerSecond }) => bytesPerSecond));
  const ratio = medianRatio(own, bare);
  const growth = Math.max(...rounds[1].map(({ megabytes }) => megabytes));
  const isMet = ratio >= LEAST_RATIO && growth < MOST_GROWTH_MEGABYTES;
  const cells = [
    `${name} of ${BYTES / 1e6} MB`,
    `${(median(bare) / 1e6).toFixed(0)} MB`,
    `${(median(own) / 1e6).toFixed(0)} MB`,
    `${ratio.toFixed(2)} (at least ${LEAST_RATIO})`,
    `${growth.toFixed(0)} MB (under ${MOST_GROWTH_MEGABYTES})`,
    isMet ? "met" : "**not met**",
  ];
  console.log(`| ${cells.join(" | ")} |`);
}
process.exit();

/** The bytes that a CPU second of the proxy carries, and by how much its memory was greater than before at the most. */
async function measure({ child: { pid }, port }, transfer) {
  const before = cpuMicroseconds(pid);
  const megabytesBefore = residentMegabytes(pid);
  let most = megabytesBefore;
  const look = () => {
    most = Math.max(most, residentMegabytes(pid));
  };
  const timer = setInterval(look, MEMORY_EVERY_MILLISECONDS);
  await transfer(port, BYTES);
  clearInterval(timer);
  look();
  const seconds = (cpuMicroseconds(pid) - before) / 1e6;
  return { bytesPerSecond: BYTES / seconds, megabytes: most - megabytesBefore };
}

async function download(port, bytes) {
  const sent = request({ host: "127.0.0.1", port, path: `/orders/${bytes}`, agent: false }).end();
  const [response] = await once(sent, "response");
  let received = 0;
  for await (const piece of response) received += piece.length;
  if (received !== bytes) throw new Error(`${received} bytes have come, and not ${bytes}`);
}

async function upload(port, bytes) {
  const headers = { "content-length": bytes };
  const sent = request({ host: "127.0.0.1", port, path: "/orders/1", method: "POST", headers, agent: false });
  const hasAnswer = once(sent, "response");
  await pipeline(piecesOf(bytes), sent);
  const [response] = await hasAnswer;
  let told = "";
  for await (const piece of response) told += piece;
  if (Number(told) !== bytes) throw new Error(`${told} bytes have arrived, and not ${bytes}`);
}
