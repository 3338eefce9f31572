import { availableParallelism } from "node:os";
import { expect, test } from "vitest";
import { inSigningThread } from "../../src/issuer/signing-threads.ts";

/** Of the pool's four threads one stays free. */
const MOST = Math.min(3, availableParallelism());

test("no more jobs run at once than there are processors, and the others follow in order", async () => {
  const begun: number[] = [];
  const jobs = Array.from({ length: 10 }, () => Promise.withResolvers<number>());
  const results = jobs.map(({ promise }, index) =>
    inSigningThread(() => {
      begun.push(index);
      return promise;
    }),
  );
  const first = Array.from({ length: MOST }, (_, index) => index);
  await turnOfTheLoop();
  expect(begun).toEqual(first);

  jobs[0]?.resolve(0);
  await results[0];
  await turnOfTheLoop();
  expect(begun).toEqual([...first, MOST]);

  for (const [index, { resolve }] of jobs.entries()) resolve(index);
  expect(await Promise.all(results)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(begun).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("a job that fails, at once or later, makes room for the next", async () => {
  const failures = Array.from({ length: 10 }, (_, index) =>
    inSigningThread(() => {
      if (index % 2 === 0) throw new Error("at once");
      return Promise.reject(new Error("later"));
    }).catch((error: Error) => error.message),
  );
  expect(new Set(await Promise.all(failures))).toEqual(new Set(["at once", "later"]));
  expect(await inSigningThread(async () => "signed")).toBe("signed");
});

function turnOfTheLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
