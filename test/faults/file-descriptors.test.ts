import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { expect, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { requireProgram } from "../support/programs.ts";
import { nothingMore, openFiles, PRLIMIT, setLimit } from "../support/resource-limits.ts";

/** What is left for connections. */
const SPARE = 12;
const CLIENTS = 60;

/** A client that has sent the head of a request and waits. */
function startClient(port: number): Socket {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {}).resume();
  socket.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx");
  return socket;
}

test("a sidecar that runs out of file descriptors goes on, and serves again when there are some", {
  timeout: 60_000,
}, async (context) => {
  requireProgram(context, PRLIMIT);
  await using backend = await startBackend();
  using folder = temporaryFolder();
  await using sidecar = await startCommand(["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"], {
    cwd: folder.path,
  });
  const port = Number(new URL(sidecar.url).port);
  expect((await fetch(sidecar.url)).status).toBe(200);

  // In later rounds some of it is taken already, by connections that are kept.
  const limit = openFiles(sidecar.pid) + SPARE;
  for (let round = 0; round < 3; round++) {
    setLimit(sidecar.pid, "nofile", limit);
    const clients = Array.from({ length: CLIENTS }, () => startClient(port));
    await vi.waitFor(() => expect(openFiles(sidecar.pid)).toBeGreaterThanOrEqual(limit - 1), {
      timeout: 10_000,
    });

    // One that is let in is told that the backend cannot be reached; the others are turned away, or wait.
    const turnedAway = clients.map(
      (client) => client.closed || new Promise((resolve) => client.once("close", resolve)),
    );
    setTimeout(() => {
      for (const client of clients) client.destroy();
    }, 500);
    await Promise.all(turnedAway);
    setLimit(sidecar.pid, "nofile", 1024);

    await vi.waitFor(async () => expect((await fetch(sidecar.url)).status).toBe(200), { timeout: 10_000 });
    const all = await Promise.all(Array.from({ length: CLIENTS }, () => fetch(sidecar.url)));
    expect(all.map(({ status }) => status)).toEqual(Array(CLIENTS).fill(200));
  }

  const { code, stderr } = await sidecar.stop();
  expect(code).toBe(0);
  expect(stderr).not.toContain("defect");
});

test("a request for which there is no connection to the backend, as descriptors are used up, is answered 502", {
  timeout: 60_000,
}, async (context) => {
  requireProgram(context, PRLIMIT);
  await using backend = await startBackend();
  using folder = temporaryFolder();
  await using sidecar = await startCommand(["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"], {
    cwd: folder.path,
  });
  const client = connect(Number(new URL(sidecar.url).port), "127.0.0.1");
  let answer = "";
  client.on("data", (data) => {
    answer += data;
  });
  // The client has a connection then, and the backend none.
  client.write("GET /__issuer/.well-known/jwks.json HTTP/1.1\r\nHost: a\r\n\r\n");
  await once(client, "data");
  setLimit(sidecar.pid, "nofile", nothingMore(sidecar.pid));

  answer = "";
  client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  await once(client, "close");

  expect(answer).toMatch(/^HTTP\/1\.1 502 /);
  expect(answer).toContain('"code":"ERR_UPSTREAM_UNREACHABLE"');
  expect(backend.requests).toEqual([]);
  setLimit(sidecar.pid, "nofile", 1024);
  expect((await fetch(sidecar.url)).status).toBe(200);
});
