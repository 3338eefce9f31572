import fc from "fast-check";

/** How long a fuzz test runs, in seconds, where neither it nor $COUNTERSIGN_FUZZ_SECONDS says otherwise. */
const DEFAULT_SECONDS = 12;
const { COUNTERSIGN_FUZZ_SECONDS, COUNTERSIGN_FUZZ_SEED } = process.env;

/** A fuzz test may end so much later than its time, in milliseconds: for the last run, and to open and close. */
const GRACE_MILLISECONDS = 30_000;

/** The time limit of a test that fuzzes. */
export const fuzzTestTimeout =
  Number(COUNTERSIGN_FUZZ_SECONDS ?? DEFAULT_SECONDS) * 1000 + GRACE_MILLISECONDS;

/** What is tried again and again. */
export interface FuzzedProperty<T> {
  readonly name: string;
  /** For how long, unless $COUNTERSIGN_FUZZ_SECONDS says otherwise. */
  readonly seconds?: number;
  readonly arbitrary: fc.Arbitrary<T>;
  /** Throws where it does not hold. */
  readonly check: (value: T) => Promise<void>;
  /** Fewer runs than this in the time prove nothing. */
  readonly minimumRuns: number;
  /** What was done until now, to be told at the end; by name. */
  readonly counts: () => Readonly<Record<string, number>>;
}

/**
 * Tries a property with one value after another until the time is up, and prints seed and counts. A failure can be had
 * again with $COUNTERSIGN_FUZZ_SEED.
 *
 * @throws {Error} when it fails, with the smallest value that was found for which it does
 */
export async function fuzz<T>({
  name,
  seconds = DEFAULT_SECONDS,
  arbitrary,
  check,
  minimumRuns,
  counts,
}: FuzzedProperty<T>): Promise<void> {
  const seed = Number(COUNTERSIGN_FUZZ_SEED ?? (Date.now() ^ process.pid) & 0x7fffffff);
  const started = performance.now();
  const details = await fc.check(fc.asyncProperty(arbitrary, check), {
    seed,
    numRuns: 1_000_000_000,
    interruptAfterTimeLimit: Number(COUNTERSIGN_FUZZ_SECONDS ?? seconds) * 1000,
    markInterruptAsFailure: false,
  });
  const taken = Math.round((performance.now() - started) / 100) / 10;
  const told = Object.entries({ runs: details.numRuns, ...counts() }).map(
    ([what, count]) => `${count} ${what}`,
  );
  console.info(`fuzz: ${name}: seed ${seed}, ${taken} s, ${told.join(", ")}`);
  if (details.failed) {
    const found =
      details.errorInstance instanceof Error ? details.errorInstance.message : details.errorInstance;
    const example = show(JSON.stringify(details.counterexample));
    throw new Error(
      `$COUNTERSIGN_FUZZ_SEED=${seed} shows it again, at ${details.counterexamplePath}\n${found}\n${example}`,
      { cause: details.errorInstance },
    );
  }
  if (details.numRuns < minimumRuns)
    throw new Error(`only ${details.numRuns} runs in ${taken} s; at least ${minimumRuns} are wanted`);
}

/** Bytes as JavaScript writes them, without what is there for its length alone. */
export function show(bytes: string): string {
  return bytes
    .replaceAll(
      /(.)\1{30,}|((?:a: 1\\?r?\\?n?)){20,}/gs,
      (run, character) => `<${run.length} bytes ${character ?? "a: 1"}>`,
    )
    .slice(0, 3000);
}
