/**
 * Saves the configuration of a sidecar again and again under load, every fourth time with a mistake, and counts the requests
 * that fail or meet two configurations: `node test/soak/reload.ts [SAVES] [HANGUPS] [CLIENTS] [WORKERS]`, after
 * `npm run build`. It ends with 1 where there is one.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { connectTo, startLoad } from "../support/load.ts";
import {
  replaceFile,
  startTwoConfigurations,
  timesRefused,
  timesUsed,
} from "../support/two-configurations.ts";

const [saves = 200, hangups = 50, clients = 100, workers = 1] = process.argv.slice(2).map(Number);

await using configurations = await startTwoConfigurations(
  `listen: 127.0.0.1:0\nadmin: false\nworkers: ${workers}\n`,
);
const { texts } = configurations;
using folder = temporaryFolder();
const file = join(folder.path, "sidecar.yaml");
writeFileSync(file, texts[0]);
await using sidecar = await startCommand(["serve"], { cwd: folder.path });
const port = Number(new URL(sidecar.url).port);
const load = startLoad({ clients, connect: () => connectTo(port), reconnects: true });

for (let save = 1; save <= saves; save++) {
  const isBroken = save % 4 === 0;
  const count = isBroken ? timesRefused : timesUsed;
  const before = count(sidecar);
  replaceFile(file, isBroken ? "upstream: [\n" : `${texts[save % 2]}# ${save}\n`);
  if (save % Math.ceil(saves / hangups) === 0) process.kill(sidecar.pid, "SIGHUP");
  while (count(sidecar) === before) await sleep(10);
  await load.more(clients);
  if (save % 20 === 0)
    console.log(`save ${save}: ${load.answered()} answered, ${load.failures.length} failed`);
}
await load.stop();
for (const failure of new Set(load.failures)) console.log(`  ${failure}`);
console.log({
  answered: load.answered(),
  failed: load.failures.length,
  neverTaken: load.neverTaken(),
  used: timesUsed(sidecar),
  refused: timesRefused(sidecar),
});
process.exitCode = load.failures.length + load.neverTaken() === 0 ? 0 : 1;
