import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { codeBlocksOf, DOCUMENTS, readDocument } from "../support/documents.ts";

const EXAMPLES = fileURLToPath(new URL("../../examples", import.meta.url));

/** The files that the tests run, of each page that says so. */
const FILES: Readonly<Record<string, readonly string[]>> = {
  "docs/verifying/node.md": ["node-http/server.mjs", "express/server.mjs", "fastify/server.mjs"],
  "docs/verifying/python.md": ["python/server.py"],
  "docs/verifying/nginx.md": ["nginx/nginx.conf", "nginx/verify.js"],
  "docs/verifying/haproxy.md": ["haproxy/haproxy.cfg"],
  "docs/verifying/apache.md": ["apache/apache.conf"],
};

/** Without what two formatters may differ in. */
function withoutLayout(code: string): string {
  return code.replaceAll(/\s+/g, "").replaceAll(/,(?=[)}\]])/g, "");
}

test.each(Object.entries(FILES))(
  "the code in %s is that of the example which the tests run",
  (page, files) => {
    const codes = files.map((file) => withoutLayout(readFileSync(join(EXAMPLES, file), "utf8")));
    for (const { code, language, line } of codeBlocksOf(page)) {
      if (language === "sh") continue;
      // An import may stand further up in the file.
      const [, body = ""] = /^(?:import .*\n+)*([\s\S]*)$/.exec(code) ?? [];
      const isShown = codes.some((file) => file.includes(withoutLayout(body)));
      expect(isShown, `the code in line ${line}`).toBe(true);
    }
  },
);

test("each page about a backend is in the table, names three mistakes, and says where it is not run", () => {
  const index = readDocument("docs/verifying/README.md");
  const pages = DOCUMENTS.filter((page) => /^docs\/verifying\/(?!README)/.test(page));
  expect(pages).toHaveLength(10);
  for (const page of pages) {
    expect(index).toContain(`](${page.replace("docs/verifying/", "")})`);
    const text = readDocument(page);
    expect(text, page).toMatch(/^1\. [\s\S]*^2\. [\s\S]*^3\. /m);
    if (!(page in FILES)) {
      expect(text, page).toContain("The tests of this repository do not");
      expect(text, page).toContain("http://127.0.0.1:8080/__issuer");
      expect(text, page).toContain("https://orders.internal");
    }
  }
});

// What is called yaml is Countersign's own, and another test parses it.
test("the YAML of other programs can be read", () => {
  for (const page of ["docs/verifying/java.md", "docs/verifying/kong.md"])
    for (const { code, language } of codeBlocksOf(page))
      if (language === "yml") expect(parse(code)).toBeTypeOf("object");
});
