/**
 * A process that writes one version of a static issuer after another as fast as it can, for the tests:
 * `node write-copies.ts DIRECTORY BODY…`. It says `ready` when each has been written once.
 */

import { writeCopy } from "../../../src/cli/static-issuer/write-copy.ts";

const [, , directory = "", ...letters] = process.argv;
/** Long enough that a write in place would be seen half done. */
const LENGTH = 100_000;

for (let round = 0; ; round++) {
  for (const letter of letters)
    await writeCopy(
      directory,
      [".well-known/jwks.json", ".well-known/openid-configuration"].map((path) => ({
        path,
        url: "",
        body: letter.repeat(LENGTH),
      })),
    );
  if (round === 0) process.stdout.write("ready\n");
}
