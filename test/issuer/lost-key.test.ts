import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { openKeys } from "../../src/issuer/key-source.ts";
import { temporaryFolder } from "../support/command-line.ts";

// A file system that loses what it was given.
vi.mock("node:fs/promises", async (original) => ({ ...(await original<object>()), link: async () => {} }));

test("a key that is not there after it was written is refused, never another one in its place", async () => {
  using folder = temporaryFolder();
  const directory = join(folder.path, "keys");
  await expect(openKeys({ kind: "directory", directory }, "EdDSA", {})).rejects.toMatchObject({
    code: "ERR_KEY",
    message: `${directory}/EdDSA.pem: this key was written and is gone again; find out what removes it`,
  });
  expect(readdirSync(directory)).toEqual([]);
});
