import { expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

test.each([
  ["below the default of timeouts.headers", "{request: 1s}"],
  ["below timeouts.headers", "{headers: 10s, request: 1s}"],
])("timeouts.request may be %s: it counts for the headers too", async (_, timeouts) => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, { yaml: `timeouts: ${timeouts}` });

  expect(statusesOf(await sendRaw(sidecar.port, "GET / HTTP/1.1\r\nHost: a\r\n"))).toEqual([408]);
});
