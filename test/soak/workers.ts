/**
 * Replaces the workers of a sidecar one after another under load, and counts what is lost:
 * `node test/soak/workers.ts [ROUNDS] [CLIENTS]`, after `npm run build`. It ends with 1 where a request was lost.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { connectTo, startLoad } from "../support/load.ts";
import { replaceWorker, workersOf } from "../support/workers.ts";

const [rounds = 20, clients = 200] = process.argv.slice(2).map(Number);

await using backend = await startBackend((_request, response) => response.end("ok"));
using folder = temporaryFolder();
writeFileSync(
  join(folder.path, "sidecar.yaml"),
  JSON.stringify({ upstream: backend.url, listen: "127.0.0.1:0", workers: 2 }),
);
await using sidecar = await startCommand(["serve"], { cwd: folder.path });
const port = Number(new URL(sidecar.url).port);
const load = startLoad({ clients, connect: () => connectTo(port), reconnects: true });
await load.more(clients * 5);
for (let round = 1; round <= rounds; round++) {
  for (const pid of workersOf(sidecar)) {
    await replaceWorker(sidecar, pid);
    await load.more(clients);
  }
  console.log(
    `round ${round}: ${load.answered()} answered, ${load.failures.length} lost, ${load.neverTaken()} never taken, ` +
      `workers ${workersOf(sidecar)}`,
  );
}
await load.stop();
for (const failure of new Set(load.failures)) console.log(`  ${failure}`);
const total = {
  answered: load.answered(),
  failed: load.failures.length,
  neverTaken: load.neverTaken(),
};
console.log(total);
process.exitCode = total.failed + total.neverTaken === 0 ? 0 : 1;
