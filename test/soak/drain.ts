/**
 * Ends a sidecar again and again under load, and counts what is lost: `node test/soak/drain.ts [ROUNDS] [CLIENTS]`,
 * after `npm run build`. It ends with 1 where a request was lost.
 */
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { connectTo, startLoad } from "../support/load.ts";

const [rounds = 20, clients = 200] = process.argv.slice(2).map(Number);

await using backend = await startBackend((_request, response) => response.end("ok"));
using folder = temporaryFolder();
const total = { answered: 0, failed: 0, neverTaken: 0 };
for (let round = 1; round <= rounds; round++) {
  const reconnects = round % 2 === 0;
  await using sidecar = await startCommand(["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"], {
    cwd: folder.path,
  });
  const port = Number(new URL(sidecar.url).port);
  const pause = () => (round % 4 < 2 ? 0 : Math.random() * 50);
  const load = startLoad({ clients, connect: () => connectTo(port), reconnects, pause });
  await load.more(clients * 5);
  const begun = Date.now();
  await sidecar.stop("SIGTERM");
  await load.ended;
  total.answered += load.answered();
  total.failed += load.failures.length;
  total.neverTaken += load.neverTaken();
  console.log(
    `round ${round}${reconnects ? ", clients come back" : ""}: ${load.answered()} answered, ${load.failures.length} lost, ` +
      `${load.neverTaken()} never taken, ended in ${Date.now() - begun} ms`,
  );
  for (const failure of new Set(load.failures)) console.log(`  ${failure}`);
}
console.log(total);
process.exitCode = total.failed === 0 ? 0 : 1;
