import { fieldValues } from "../policy/caller-request.ts";
import type { RawFields } from "./fields.ts";

/** What we say of a number that is larger. */
const MOST = 1_000_000;

/**
 * How many more proxies an OPTIONS or TRACE may pass, this one included (RFC 9110 §7.6.2); `undefined` where that is not
 * said, or not in digits, and for the other methods, where it has no meaning.
 */
export function maxForwardsOf(method: string, rawFields: readonly string[]): number | undefined {
  if (method !== "OPTIONS" && method !== "TRACE") return undefined;
  const counts = fieldValues(rawFields, "max-forwards").filter((value) => /^\d+$/.test(value));
  return counts.length === 0 ? undefined : Math.min(MOST, ...counts.map(Number));
}

/** Says in the fields of a request that it has passed one proxy more. */
export function countForward(fields: RawFields, maxForwards: number): void {
  for (let i = 0; i < fields.length; i += 2)
    if (fields[i]?.toLowerCase() === "max-forwards") fields[i + 1] = String(maxForwards - 1);
}
