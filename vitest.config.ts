import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * What puts something in the place of a module or a clock, counts memory, or listens for what would end the process. A test
 * with a rotation (support/rotation.ts) needs none: it stops the time of day alone, and lets it go on.
 */
const NEEDS_A_PROCESS =
  /vi\.(?:mock|useFakeTimers|setSystemTime)\(|support\/names\.ts|fuzzing\/|memoryUsage|VmRSS|rss|uncaughtException/;

const files = readdirSync("test", { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".test.ts"))
  .map((file) => `test/${file}`);
const alone = files.filter((file) => NEEDS_A_PROCESS.test(readFileSync(file, "utf8")));

/** They take ten seconds to a minute: begun last, each would be what everybody waits for. */
const LONGEST = [
  ...["end-to-end/workers", "end-to-end/fleet", "end-to-end/reload", "end-to-end/package"],
  ...["issuer/keys/simulation", "issuer/keys/redis/interleavings", "end-to-end/logs", "end-to-end/metrics"],
  ...["end-to-end/bodies", "end-to-end/drain", "issuer/keys/fleet", "cli/young-requests"],
].map((name) => `/test/${name}.test.ts`);

class LongestFirst extends BaseSequencer {
  override async sort(specifications: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification) => LONGEST.some((name) => moduleId.endsWith(name));
    const sorted = await super.sort(specifications);
    return [...sorted.filter(isLong), ...sorted.filter((one) => !isLong(one))];
  }
}

export default defineConfig({
  test: {
    pool: "forks",
    sequence: { sequencer: LongestFirst },
    // The program and its workers are started some three hundred times, and compiling is a sixth of what a start takes.
    env: { NODE_COMPILE_CACHE: resolve("node_modules/.countersign-compiled") },
    // Tests wait for time-outs and for other processes most of the time: it takes five of them to keep two cores busy.
    maxWorkers: 5,
    // For what would never end: where a short time is the claim, the test says so.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    projects: [
      { extends: true, test: { name: "alone", include: alone } },
      // Modules are loaded once by each worker and not by each file, which would take a quarter of the time.
      {
        extends: true,
        test: {
          name: "shared",
          include: ["test/**/*.test.ts"],
          exclude: alone,
          isolate: false,
          // Room for what is young from the start, which a long-lived process makes for itself only after many collections.
          execArgv: ["--min-semi-space-size=16"],
        },
      },
    ],
  },
});
