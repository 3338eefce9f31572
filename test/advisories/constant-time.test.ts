import { expect, test, vi } from "vitest";
import { apiKeyEntry } from "../support/api-keys.ts";
import { startBackend } from "../support/backend.ts";
import { startSidecar } from "../support/sidecar.ts";

/** What the comparisons in constant time were given, and whether they are made to say no. */
const comparisons = vi.hoisted(() => ({ lengths: [] as number[], areFalse: false }));

vi.mock("node:crypto", async (original) => {
  const real = await original<typeof import("node:crypto")>();
  return {
    ...real,
    timingSafeEqual(a: Uint8Array, b: Uint8Array) {
      comparisons.lengths.push(a.byteLength);
      return !comparisons.areFalse && real.timingSafeEqual(a, b);
    },
  };
});

/** scrypt of "correct horse". */
const PASSWORD_HASH =
  "$scrypt$ln=14,r=8,p=5$h7unv5S52UazUJBdeXKeIg$+STL9mX8Mkr9TX7OrfSqrz5ZHyONrRqPAqkraBOoucQ";

const YAML = `
authenticators:
  keys: {type: apiKey, header: X-Api-Key, keys: [${apiKeyEntry("acme-key", "acme")}]}
  ops: {type: basic, users: [{username: ops, passwordHash: "${PASSWORD_HASH}"}]}
authenticate: [keys, ops]
`;

test.each([
  ["an API key", { "x-api-key": "acme-key" }],
  ["a password", { authorization: `Basic ${btoa("ops:correct horse")}` }],
])("of %s the hash is compared, in constant time, and that alone decides", async (_, headers) => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, { yaml: YAML });
  comparisons.lengths.length = 0;

  comparisons.areFalse = true;
  expect((await fetch(sidecar.url, { headers })).status).toBe(401);
  comparisons.areFalse = false;
  expect((await fetch(sidecar.url, { headers })).status).toBe(200);

  // The whole of a hash of 256 bits each time, whatever the text is like.
  expect(comparisons.lengths).toEqual([32, 32]);
});
