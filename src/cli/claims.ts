import type { Claims, JsonValue } from "../issuer/claims-set.ts";
import { UsageError } from "./usage-error.ts";

/**
 * Reads the values of `--claim`: `name=value` each, where a value that is JSON is taken as such.
 *
 * @param remedies what to use instead, for claims that cannot be set like this
 * @throws {UsageError} ERR_USAGE when one is of another form, or would not be kept as it is
 */
export function claimsOf(pairs: readonly string[], remedies: Readonly<Record<string, string>>): Claims {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [, name, value] = /^([^=]+)=(.*)$/s.exec(pair) ?? [];
      if (name === undefined || value === undefined) throw new UsageError("--claim: expected name=value");
      if (Object.hasOwn(remedies, name))
        throw new UsageError(`--claim: ${name} cannot be set like this; ${remedies[name]}`);
      if (name === "__proto__") throw new UsageError("--claim: __proto__ cannot be the name of a claim");
      return [name, jsonOrText(name, value)];
    }),
  );
}

function jsonOrText(name: string, text: string): JsonValue {
  const refuseInexact = (_key: string, value: unknown) => {
    if (typeof value !== "number" || Math.abs(value) <= Number.MAX_SAFE_INTEGER) return value;
    throw new UsageError(
      `--claim: ${name} holds a number that is too large to be kept exactly; quote it to make it a string: ${name}='"…"'`,
    );
  };
  try {
    return JSON.parse(text, refuseInexact) as JsonValue;
  } catch (error) {
    if (error instanceof UsageError) throw error;
    return text;
  }
}
