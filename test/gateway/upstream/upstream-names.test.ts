import { expect, test } from "vitest";
import { startBackend } from "../../support/backend.ts";
import { resolveNames } from "../../support/names.ts";
import { startSidecar } from "../../support/sidecar.ts";

test("each new connection resolves the name anew, and one that is open does not", async () => {
  await using first = await startBackend((_request, response) => void response.end("first"));
  await using second = await startBackend(
    (_request, response) => {
      response.setHeader("connection", "close").end("second");
    },
    { host: "127.0.0.2", port: first.port },
  );
  using names = resolveNames(["127.0.0.1"], ["127.0.0.2"]);
  await using sidecar = await startSidecar(`http://backend.test:${first.port}`);
  const ask = async () => (await fetch(sidecar.url)).text();

  expect([await ask(), await ask()]).toEqual(["first", "first"]);
  expect(names.lookups()).toBe(1);

  await first[Symbol.asyncDispose]();
  await expect.poll(ask).toBe("second");
  expect(second.port).toBe(first.port);
  expect(names.lookups()).toBeGreaterThan(1);
});

test("where an address of a name refuses, the next one is tried", async () => {
  await using backend = await startBackend();
  using names = resolveNames(["127.0.0.3", "127.0.0.2", "127.0.0.1"]);
  await using sidecar = await startSidecar(`http://backend.test:${backend.port}`);

  expect((await fetch(sidecar.url)).status).toBe(200);

  expect(names.lookups()).toBe(1);
  expect(sidecar.failures).toEqual([]);
});
