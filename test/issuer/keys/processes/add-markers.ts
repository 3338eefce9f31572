/**
 * A process that changes a key ring, for the tests: `node add-markers.ts DIRECTORY NAME COUNT` makes COUNT changes, each
 * of which withdraws one more kid, `NAME-0` and so on, and raises the lifetimes of all keys by a second.
 */

import { createDirectoryStore } from "../../../../src/issuer/keys/directory-store.ts";
import { changeRing } from "../../../../src/issuer/keys/managed-keys.ts";

const [directory = "", name = "", count = ""] = process.argv.slice(2);
const store = createDirectoryStore(directory);
for (let index = 0; index < Number(count); index++)
  await changeRing(store, ({ keys, withdrawn }) => ({
    keys: keys.map((entry) => ({ ...entry, longestLifetimeSeconds: entry.longestLifetimeSeconds + 1 })),
    withdrawn: [...withdrawn, `${name}-${index}`],
  }));
