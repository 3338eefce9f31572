import type { z } from "zod";
import type { KeyPath, SourceDocument } from "./document.ts";
import { formatKey, mayBeNamed, type Problem } from "./problems.ts";
import { MESSAGE_SEPARATOR } from "./section.ts";

/**
 * Makes zod's issues into problems with places.
 *
 * @param document `undefined` where what was checked did not come from a text
 */
export function problemsOf(
  issues: readonly z.core.$ZodIssue[],
  document: Pick<SourceDocument, "positionOf" | "positionOfKey"> | undefined,
  file: string,
): Problem[] {
  return issues
    .flatMap((issue) => flatten(issue, []))
    .map(({ path, message, ...issue }) => ({
      file,
      position: issue.isAboutKey ? document?.positionOfKey(path) : document?.positionOf(path),
      key: formatKey(issue.isAboutKey && !issue.mayBeNamed ? path.slice(0, -1) : path),
      message,
    }));
}

type FlatIssue = {
  readonly path: KeyPath;
  readonly message: string;
} & (
  | { readonly isAboutKey: false }
  /** The key itself is meant, not its value. */
  | { readonly isAboutKey: true; readonly mayBeNamed: boolean }
);

function flatten(issue: z.core.$ZodIssue, parent: KeyPath): FlatIssue[] {
  const path = [...parent, ...issue.path];
  if (issue.code === "unrecognized_keys") {
    const messages = issue.message.split(MESSAGE_SEPARATOR);
    const input = (issue.input ?? {}) as Readonly<Record<string, unknown>>;
    return issue.keys.map((key, index) => ({
      path: [...path, key],
      message: messages[index] ?? issue.message,
      isAboutKey: true,
      mayBeNamed: mayBeNamed(key, input[key]),
    }));
  }
  if (issue.code === "invalid_union") {
    // Of the forms that a value may have, the one that was meant is the one whose type it has.
    const meant = issue.errors.find((branch) => branch.every((inner) => !isOfAnotherType(inner)));
    if (meant) return meant.flatMap((inner) => flatten(inner, path));
  }
  const message = isMissing(issue) ? `is missing; ${issue.message}` : issue.message;
  return [{ path, message, isAboutKey: false }];
}

function isOfAnotherType(issue: z.core.$ZodIssue): boolean {
  if (issue.path.length > 0) return false;
  // A form that has forms itself: none of them was meant.
  if (issue.code === "invalid_union") return issue.errors.every((branch) => branch.some(isOfAnotherType));
  return issue.code === "invalid_type" || issue.code === "invalid_value";
}

function isMissing(issue: z.core.$ZodIssue): boolean {
  return "input" in issue && issue.input === undefined && issue.code !== "custom";
}
