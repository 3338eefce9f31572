import { once } from "node:events";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { Agent } from "node:https";
import { connect, type TLSSocket } from "node:tls";
import { expect, onTestFinished, test, vi } from "vitest";
import { stringify } from "yaml";
import type { ListenerEvent } from "../../src/index.ts";
import { startBackend } from "../support/backend.ts";
import {
  createCa,
  issueForServer,
  type TestCa,
  type TestCertificate,
  writeTlsFiles,
} from "../support/certificates.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { startSidecar } from "../support/sidecar.ts";
import { get } from "../support/tls-sidecar.ts";

const ca = await createCa();

/** A sidecar whose certificate is in `folder`, or in what `folder/current` leads to. */
async function start({ link = false, clientCertificate = "none" } = {}) {
  const folder = temporaryFolder();
  onTestFinished(() => folder[Symbol.dispose]());
  const first = await issueForServer(ca);
  if (link) {
    mkdirSync(`${folder.path}/one`);
    writeTlsFiles(`${folder.path}/one`, first, ca);
    symlinkSync("one", `${folder.path}/current`);
    for (const name of ["tls.crt", "tls.key", "ca.crt"])
      symlinkSync(`current/${name}`, `${folder.path}/${name}`);
  } else writeTlsFiles(folder.path, first, ca);
  const backend = await startBackend();
  onTestFinished(() => backend[Symbol.asyncDispose]());
  const events: ListenerEvent[] = [];
  const file = (name: string) => `${folder.path}/${name}`;
  const clients = clientCertificate === "none" ? {} : { clientCa: file("ca.crt"), clientCertificate };
  const tls = { cert: file("tls.crt"), key: file("tls.key"), ...clients };
  const sidecar = await startSidecar(backend.url, {
    yaml: stringify({ listen: { address: "127.0.0.1:0", tls } }),
    onListenerEvent: (event) => events.push(event),
  });
  onTestFinished(() => sidecar.close());
  return { folder: folder.path, file, first, sidecar, backend, events };
}

/** A new connection, without a session of an earlier one. */
async function open(port: number, options: object = {}): Promise<TLSSocket> {
  const socket = connect({ port, host: "127.0.0.1", ca: ca.cert, ...options });
  onTestFinished(() => void socket.destroy());
  await once(socket, "secureConnect");
  return socket;
}

