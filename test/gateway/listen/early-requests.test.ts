import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test, vi } from "vitest";
import { createSidecar, parseConfig } from "../../../src/index.ts";
import { startBackend } from "../../support/backend.ts";
import { createCa, issueForServer, writeTlsFiles } from "../../support/certificates.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { createTestListener, portOf } from "../../support/listener.ts";

test("what comes before there is a handler is answered by it, and so is what comes later", async () => {
  const listener = createTestListener();
  const port = portOf(await listener.listen());
  onTestFinished(() => listener.close(0));
  const early = connect({ port, host: "127.0.0.1" });
  early.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  await vi.waitFor(() => expect(early.bytesWritten).toBeGreaterThan(0));
  // It has been read by the time when another connection, which came later, has been taken.
  const later = connect({ port, host: "127.0.0.1" });
  await once(later, "connect");
  listener.serve({ request: (_request, response) => void response.end("answered") });
  expect(await text(early)).toContain("answered");
  later.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  expect(await text(later)).toContain("answered");
});

test("a request to the first listener waits while the second one opens", async () => {
  using folder = temporaryFolder();
  await using backend = await startBackend();
  const ca = await createCa();
  const server = await issueForServer(ca);
  writeTlsFiles(folder.path, server, ca);
  // A certificate that comes when this test lets it.
  const certificate = join(folder.path, "tls.crt");
  rmSync(certificate);
  execFileSync("mkfifo", [certificate]);
  const { config } = parseConfig(
    `
upstream: ${backend.url}
issuer: {url: "https://issuer.example", keys: {ephemeral: true}}
admin: false
listen: ["unix:c.sock", {address: "127.0.0.1:0", tls: {cert: tls.crt, key: tls.key}}]
`,
    { file: join(folder.path, "sidecar.yaml") },
  );
  const sidecar = createSidecar(config);
  const started = sidecar.start();
  const writer = await open(certificate, "w");
  const socketPath = join(folder.path, "c.sock");
  expect(existsSync(socketPath)).toBe(true);
  const clientRequest = request({ socketPath, host: "a" }).end();
  const answered = once(clientRequest, "response");
  await once(clientRequest, "finish");
  await writer.writeFile(server.cert);
  await writer.close();
  await started;
  const [response] = (await answered) as [IncomingMessage];
  expect(await text(response)).toBe("ok");
  await sidecar.close();
});
