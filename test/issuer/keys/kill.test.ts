import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as passing } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createDirectoryStore } from "../../../src/issuer/keys/directory-store.ts";
import { bundleProgram } from "../../support/bundled-program.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { modeOf, namesIn } from "./key-directory.ts";
import { kidsOf } from "./key-material.ts";

const SAVE_RINGS = fileURLToPath(new URL("processes/save-rings.ts", import.meta.url));
const KILLS = 20;
/** Longer than it takes to save a ring. */
const MOMENT_MILLISECONDS = 6;

let program: string;
const built = temporaryFolder();
beforeAll(async () => {
  program = await bundleProgram(SAVE_RINGS, built.path);
});
afterAll(() => built[Symbol.dispose]());

/** Numbers from 0 to 1 that look random, the same each time (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Starts a process that saves rings as soon as it is told to. */
function startWriter(directory: string) {
  const child = spawn(process.execPath, [program, directory]);
  const closed = once(child, "close");
  let [output, errors] = ["", ""];
  child.stderr.on("data", (data) => {
    errors += data;
  });
  child.stdout.on("data", (data) => {
    output += data;
  });
  /** Waits for so many lines. */
  async function lines(count: number): Promise<void> {
    while (output.split("\n").length <= count && child.exitCode === null)
      await Promise.race([once(child.stdout, "data"), closed]);
  }
  return {
    /** Lets it save some rings and go on for a moment, then kills it: what it said was stored. */
    async killAfter(rings: number, milliseconds: number) {
      await lines(1);
      child.stdin.write("!");
      await lines(1 + rings);
      await passing(milliseconds);
      child.kill("SIGKILL");
      const [, signal] = await closed;
      // A line that is cut was not heard of.
      const confirmed = output.split("\n").slice(1, -1);
      return { signal, errors, confirmed: confirmed.map((line) => line.split(" ") as [string, string]) };
    },
    kill: () => child.kill("SIGKILL"),
  };
}

test.each([1, 2])(
  "a process that is killed while it writes keys loses none that it had stored (seed %i)",
  { concurrent: true, timeout: 60_000 },
  async (seed) => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "keys");
    using stack = new DisposableStack();
    const start = () => {
      const writer = startWriter(directory);
      stack.defer(writer.kill);
      return writer;
    };
    const random = seeded(seed);
    let newest = 0;
    let stored = 0;
    // The next one loads its code while this one writes.
    let next = start();
    for (let kills = 0; kills < KILLS; kills++) {
      const writer = next;
      next = start();
      const rings = Math.floor(random() * 4);
      const { signal, errors, confirmed } = await writer.killAfter(rings, random() * MOMENT_MILLISECONDS);

      expect({ signal, errors }).toEqual({ signal: "SIGKILL", errors: "" });
      const { ring, version } = await createDirectoryStore(directory).load();
      const versions = confirmed.map(([number]) => Number(number));
      expect(versions).toEqual(versions.map((_, index) => newest + 1 + index));
      expect(version).toBeGreaterThanOrEqual(versions.at(-1) ?? newest);
      if (confirmed.length > 0)
        expect(kidsOf(ring)).toEqual(expect.arrayContaining(confirmed.map(([, kid]) => kid)));
      for (const name of version === 0 ? [] : namesIn(directory)) {
        expect(name).toMatch(/^(?:ring\.\d+\.json|\.ring\.[0-9a-f-]{36}\.tmp)$/);
        expect(modeOf(join(directory, name))).toBe("600");
      }
      newest = version;
      stored += confirmed.length;
    }
    expect(stored).toBeGreaterThan(KILLS);
    expect(modeOf(directory)).toBe("700");
  },
);