async function shown(port: number): Promise<string> {
  const socket = await open(port);
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

const becomes = (port: number, { x509 }: TestCertificate) =>
  vi.waitFor(async () => expect(await shown(port)).toBe(x509.fingerprint256), {
    timeout: 10_000,
    interval: 20,
  });

test("a new certificate is shown to new connections, and those that are open go on", async () => {
  const { folder, first, sidecar, events } = await start();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  await get(sidecar.url, { ca, agent });
  expect(await shown(sidecar.port)).toBe(first.x509.fingerprint256);

  const second = await issueForServer(ca);
  writeTlsFiles(folder, second, ca);
  await becomes(sidecar.port, second);

  expect((await get(sidecar.url, { ca, agent })).status).toBe(200);
  expect(events).toEqual([
    {
      key: "listen[0].tls",
      kind: "reloaded",
      message: `the certificate in ${folder}/tls.crt is used from now on`,
    },
  ]);
});

test("it may come by a rename, or by another link to its folder", async () => {
  const { folder, file, sidecar } = await start({ link: true });
  const second = await issueForServer(ca);
  mkdirSync(`${folder}/two`);
  writeTlsFiles(`${folder}/two`, second, ca);
  symlinkSync("two", `${folder}/next`);
  renameSync(`${folder}/next`, `${folder}/current`);
  await becomes(sidecar.port, second);

  const third = await issueForServer(ca);
  for (const [name, text] of [
    ["tls.key", third.key],
    ["tls.crt", third.cert],
  ] as const) {
    writeFileSync(file(`${name}.new`), text, { mode: 0o600 });
    renameSync(file(`${name}.new`), file(name));
  }
  await becomes(sidecar.port, third);
});

test("while only one of certificate and key is new, the pair before goes on; then both count", async () => {
  const { file, first, sidecar, events } = await start();
  const second = await issueForServer(ca);
  writeFileSync(file("tls.crt"), second.cert);
  await vi.waitFor(() => expect(events).toHaveLength(1), { timeout: 10_000 });
  expect(events[0]).toMatchObject({ key: "listen[0].tls", kind: "problem" });
  expect(events[0]?.message).toContain("this is not the private key of the first certificate");
  expect(await shown(sidecar.port)).toBe(first.x509.fingerprint256);

  writeFileSync(file("tls.key"), second.key, { mode: 0o600 });
  await becomes(sidecar.port, second);
  await vi.waitFor(() =>
    expect(events.map(({ kind }) => kind)).toEqual(["problem", "reloaded", "recovered"]),
  );
});

test("the two in quick succession are no problem to tell of", async () => {
  const { file, sidecar, events } = await start();
  const second = await issueForServer(ca);
  writeFileSync(file("tls.crt"), second.cert);
  await new Promise((resolve) => setTimeout(resolve, 200));
  writeFileSync(file("tls.key"), second.key, { mode: 0o600 });
  await becomes(sidecar.port, second);
  expect(events.map(({ kind }) => kind)).toEqual(["reloaded"]);
});

test("a file that is missing, empty or half written changes nothing, and is said once", async () => {
  const { file, first, sidecar, events } = await start();
  rmSync(file("tls.crt"));
  await vi.waitFor(() => expect(events).toHaveLength(1), { timeout: 10_000 });
  for (const text of ["", first.cert.slice(0, 100)]) {
    writeFileSync(file("tls.crt"), text);
    expect(await shown(sidecar.port)).toBe(first.x509.fingerprint256);
  }
  writeFileSync(file("tls.crt"), first.cert);
  await vi.waitFor(() => expect(events.at(-1)?.kind).toBe("recovered"), { timeout: 10_000 });
  expect(new Set(events.map(({ message }) => message)).size).toBe(events.length);
});

test("with a new CA the clients of the old one are refused, also those that resume a session", async () => {
  const { file, sidecar } = await start({ clientCertificate: "required" });
  const { cert, key } = await ca.issue({ commonName: "orders" });
  const ask = async (options: object) => {
    const socket = await open(sidecar.port, { cert, key, maxVersion: "TLSv1.2", ...options });
    const isReused = socket.isSessionReused();
    socket.on("error", () => {});
    socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = "";
    socket.on("data", (data) => {
      answer += data;
    });
    const session = socket.getSession();
    await once(socket, "close");
    return { answer: answer.slice(0, 12), session, isReused };
  };
  const before = await ask({});
  expect(before.answer).toBe("HTTP/1.1 200");
  // A ticket spares the second handshake.
  expect(await ask({ session: before.session })).toMatchObject({ answer: "HTTP/1.1 200", isReused: true });

  const other: TestCa = await createCa();
  writeFileSync(file("ca.crt"), other.cert);
  await vi.waitFor(
    async () => {
      const refused = await ask({ session: before.session }).catch(() => ({ answer: "" }));
      expect(refused.answer).toBe("");
    },
    { timeout: 10_000, interval: 50 },
  );
});

test("under load of connections that stay and connections that come, swap after swap loses no request", async () => {
  const { folder, sidecar, backend, events } = await start();
  const failures: unknown[] = [];
  let answered = 0;
  let isOver = false;
  const staying = new Agent({ keepAlive: true, maxSockets: 40 });
  onTestFinished(() => staying.destroy());
  const load = async (agent: Agent | undefined) => {
    while (!isOver)
      await get(sidecar.url, { ca, ...(agent && { agent }) }).then(
        ({ status }) => (status === 200 ? answered++ : failures.push(status)),
        (error) => failures.push(error),
      );
  };
  const loads = [
    ...Array.from({ length: 40 }, () => load(staying)),
    ...Array.from({ length: 4 }, () => load(new Agent({ keepAlive: false, maxCachedSessions: 0 }))),
  ];
  for (let swap = 1; swap <= 5; swap++) {
    const next = await issueForServer(ca);
    writeTlsFiles(folder, next, ca);
    await becomes(sidecar.port, next);
    const { length } = events.filter(({ kind }) => kind === "reloaded");
    expect(length).toBe(swap);
  }
  isOver = true;
  await Promise.all(loads);
  expect(failures).toEqual([]);
  expect(backend.requests).toHaveLength(answered);
  expect(answered).toBeGreaterThan(100);
});
