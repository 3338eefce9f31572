import { readdirSync, readFileSync } from "node:fs";
import { defineConfig } from "vitest/config";

/** Tests without a sidecar, and without something put in the place of a module or a clock. */
const simple = readdirSync("test", { recursive: true, encoding: "utf8" })
  .filter((file) => /^(?:cli|config|issuer|policy)\/.*\.test\.ts$/.test(file))
  .map((file) => `test/${file}`)
  .filter((file) => !/vi\.mock\(|useFakeTimers/.test(readFileSync(file, "utf8")));

export default defineConfig({
  test: {
    pool: "forks",
    // Tests wait for time-outs and for other processes half of the time.
    maxWorkers: 3,
    testTimeout: 20_000,
    hookTimeout: 20_000,
    projects: [
      // Modules are loaded once by each worker and not by each file.
      { extends: true, test: { name: "simple", include: simple, isolate: false } },
      { extends: true, test: { name: "whole", include: ["test/**/*.test.ts"], exclude: simple } },
    ],
  },
});
