import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { describe, expect, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";

test.each(["SIGTERM", "SIGINT"] as const)(
  "%s lets a request under way end, then stops with 0",
  async (signal) => {
    const { promise: arrived, resolve: requestArrived } = Promise.withResolvers<void>();
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    await using backend = await startBackend(async (_request, response) => {
      requestArrived();
      await released;
      response.end("finished");
    });
    using folder = temporaryFolder();
    await using sidecar = await startCommand(
      ["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"],
      {
        cwd: folder.path,
      },
    );

    const answer = fetch(sidecar.url);
    await arrived;
    const ended = sidecar.stop(signal);
    release();

    expect(await (await answer).text()).toBe("finished");
    const { code, stderr } = await ended;
    expect(code).toBe(0);
    expect(stderr).toContain(`${signal}: finishing the requests under way`);
    await expect(fetch(sidecar.url)).rejects.toThrow();
  },
);

test("a second signal ends the process at once", async () => {
  const { promise: arrived, resolve: requestArrived } = Promise.withResolvers<void>();
  await using backend = await startBackend(() => requestArrived());
  using folder = temporaryFolder();
  await using sidecar = await startCommand(["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"], {
    cwd: folder.path,
  });
  const answer = fetch(sidecar.url).catch((error: unknown) => error);
  await arrived;

  const first = sidecar.stop("SIGTERM");
  while (!sidecar.output().stderr.includes("SIGTERM: finishing")) await new Promise(setImmediate);
  await sidecar.stop("SIGTERM");

  expect((await first).code).toBe(1);
  expect(await answer).toBeInstanceOf(Error);
});

test("requests still under way after timeouts.drain are cut off", async () => {
  const { promise: arrived, resolve: requestArrived } = Promise.withResolvers<void>();
  await using backend = await startBackend(() => requestArrived());
  using folder = temporaryFolder();
  writeFileSync(
    `${folder.path}/sidecar.yaml`,
    `listen: 127.0.0.1:0\nupstream: ${backend.url}\ntimeouts: {drain: 1s}\n`,
  );
  await using sidecar = await startCommand(["serve"], { cwd: folder.path });
  const answer = fetch(sidecar.url).catch((error: unknown) => error);
  await arrived;

  const { code } = await sidecar.stop("SIGTERM");

  expect(code).toBe(0);
  expect(await answer).toBeInstanceOf(Error);
});

test("a client that asked for a tunnel and stays cannot hold up the end", async () => {
  await using backend = await startBackend();
  using folder = temporaryFolder();
  await using sidecar = await startCommand(["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"], {
    cwd: folder.path,
  });
  const client = connect({ port: Number(new URL(sidecar.url).port), host: "127.0.0.1", allowHalfOpen: true });
  client.on("error", () => {});
  client.write("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n");
  await once(client, "data");

  expect((await sidecar.stop("SIGTERM")).code).toBe(0);
});

test("requests that were sent ahead are all answered, and the last answer says that the connection closes", async () => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  let arrived = 0;
  await using backend = await startBackend(async (_request, response) => {
    arrived++;
    await released;
    response.end("ok");
  });
  using folder = temporaryFolder();
  await using sidecar = await startCommand(["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"], {
    cwd: folder.path,
  });
  const answer = sendRaw(Number(new URL(sidecar.url).port), "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3));
  await vi.waitFor(() => expect(arrived).toBe(3));

  const ended = sidecar.stop("SIGTERM");
  await vi.waitFor(() => expect(sidecar.output().stderr).toContain("SIGTERM"));
  release();

  expect(statusesOf(await answer)).toEqual([200, 200, 200]);
  expect((await answer).match(/^connection: close\r$/gim)).toHaveLength(1);
  expect((await ended).code).toBe(0);
});

describe("with an operators' listener", () => {
  async function startWithAdmin(upstream: string, folder: string, notReady: string) {
    writeFileSync(
      `${folder}/sidecar.yaml`,
      `listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: ${upstream}\ntimeouts: {notReady: ${notReady}}\n`,
    );
    const sidecar = await startCommand(["serve"], { cwd: folder });
    await vi.waitFor(() => expect(sidecar.output().stderr).toMatch(/operators .*\n/));
    return { sidecar, readyz: `${/operators +(\S+)/.exec(sidecar.output().stderr)?.[1]}/readyz` };
  }

  test("SIGTERM first says that the sidecar is not ready, and answers as usual for as long", async () => {
    await using backend = await startBackend();
    using folder = temporaryFolder();
    const { sidecar, readyz } = await startWithAdmin(backend.url, folder.path, "2s");
    await using _ = sidecar;
    expect((await fetch(readyz)).status).toBe(200);
    const ended = sidecar.stop("SIGTERM");
    await vi.waitFor(() =>
      expect(sidecar.output().stderr).toContain("SIGTERM: not ready for 2 s, then finishing"),
    );
    expect((await fetch(readyz)).status).toBe(503);
    const answer = await fetch(sidecar.url);
    expect([await answer.text(), answer.headers.get("connection")]).toEqual(["ok", "keep-alive"]);
    expect((await ended).code).toBe(0);
    await expect(fetch(readyz)).rejects.toThrow("fetch failed");
  });

  test("SIGINT, from somebody who waits, drains at once", async () => {
    using folder = temporaryFolder();
    const { sidecar } = await startWithAdmin("http://127.0.0.1:9", folder.path, "1h");
    await using _ = sidecar;
    expect((await sidecar.stop("SIGINT")).code).toBe(0);
  });

  test("a second signal ends the process at once, also while it says that it is not ready", async () => {
    using folder = temporaryFolder();
    const { sidecar } = await startWithAdmin("http://127.0.0.1:9", folder.path, "1h");
    await using _ = sidecar;
    const first = sidecar.stop("SIGTERM");
    await vi.waitFor(() => expect(sidecar.output().stderr).toContain("SIGTERM: not ready"));
    await sidecar.stop("SIGINT");
    expect((await first).code).toBe(1);
  });
});
