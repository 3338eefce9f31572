import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { DOCUMENTS, readDocument } from "../support/documents.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A page without its code, in which brackets are no links and `#` no headings. */
function proseOf(document: string): string {
  return readDocument(document).replaceAll(/^```[\s\S]*?^```$/gm, "");
}

/** What a heading is called in a link, as GitHub makes it. */
function anchorsOf(document: string): Set<string> {
  const headings = [...proseOf(document).matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\- _]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

test.each(DOCUMENTS)("%s: every link to another page, and to a heading, leads somewhere", (document) => {
  const prose = proseOf(document).replaceAll(/`[^`\n]*`/g, (code) => code.replaceAll(/[[\]]/g, ""));
  const links = [...prose.matchAll(/\]\((?!https?:)([^)\s]*)\)/g)].map(([, link = ""]) => link);
  const broken = links.filter((link) => {
    const [path = "", anchor] = link.split("#");
    const target = path === "" ? document : join(dirname(document), path);
    if (!existsSync(join(ROOT, target))) return true;
    if (anchor === undefined) return false;
    return statSync(join(ROOT, target)).isDirectory() || !anchorsOf(target).has(anchor);
  });
  expect(broken).toEqual([]);
});
