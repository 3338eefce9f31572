import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Every page of the documentation, by its path from the root. */
export const DOCUMENTS: readonly string[] = [
  ...readdirSync(ROOT).filter((file) => file.endsWith(".md")),
  ...readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((file) => join("docs", file)),
  "examples/README.md",
].sort();

/** A block of code in a page. */
export interface CodeBlock {
  readonly language: string;
  readonly code: string;
  /** Of its first line. */
  readonly line: number;
}

/** @param document its path from the root */
export function readDocument(document: string): string {
  return readFileSync(join(ROOT, document), "utf8");
}

/** The blocks of code of a page, in order. */
export function codeBlocksOf(document: string): CodeBlock[] {
  const text = readDocument(document);
  return [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(
    ({ 1: language = "", 2: code = "", index }) => ({
      language,
      code,
      line: text.slice(0, index).split("\n").length + 1,
    }),
  );
}

/** The texts of the blocks of a language. */
export function blocksOf(document: string, language: string): string[] {
  const blocks = codeBlocksOf(document).filter((block) => block.language === language);
  if (blocks.length === 0) throw new Error(`${document} has no block of ${language}`);
  return blocks.map(({ code }) => code);
}
