/**
 * A process that puts ring after ring into a directory as fast as it can, for the tests: `node save-rings.ts DIRECTORY`.
 * It says `ready`, waits for a byte, then prints a line for each ring that is stored: its version and the kid it added.
 */

import { once } from "node:events";
import { createDirectoryStore } from "../../../../src/issuer/keys/directory-store.ts";
import { newKey } from "../../../../src/issuer/keys/managed-keys.ts";
import { withFirstKey } from "../../../../src/issuer/keys/ring.ts";

const need = { purpose: "token", algorithm: "EdDSA", longestLifetimeSeconds: 300 } as const;
const store = createDirectoryStore(process.argv[2] ?? "");
process.stdout.write("ready\n");
await once(process.stdin, "data");
let { ring, version } = await store.load();
// Those that came before may go: what is printed from here on has to stay.
ring = { ...ring, keys: [] };
for (;;) {
  const key = await newKey(need.algorithm);
  ring = withFirstKey(ring, need, key, Date.now());
  version = (await store.save(ring, version)) ?? Number.NaN;
  process.stdout.write(`${version} ${key.kid}\n`);
}
