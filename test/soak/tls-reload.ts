/**
 * Changes a certificate again and again under load, and counts what is lost: `node test/soak/tls-reload.ts [SWAPS]
 * [CLIENTS]`, after `npm run build`. It ends with 1 where a request was lost.
 */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect, type TLSSocket } from "node:tls";
import { stringify } from "yaml";
import { startBackend } from "../support/backend.ts";
import { createCa, issueForServer, writeTlsFiles } from "../support/certificates.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { startLoad } from "../support/load.ts";

const [swaps = 20, clients = 200] = process.argv.slice(2).map(Number);

await using backend = await startBackend((_request, response) => response.end("ok"));
using folder = temporaryFolder();
const ca = await createCa();
writeTlsFiles(folder.path, await issueForServer(ca), ca);
writeFileSync(
  `${folder.path}/sidecar.yaml`,
  stringify({
    listen: { address: "127.0.0.1:0", tls: { cert: "tls.crt", key: "tls.key" } },
    upstream: backend.url,
    issuer: { keys: { ephemeral: true } },
  }),
);
await using sidecar = await startCommand(["serve"], { cwd: folder.path });
const port = Number(new URL(sidecar.url).port);

async function open(): Promise<TLSSocket> {
  const socket = connect({ port, host: "127.0.0.1", ca: ca.cert });
  await once(socket, "secureConnect");
  return socket;
}

const staying = startLoad({ clients, connect: open, reconnects: false, pause: () => 20 });
const failures: unknown[] = [];
let opened = 0;
for (let swap = 1; swap <= swaps; swap++) {
  const next = await issueForServer(ca);
  writeTlsFiles(folder.path, next, ca);
  for (let isShown = false; !isShown; opened++)
    try {
      const socket = await open();
      isShown = socket.getPeerCertificate().fingerprint256 === next.x509.fingerprint256;
      socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      const [answer] = await once(socket, "data");
      if (!String(answer).startsWith("HTTP/1.1 200")) failures.push(String(answer));
      socket.destroy();
    } catch (error) {
      failures.push(error);
    }
  console.log(
    `swap ${swap}: ${staying.answered()} answered, ${opened} connections came, ${failures.length} lost`,
  );
}
await staying.stop();
failures.push(...staying.failures);
console.log({ answered: staying.answered(), opened, failed: failures.length }, failures.slice(0, 3));
process.exitCode = failures.length === 0 ? 0 : 1;
