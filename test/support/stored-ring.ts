import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The newest ring in a key directory, as its file has it. A running sidecar may be putting the next one there. */
export function storedRingIn(directory: string) {
  for (let attempts = 20; ; attempts--) {
    const versions = readdirSync(directory).flatMap((name) => /^ring\.(\d+)\.json$/.exec(name)?.[1] ?? []);
    const newest = join(directory, `ring.${Math.max(...versions.map(Number))}.json`);
    try {
      return JSON.parse(readFileSync(newest, "utf8"));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || attempts === 0) throw error;
    }
  }
}
