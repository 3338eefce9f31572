import { expect, test, vi } from "vitest";
import { openExternalKeys } from "../../../src/issuer/keys/external-keys.ts";
import { createSigningKey } from "../../../src/issuer/keys/signing-key.ts";
import { needFor, pemOf, privateKeyFor } from "./key-material.ts";

/** A disk that answers when it is told to. */
const disk = vi.hoisted(() => ({ read: async (): Promise<string> => "" }));

vi.mock("../../../src/issuer/keys/key-file.ts", async (original) => ({
  ...(await original<object>()),
  readKeyFile: () => disk.read(),
}));

test("a slow look at the files never brings back what a later one has replaced", async () => {
  const [old, next] = [privateKeyFor("EdDSA"), privateKeyFor("EdDSA")];
  const { kid } = await createSigningKey(next, "EdDSA", "next");
  disk.read = async () => pemOf(old);
  const keys = await openExternalKeys({
    source: { kind: "files", files: ["a.key"], passphrase: undefined },
    needs: [needFor()],
    env: {},
    onEvent: () => {},
  });

  const slow = Promise.withResolvers<string>();
  disk.read = () => slow.promise;
  const first = keys.refresh();
  disk.read = async () => pemOf(next);
  const second = keys.refresh();
  // The second would be done by now, if it did not wait.
  await new Promise(setImmediate);
  slow.resolve(pemOf(old));
  await Promise.all([first, second]);

  expect(keys.current().activeKey("token", "EdDSA")?.key.kid).toBe(kid);
  await keys.close();
});
