import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { readApiKeys } from "../../src/config/authenticators/api-key.ts";
import { authenticatorOptionsOf, authenticatorsSection } from "../../src/config/authenticators/sections.ts";
import { openAuthenticators } from "../../src/policy/authenticators/open.ts";

/** The one authenticator of a page's configuration, and the requests that its curl commands send. */
async function pageOf(document: string) {
  const text = readFileSync(new URL(`../../docs/authenticators/${document}`, import.meta.url), "utf8");
  const blocks = (language: string) =>
    [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map(
      ([, code = ""]) => code,
    );
  const sections = authenticatorsSection.parse(parse(blocks("yaml")[0] ?? "").authenticators);
  const options = Object.entries(sections).map(
    ([name, section]) => [name, authenticatorOptionsOf(section, "/")] as const,
  );
  const opened = await openAuthenticators(Object.fromEntries(options), {
    now: Date.now,
    onEvent: () => {},
    readApiKeys,
  });
  const [authenticator] = opened.values();
  if (!authenticator) throw new Error("the page configures nobody");
  const commands = blocks("console").filter((code) => code.startsWith("$ curl"));
  return {
    answers: await Promise.all(
      commands.map((command) =>
        authenticator.authenticate({
          rawFields: fieldOf(command),
          target: "/orders",
          peer: { address: "127.0.0.1", certificate: () => undefined },
        }),
      ),
    ),
    challenges: text.match(/^www-authenticate: .*$/gm),
    challenge: `www-authenticate: ${authenticator.challenge("wrong")}`,
  };
}

/** The field that a curl command sends. */
function fieldOf(command: string): string[] {
  const [, field] = / -H '([^']+)'/.exec(command) ?? [];
  if (field !== undefined) return field.split(": ");
  const [, user = ""] = / -u '([^']+)'/.exec(command) ?? [];
  return ["Authorization", `Basic ${Buffer.from(user).toString("base64")}`];
}

test.each([
  ["api-key.md", { sub: "acme", claims: { plan: "gold" } }],
  ["basic.md", { sub: "ops", claims: { role: "ops" } }],
])(
  "docs/authenticators/%s: the first curl is let in as it says, the second is not",
  async (document, user) => {
    const { answers, challenges, challenge } = await pageOf(document);
    expect(answers).toEqual([
      { kind: "user", user },
      { kind: "invalid", reason: expect.any(String) },
    ]);
    expect(challenges).toEqual([challenge]);
  },
);
