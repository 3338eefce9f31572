import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";

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
