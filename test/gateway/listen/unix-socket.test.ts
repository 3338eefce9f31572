import { spawn } from "node:child_process";
import { pbkdf2 } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { promisify } from "node:util";
import { expect, onTestFinished, test, vi } from "vitest";
import { peerOf } from "../../../src/gateway/client/peer.ts";
import { startBackend } from "../../support/backend.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { connectHttp2 } from "../../support/http2-client.ts";
import { createTestListener } from "../../support/listener.ts";
import { startSidecar } from "../../support/sidecar.ts";

/** A path for a socket, in a folder that goes with the test. */
function socketPath(): string {
  const folder = temporaryFolder();
  onTestFinished(() => folder[Symbol.dispose]());
  return `${folder.path}/c.sock`;
}

/** A listener on a Unix socket that answers each request with the address of its peer. */
function createUnixListener(path: string, mode = 0o660, http2 = false) {
  const listener = createTestListener({ address: { kind: "unix", path, mode }, http2 });
  listener.serve({
    request(clientRequest, clientResponse) {
      clientResponse.end(peerOf(clientRequest).address);
    },
  });
  onTestFinished(() => listener.close(0));
  return listener;
}

async function get(path: string, target = "/"): Promise<string> {
  const clientRequest = request({ socketPath: path, path: target, agent: false });
  clientRequest.end();
  const [response] = await once(clientRequest, "response");
  let body = "";
  for await (const piece of response) body += piece;
  return body;
}

test("requests come over a Unix socket, and go on as those of TCP do", async () => {
  const path = socketPath();
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: `listen: unix:${path}\nissuer: {url: "http://localhost/__issuer", keys: {ephemeral: true}}\n`,
  });
  expect(sidecar.url).toBe(`unix:${path}`);
  expect(await get(path, "/orders")).toBe("ok");
  expect(backend.requests[0]).toMatchObject({ url: "/orders" });
  expect(backend.requests[0]?.headers.authorization).toMatch(/^Bearer /);
});

test("its clients have the address unix, also over HTTP/2", async () => {
  const path = socketPath();
  await createUnixListener(path, 0o660, true).listen();
  expect(await get(path)).toBe("unix");
  using client = await connectHttp2("http://localhost", { createConnection: () => connect(path) });
  expect((await client.request()).body).toBe("unix");
});

test("so have those that connect before the file has its mode", async () => {
  const path = socketPath();
  // Setting it has to wait for a thread.
  const threads = Array.from({ length: 8 }, () => promisify(pbkdf2)("a", "b", 200_000, 64, "sha512"));
  const listening = createUnixListener(path).listen();
  expect(await get(path)).toBe("unix");
  await listening;
  await Promise.all(threads);
});

test("the file has the mode that is configured, whatever the umask of the process", async () => {
  for (const umask of [0o000, 0o022, 0o077]) {
    const before = process.umask(umask);
    try {
      for (const mode of [0o600, 0o660, 0o666]) {
        const path = socketPath();
        await createUnixListener(path, mode).listen();
        expect((statSync(path).mode & 0o777).toString(8)).toBe(mode.toString(8));
        expect(process.umask()).toBe(umask);
      }
    } finally {
      process.umask(before);
    }
  }
});

test("there is no moment at which the file is more open than that", async () => {
  const before = process.umask(0);
  try {
    const path = socketPath();
    const listening = createUnixListener(path, 0o600).listen();
    // The file is there before anything else can run, and before its mode is set.
    await vi.waitFor(() => expect(existsSync(path)).toBe(true), { interval: 1 });
    expect(statSync(path).mode & 0o177).toBe(0);
    await listening;
  } finally {
    process.umask(before);
  }
});

test("the file is gone when the listener has closed", async () => {
  const path = socketPath();
  const listener = createUnixListener(path);
  await listener.listen();
  await listener.close(0);
  expect(existsSync(path)).toBe(false);
});

test("the file that a killed process has left is replaced", async () => {
  const path = socketPath();
  const child = spawn(process.execPath, [
    "-e",
    `require("node:net").createServer().listen(${JSON.stringify(path)}, () => console.log("listening"))`,
  ]);
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "close");
  expect(existsSync(path)).toBe(true);

  await createUnixListener(path).listen();
  expect(await get(path)).toBe("unix");
});

test("the file of a process that lives is not replaced", async () => {
  const path = socketPath();
  await createUnixListener(path).listen();
  await expect(createUnixListener(path).listen()).rejects.toThrow(
    `cannot listen on unix:${path}: another program listens on this socket; stop it, or choose another path`,
  );
  expect(await get(path)).toBe("unix");
});

test("nor is that of one that lives and takes no connection for now", async () => {
  const path = socketPath();
  const listen = "require('node:net').createServer().listen({ path: process.argv[1], backlog: 1 })";
  const other = spawn(process.execPath, ["-e", listen, path]);
  onTestFinished(() => void other.kill("SIGKILL"));
  await vi.waitFor(() => connectTo(path), { timeout: 10_000 });
  other.kill("SIGSTOP");
  // Its queue is full when one more is told to try again.
  await expect(Promise.all(Array.from({ length: 8 }, () => connectTo(path)))).rejects.toThrow("EAGAIN");

  await expect(createUnixListener(path).listen()).rejects.toMatchObject({ code: "ERR_LISTEN" });
  expect(existsSync(path)).toBe(true);
});

/** Opens a connection that is there until the test ends. */
async function connectTo(path: string): Promise<void> {
  const socket = connect(path);
  // When the other end is killed.
  socket.on("error", () => {});
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
}

test.each<[string, (path: string) => void]>([
  ["a file", (path) => writeFileSync(path, "keep me")],
  ["a folder", (path) => mkdirSync(path)],
  [
    "a link to a file",
    (path) => {
      writeFileSync(`${path}.target`, "keep me");
      symlinkSync(`${path}.target`, path);
    },
  ],
])("%s of the same name is never removed", async (_, make) => {
  const path = socketPath();
  make(path);
  await expect(createUnixListener(path).listen()).rejects.toThrow(
    "a file that is no socket has this path, and is not removed; choose another path",
  );
  if (statSync(path).isFile()) expect(readFileSync(path, "utf8")).toBe("keep me");
});

test("a folder that is missing, or no folder, is said", async () => {
  const path = socketPath();
  await expect(createUnixListener(`${path}/missing/c.sock`).listen()).rejects.toThrow(
    "the folder of this socket does not exist",
  );
  writeFileSync(path, "");
  await expect(createUnixListener(`${path}/c.sock`).listen()).rejects.toThrow(
    "the folder of this socket is no folder",
  );
  await expect(createUnixListener(`${path}${"a".repeat(120)}`).listen()).rejects.toThrow(
    "this path is too long",
  );
});

test("a folder that may not be written to is said", async () => {
  // Nobody may, not even root.
  await expect(createUnixListener("/proc/c.sock").listen()).rejects.toThrow(
    "may not write to the folder of this socket",
  );
});

test("several listeners serve at once, and end at once", async () => {
  const path = socketPath();
  await using backend = await startBackend();
  const sidecar = await startSidecar(backend.url, {
    yaml: `listen: ["127.0.0.1:0", "unix:${path}", {address: "127.0.0.1:0", http2: true}]\n`,
  });
  try {
    expect(await (await fetch(sidecar.url)).text()).toBe("ok");
    expect(await get(path)).toBe("ok");
  } finally {
    await sidecar.close();
  }
  await expect(fetch(sidecar.url)).rejects.toThrow();
  expect(existsSync(path)).toBe(false);
});
