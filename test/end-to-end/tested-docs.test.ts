import { describe, expect, test } from "vitest";
import { testedRowsOf, testProblemOf } from "../support/named-tests.ts";

/** The tables of tests in the documentation. */
const TABLES: readonly (readonly [document: string, heading: string, rows: number])[] = [
  ["docs/security.md", "What always holds", 11],
  ["docs/security.md", "Attacks", 32],
  ["docs/security.md", "Faults", 22],
  ["docs/coming-from-zuplo.md", "The JWT service plugin", 24],
  ["docs/coming-from-zuplo.md", "Identity tokens", 11],
];

describe.each(TABLES)("%s, %s:", (document, heading, count) => {
  const rows = testedRowsOf(document, heading);

  test("every row is there, once", () => {
    expect(new Set(rows.map(({ subject }) => subject)).size).toBe(count);
    expect(rows).toHaveLength(count);
  });

  test.each(rows)("$subject: every test that it names exists", ({ tests }) => {
    expect(tests.map(testProblemOf).filter((problem) => problem !== undefined)).toEqual([]);
    expect(new Set(tests).size).toBe(tests.length);
  });
});

test("a test that was renamed, or whose file is gone, is noticed", () => {
  expect(testProblemOf('`test/end-to-end/tested-docs.test.ts` "every row is there, once"')).toBeUndefined();
  expect(testProblemOf('`test/end-to-end/tested-docs.test.ts` "every row is there"')).toMatch(
    /^no such test/,
  );
  expect(testProblemOf('`test/end-to-end/gone.test.ts` "every row is there, once"')).toMatch(/^no such file/);
  expect(testProblemOf("")).toMatch(/^names no test/);
});
