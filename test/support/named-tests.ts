import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readDocument } from "./documents.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** What begins a call that names a test, or tests: `test("`, `describe.each(ROWS)("`, or the end of such rows. */
const CALL = String.raw`(?:\b(?:test|describe)(?:\.(?!skip|todo)\w+)?\(|\)\()\s*`;

/** A row of a table: what it is about, and the tests that it names in its last cell. */
export interface TestedRow {
  readonly subject: string;
  readonly tests: readonly string[];
}

/** The rows of the table in a section of a document. */
export function testedRowsOf(document: string, heading: string): TestedRow[] {
  const [, section = ""] = readDocument(document).split(`\n## ${heading}\n`);
  const lines = (section.split("\n## ")[0] ?? "").split("\n").filter((line) => line.startsWith("|"));
  return lines.slice(2).map((line) => {
    const cells = line.slice(1, -1).split(" | ");
    return { subject: cells[0]?.trim() ?? "", tests: (cells.at(-1) ?? "").trim().split("<br>") };
  });
}

/** What is wrong with the name of a test, `file` and title; `undefined` where there is such a test. */
export function testProblemOf(name: string): string | undefined {
  const [, file, title] = /^`(test\/\S+\.test\.ts)` "(.+)"$/.exec(name) ?? [];
  if (file === undefined || title === undefined) return `names no test: ${name}`;
  const path = join(ROOT, file);
  if (!existsSync(path)) return `no such file: ${file}`;
  const isNamed = new RegExp(`${CALL}(["'\`])${escaped(title)}\\1`);
  return isNamed.test(readFileSync(path, "utf8")) ? undefined : `no such test: ${name}`;
}

/** A text as a part of a regular expression. */
function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
