import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startSidecar } from "../support/sidecar.ts";

const SECRET = "a-secret-of-acme";
const SHA256 = createHash("sha256").update(SECRET).digest("hex");

test.each([
  ["X-Api-Key", "X-Api-Key"],
  ["X-Api-Key", "x-api-key"],
  ["X_Api_Key", "X_Api_Key"],
  ["x.api.key", "X.Api.Key"],
])(
  "a credential in %s, sent as %s, does not reach the backend, nor another spelling of its field",
  async (header, sent) => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `authenticators: {partners: {type: apiKey, header: ${header}, keys: [{subject: acme, sha256: ${SHA256}}]}}\nauthenticate: [partners]\n`,
    });
    const { status } = await fetch(sidecar.url, { headers: { [sent]: SECRET, "X!Api!Key": "other" } });
    expect(status).toBe(200);
    expect(backend.requests[0]?.rawHeaders.join("\n")).not.toMatch(/secret|other/);
  },
);
