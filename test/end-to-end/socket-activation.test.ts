import { once } from "node:events";
import { linkSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { openSocket } from "../support/passed-socket.ts";
import { printed, replaceWorker, workersOf } from "../support/workers.ts";

vi.setConfig({ testTimeout: 60_000 });

const ISSUER = "issuer: {url: 'https://issuer.example/__issuer'}\ntimeouts: {drain: 2s, notReady: 1s}\n";

const variablesFor = (names: string) => {
  const count = names.split(":").length;
  return `LISTEN_PID=$$ LISTEN_FDS=${count} LISTEN_FDNAMES=${names}`;
};

function folderWith(yaml: string) {
  const folder = temporaryFolder();
  writeFileSync(join(folder.path, "sidecar.yaml"), yaml);
  return folder;
}

test.each([1, 2])(
  "sockets that are passed by name serve clients and operators, with %d workers",
  async (workers) => {
    await using backend = await startBackend();
    const yaml = `upstream: ${backend.url}\nlisten: systemd:http\nadmin: systemd:admin\nworkers: ${workers}\n${ISSUER}`;
    using folder = folderWith(yaml);
    const [http, admin] = [await openSocket(), await openSocket()];
    const passed = { fds: [admin.fd, http.fd], variables: variablesFor("admin:http") };
    await using sidecar = await startCommand(["serve"], { cwd: folder.path, passed });
    for (const { close } of [http, admin]) close();

    expect(sidecar.url).toBe(http.url);
    await printed(sidecar, /operators +http:/);
    expect(sidecar.output().stderr).toContain(`operators     ${admin.url}\n`);
    for (const pid of workersOf(sidecar)) await replaceWorker(sidecar, pid);
    expect(await (await fetch(http.url)).text()).toBe("ok");
    expect((await fetch(`${admin.url}/readyz`)).status).toBe(200);
    expect((await sidecar.stop("SIGINT")).code).toBe(0);
  },
);

test("a Unix socket may be passed too, and the only socket needs no name", async () => {
  await using backend = await startBackend();
  using folder = folderWith(`upstream: ${backend.url}\nlisten: systemd\nadmin: 127.0.0.1:0\n${ISSUER}`);
  const socketPath = join(folder.path, "c.sock");
  const socket = await openSocket(`${socketPath}.made`);
  const passed = { fds: [socket.fd], variables: "LISTEN_PID=$$ LISTEN_FDS=1" };
  await using sidecar = await startCommand(["serve"], { cwd: folder.path, passed });
  // Node.js removes the file with the socket that it has made.
  linkSync(`${socketPath}.made`, socketPath);
  socket.close();
  expect(sidecar.url).toBe("systemd");
  const clientRequest = request({ socketPath, host: "a", headers: { connection: "close" } }).end();
  const [response] = await once(clientRequest, "response");
  expect(await text(response)).toBe("ok");
});

test("where no worker is left to hold what was passed, all ends, to be started again", async () => {
  using folder = folderWith(`upstream: http://127.0.0.1:9\nlisten: systemd\nworkers: 2\n${ISSUER}`);
  const socket = await openSocket();
  const passed = { fds: [socket.fd], variables: "LISTEN_PID=$$ LISTEN_FDS=1" };
  await using sidecar = await startCommand(["serve"], { cwd: folder.path, passed });
  socket.close();
  for (const pid of workersOf(sidecar)) process.kill(pid, "SIGKILL");
  await printed(sidecar, /no worker is left to hold the sockets that were passed/);
  expect((await sidecar.stop("SIGTERM")).code).toBe(1);
});

test("without a socket nothing starts, and it is said why", async () => {
  using folder = folderWith(`upstream: http://127.0.0.1:9\nlisten: systemd\n${ISSUER}`);
  expect(await runCommand(["serve"], { cwd: folder.path })).toEqual({
    code: 1,
    stdout: "",
    stderr:
      "countersign: cannot listen on systemd: no socket was passed to this process; it is to be started by its systemd.socket unit\n",
  });
});

test("what was passed has to be a socket that listens", async () => {
  using folder = folderWith(`upstream: http://127.0.0.1:9\nlisten: systemd\n${ISSUER}`);
  const passed = { fds: [1], variables: "LISTEN_PID=$$ LISTEN_FDS=1" };
  const { code, stderr } = await runCommand(["serve"], { cwd: folder.path, passed });
  expect(code).toBe(1);
  expect(stderr).toMatch(/^countersign: cannot listen on systemd: .*\n$/);
});
