import { dirname } from "node:path";
import { z } from "zod";
import type { ListenOptions } from "../gateway/listen/listen-options.ts";
import { readDocument } from "./document.ts";
import { problemsOf } from "./issues.ts";
import { adminOf, adminSection } from "./listen-section.ts";
import type { ParseOptions } from "./parse.ts";
import { ConfigError } from "./problems.ts";

/** Of the whole file this one key. */
const section = z.object(
  { admin: adminSection },
  { error: "expected a map with the keys of the configuration" },
);

/**
 * Reads where the operators' listener is, and nothing else: a probe must not fail because of a mistake in another part of
 * the file, which the running sidecar has not taken over, nor for a variable that only the sidecar has.
 *
 * @returns `undefined` where there is none
 * @throws {ConfigError} ERR_CONFIG when the text is no YAML, or `admin` has a problem
 */
export function readAdmin(
  text: string,
  {
    file,
    env = process.env,
    baseDirectory = dirname(file),
  }: Pick<ParseOptions, "file" | "env" | "baseDirectory">,
): ListenOptions | undefined {
  const document = readDocument(text, { file, env });
  if (document.value === undefined) throw new ConfigError(document.problems);
  const references = document.problems.filter(({ key }) => /^admin\b/.test(key));
  const checked = section.safeParse(document.value ?? {}, { reportInput: true });
  if (references.length > 0 || !checked.success)
    throw new ConfigError(
      references.length > 0 ? references : problemsOf(checked.error?.issues ?? [], document, file),
    );
  return adminOf(checked.data.admin, baseDirectory);
}
