import { z } from "zod";
import { nearest } from "./problems.ts";

/** Between the messages of one issue that is about several keys; {@link problemsOf} takes them apart. */
export const MESSAGE_SEPARATOR = "\n";

/**
 * A map with known keys. An unknown one is refused with a suggestion.
 *
 * @param planned keys that the design has and this version has not: refused as "not supported yet", never ignored
 */
export function section<T extends z.core.$ZodLooseShape>(shape: T, planned: readonly string[] = []) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== "unrecognized_keys") return `expected a map with the keys ${known.join(", ")}`;
      return (issue.keys as string[]).map((key) => unknownKey(key, known, planned)).join(MESSAGE_SEPARATOR);
    },
  });
}

function unknownKey(key: string, known: readonly string[], planned: readonly string[]): string {
  if (planned.includes(key)) return `\`${key}\` is not supported yet`;
  const meant = nearest(key, known);
  const name = JSON.stringify(key).slice(1, -1);
  return meant
    ? `unknown key \`${name}\`; did you mean \`${meant}\`?`
    : `unknown key \`${name}\`; the keys here are ${known.join(", ")}`;
}
