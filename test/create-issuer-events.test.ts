import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createIssuer } from "../src/index.ts";
import { temporaryFolder } from "./support/command-line.ts";

test("a listener that throws is a warning of the process, and the issuer goes on", async () => {
  using folder = temporaryFolder();
  const directory = join(folder.path, "keys");
  const issuer = await createIssuer({
    url: "https://issuer.example",
    keys: { directory },
    onKeyEvent() {
      throw new Error("a mistake in the listener");
    },
  });
  const warning = new Promise<Error>((resolve) => process.once("warning", resolve));
  writeFileSync(join(directory, "stray.pem"), "", { mode: 0o600 });
  await issuer.refreshKeys();
  expect((await warning).message).toBe("a mistake in the listener");
  expect(await issuer.signJwt({ subject: "me" })).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
  await issuer.close();
});
