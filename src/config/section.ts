import { z } from "zod";
import { mayBeNamed, nearest } from "./problems.ts";

/** Between the messages of one issue that is about several keys; {@link problemsOf} takes them apart. */
export const MESSAGE_SEPARATOR = "\n";

/** A map with known keys. An unknown one is refused with a suggestion. */
export function section<T extends z.core.$ZodLooseShape>(shape: T) {
  const known = Object.keys(shape);
  const expected = expectedCollection(`a map with the keys ${known.join(", ")}`);
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== "unrecognized_keys") return expected(issue);
      const input = issue.input as Readonly<Record<string, unknown>>;
      return (issue.keys as string[])
        .map((key) => unknownKey(key, input[key], known))
        .join(MESSAGE_SEPARATOR);
    },
  });
}

/**
 * The message for a value that is not the map or list which `description` describes. A key whose lines below it are
 * all commented out is null.
 */
export function expectedCollection(description: string) {
  return ({ input }: { readonly input?: unknown }) =>
    input === null ? `is empty; leave it out, or make it ${description}` : `expected ${description}`;
}

/**
 * Options of a refinement that runs where a part of a map or list has failed too: every problem is reported at
 * once. The refinement may rely on the map or list alone, and on nothing in it.
 */
export const EVEN_WITH_PROBLEMS_INSIDE = {
  when: ({ issues }: z.core.ParsePayload) =>
    !issues.some(({ code, path = [] }) => code === "invalid_type" && path.length === 0),
};

function unknownKey(key: string, value: unknown, known: readonly string[]): string {
  const meant = nearest(key, known);
  const what = mayBeNamed(key, value) ? `unknown key \`${key}\`` : "unknown key";
  return meant ? `${what}; did you mean \`${meant}\`?` : `${what}; the keys here are ${known.join(", ")}`;
}
