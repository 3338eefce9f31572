// What one signature by crypto.sign costs in the loop, in a process of its own: asked by a message {algorithm,
// milliseconds}, it answers with the CPU microseconds of one.
import { generateKeyPairSync, sign } from "node:crypto";

const KEYS = {
  EdDSA: { digest: null, ...generateKeyPairSync("ed25519") },
  ES256: { digest: "sha256", ...generateKeyPairSync("ec", { namedCurve: "P-256" }) },
};
/** As long as the signing input of a usual token. */
const INPUT = Buffer.alloc(300, "x");

process.on("message", ({ algorithm, milliseconds }) => {
  const { digest, privateKey } = KEYS[algorithm];
  const key = { key: privateKey, dsaEncoding: "ieee-p1363" };
  const before = process.threadCpuUsage();
  const end = performance.now() + milliseconds;
  let signatures = 0;
  do {
    sign(digest, INPUT, key);
    signatures++;
  } while (performance.now() < end);
  const { user, system } = process.threadCpuUsage(before);
  process.send((user + system) / signatures);
});
process.once("disconnect", () => process.exit());
