import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MOST_TRIES = 10;

/** Makes a folder that is removed when this program ends, however that comes. */
export function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), "countersign-bench-"));
  process.once("exit", () => {
    // What runs in it ends now, and removes files of its own: a removal that meets that gives up half-way, and says nothing.
    for (let tries = 0; existsSync(folder) && tries < MOST_TRIES; tries++)
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  return folder;
}
