import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { statusByCode } from "../../src/errors.ts";
import { readDocument } from "../support/documents.ts";

/** The first cells of the rows that begin with a code. */
function rowsOf(text: string): string[][] {
  return [...text.matchAll(/^\| `(ERR_\w+)` +\| (\d*)/gm)].map(([, code = "", status = ""]) => [
    code,
    status,
  ]);
}

const [ofRequests = "", ofPrograms = ""] = readDocument("docs/errors.md").split("\n## ");

test("docs/errors.md has every code of a request, with its status, in the order of the statuses", () => {
  const rows = rowsOf(ofRequests).map(([code, status]) => [code, Number(status)]);
  expect(Object.fromEntries(rows)).toEqual(statusByCode);
  expect(rows.map(([, status]) => status)).toEqual(Object.values(statusByCode));
});

test("docs/errors.md has every other code", () => {
  const source = readFileSync(new URL("../../src/errors.ts", import.meta.url), "utf8");
  const codes = [...source.matchAll(/^ {2}\| "(ERR_\w+)"$/gm)].map(([, code]) => code);
  expect(rowsOf(ofPrograms).map(([code]) => code)).toEqual(codes);
});
