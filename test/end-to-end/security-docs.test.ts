import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { readDocument } from "../support/documents.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** What begins a call that names a test, or tests: `test("`, `describe.each(ROWS)("`, or the end of such rows. */
const CALL = String.raw`(?:\b(?:test|describe)(?:\.(?!skip|todo)\w+)?\(|\)\()\s*`;

/** A row of a table: what it is about, and the tests that it names. */
interface Row {
  readonly subject: string;
  readonly tests: readonly string[];
}

/** The rows of the table in a section of docs/security.md. */
function rowsOf(heading: string): Row[] {
  const [, section = ""] = readDocument("docs/security.md").split(`\n## ${heading}\n`);
  const lines = (section.split("\n## ")[0] ?? "").split("\n").filter((line) => line.startsWith("|"));
  return lines.slice(2).map((line) => {
    const cells = line.slice(1, -1).split(" | ");
    return { subject: cells.slice(0, -1)[0]?.trim() ?? "", tests: (cells.at(-1) ?? "").trim().split("<br>") };
  });
}

/** A text as a part of a regular expression. */
function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** What is wrong with the name of a test, `file` and title; `undefined` where there is such a test. */
function problemOf(name: string): string | undefined {
  const [, file, title] = /^`(test\/\S+\.test\.ts)` "(.+)"$/.exec(name) ?? [];
  if (file === undefined || title === undefined) return `names no test: ${name}`;
  const path = join(ROOT, file);
  if (!existsSync(path)) return `no such file: ${file}`;
  const isNamed = new RegExp(`${CALL}(["'\`])${escaped(title)}\\1`);
  return isNamed.test(readFileSync(path, "utf8")) ? undefined : `no such test: ${name}`;
}

const TABLES: readonly (readonly [heading: string, rows: number])[] = [
  ["What always holds", 11],
  ["Attacks", 28],
  ["Faults", 19],
];

describe.each(TABLES)("docs/security.md, %s:", (heading, count) => {
  const rows = rowsOf(heading);

  test("every row is there, once", () => {
    expect(new Set(rows.map(({ subject }) => subject)).size).toBe(count);
    expect(rows).toHaveLength(count);
  });

  test.each(rows)("$subject: every test that it names exists", ({ tests }) => {
    expect(tests.map(problemOf).filter((problem) => problem !== undefined)).toEqual([]);
    expect(new Set(tests).size).toBe(tests.length);
  });
});

test("a test that was renamed, or whose file is gone, is noticed", () => {
  expect(problemOf('`test/end-to-end/security-docs.test.ts` "every row is there, once"')).toBeUndefined();
  expect(problemOf('`test/end-to-end/security-docs.test.ts` "every row is there"')).toMatch(/^no such test/);
  expect(problemOf('`test/end-to-end/gone.test.ts` "every row is there, once"')).toMatch(/^no such file/);
  expect(problemOf("")).toMatch(/^names no test/);
});
