import type { JsonValue } from "../issuer/claims-set.ts";
import type { User } from "./user.ts";

/**
 * The value of a claim of a user, or `undefined`. `sub` is the subject. A name that no claim has as a whole is a way into
 * nested ones: `address.country`, and `roles.0` for the first of a list.
 */
export function claimOf({ sub, claims }: User, name: string): JsonValue | undefined {
  if (name === "sub") return sub;
  if (Object.hasOwn(claims, name)) return claims[name];
  if (!name.includes(".")) return undefined;
  let value: JsonValue | undefined = claims as { [name: string]: JsonValue };
  for (const step of name.split(".")) {
    if (typeof value !== "object" || value === null) return undefined;
    // Of a list its elements, and not its length.
    if (Array.isArray(value) && !/^\d+$/.test(step)) return undefined;
    if (!Object.hasOwn(value, step)) return undefined;
    value = (value as { [name: string]: JsonValue })[step];
  }
  return value;
}
