import { resolve } from "node:path";
import { z } from "zod";
import type { ApiKey, ApiKeyOptions } from "../../policy/authenticators/options.ts";
import { readDocument } from "../document.ts";
import { problemsOf } from "../issues.ts";
import { ConfigError } from "../problems.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "../section.ts";
import { filePath, flag, nonEmptyString, secret } from "../values.ts";
import { checkSource, commonShape, plainClaims, sourceOf, sourceShape } from "./common.ts";
import { instant, sha256 } from "./values.ts";

const apiKey = section({
  subject: nonEmptyString.describe("Who has the key: the `sub`."),
  sha256: secret(sha256).describe("The SHA-256 of the key, as `countersign api-key create` prints it."),
  claims: plainClaims
    .default({})
    .describe("What else is known: `$user(name)` in templates, and `require.claims`."),
  expires: instant
    .describe(
      "From when on the key is refused: `2027-01-31` (0:00 UTC) or `2027-01-31T12:00:00Z`. Default: never.",
    )
    .optional(),
  disabled: flag.default(false).describe("Refuses the key, and keeps its entry."),
});

const apiKeys = z
  .array(apiKey, { error: expectedCollection("a list of keys") })
  .superRefine((list, context) => {
    const seen = new Set<unknown>();
    list.forEach((entry: Partial<z.output<typeof apiKey>> | null, index) => {
      const digest = entry?.sha256;
      if (typeof digest === "string" && seen.has(digest))
        context.addIssue({
          code: "custom",
          path: [index, "sha256"],
          message: "this key stands here twice; keep one",
        });
      seen.add(digest);
    });
  }, EVEN_WITH_PROBLEMS_INSIDE);

/** `type: apiKey` */
export const apiKeySection = section({
  type: z.literal("apiKey").describe("Callers who send a secret text."),
  ...sourceShape,
  keys: apiKeys.describe("The keys that are known.").optional(),
  keysFile: filePath
    .describe(
      "YAML or JSON with further keys: a map whose key `keys` is such a list. Changes are noticed; a file with a problem is told of, and the keys before stay.",
    )
    .optional(),
  ...commonShape,
}).superRefine((value, context) => {
  checkSource(value, context);
  if (value?.keys === undefined && value?.keysFile === undefined)
    context.addIssue({
      code: "custom",
      message: "expected the keys `keys` or `keysFile`: which keys are known?",
    });
}, EVEN_WITH_PROBLEMS_INSIDE);

/** What the section says. */
export function apiKeyOptionsOf(value: z.output<typeof apiKeySection>, baseDirectory: string): ApiKeyOptions {
  return {
    type: "apiKey",
    source: sourceOf(value),
    keys: (value.keys ?? []).map(apiKeyOf),
    keysFile: value.keysFile === undefined ? undefined : resolve(baseDirectory, value.keysFile),
    forwardCredential: value.forwardCredential,
  };
}

function apiKeyOf({ subject, sha256: digest, claims, expires, disabled }: z.output<typeof apiKey>): ApiKey {
  return { subject, sha256: digest, claims, expiresAt: expires, disabled };
}

const keysFileSection = section({ keys: apiKeys });

/**
 * Reads the text of a keys file.
 *
 * @param file its name, for messages
 * @throws {ConfigError} ERR_CONFIG with every problem in it
 */
export function readApiKeys(text: string, file: string): ApiKey[] {
  // A file of keys is data: what stands in it is never looked up elsewhere.
  const document = readDocument(text, { file, env: {} });
  const checked = keysFileSection.safeParse(document.value ?? {}, { reportInput: true });
  const problems = checked.success ? [] : problemsOf(checked.error.issues, document, file);
  if (!checked.success || document.problems.length > 0)
    throw new ConfigError(document.problems.length > 0 ? document.problems : problems);
  return checked.data.keys.map(apiKeyOf);
}
