/**
 * The kinds of value that `sidecar.yaml` is made of, each as a zod schema whose input is what the file says and
 * whose output is what the program uses. A message says what is expected and never repeats the value. The title of a kind
 * is what editors and docs/configuration.md call it.
 * Addresses are in addresses.ts, and what HTTP has names for in http-values.ts.
 */

import { z } from "zod";
import { DURATION_EXPECTED, parseDuration } from "../duration.ts";
import type { JsonValue } from "../issuer/claims-set.ts";
import { nearest } from "./problems.ts";

/** What a reading function answers: the value, or what was expected instead. */
export type Reading<T> = { readonly value: T } | { readonly expected: string };

/** A string that `read` makes into something else. */
export function text<T>(expected: string, read: (value: string) => Reading<T>) {
  return z.string({ error: expected }).transform(reader(read));
}

/** Makes a reading function into what zod's `transform` takes. */
function reader<V, T>(read: (value: V) => Reading<T>) {
  return (value: V, context: z.core.$RefinementCtx<V>): T => {
    const reading = read(value);
    if ("value" in reading) return reading.value;
    context.issues.push({ code: "custom", message: reading.expected, input: value });
    return z.NEVER;
  };
}

/** A string of at least one character. */
export const nonEmptyString = z
  .string({ error: "expected a string" })
  .min(1, "expected a string that is not empty");

/** The path of a file; a relative one starts from the folder of the configuration. */
export const filePath = nonEmptyString.meta({ title: "file" });

/**
 * Marks a value that nobody is shown: a secret, or what could be tried out against a list of likely ones. It is the
 * writeOnly of JSON Schema (Validation §9.4).
 */
export function secret<T extends z.ZodType>(schema: T): T {
  return schema.meta({ writeOnly: true });
}

/** A boolean. */
export const flag = z.boolean({ error: "expected true or false" });

/**
 * One of a few words.
 *
 * @param hint a remark on a word that is none of them
 */
export function word<const T extends readonly string[]>(
  words: T,
  hint?: (value: string) => string | undefined,
) {
  return z.enum(words, {
    error: ({ input }) => {
      const known = `expected one of ${words.join(", ")}`;
      if (typeof input !== "string") return known;
      const remark = hint?.(input);
      if (remark) return `${known}; ${remark}`;
      const meant = nearest(input, words);
      return meant ? `${known}; did you mean ${meant}?` : known;
    },
  });
}

/** `setTimeout` counts milliseconds in 31 bits. */
const MAX_TIMER_SECONDS = Math.floor(0x7fffffff / 1000);

const WHOLE_SECONDS = "expected whole seconds, at least 1";

/** Whether this would be a duration, if parts of seconds could be told. */
function isBelowSeconds(value: number | string): boolean {
  if (typeof value === "number") return value < 1 || !Number.isInteger(value);
  return /^[\d.]+ *(s|sec|second|ms|msec|millisecond)s?$/i.test(value.trim());
}

/** A duration, as whole seconds. */
export const duration = durationUpTo(Number.MAX_SAFE_INTEGER);

/** A duration that a timer can wait for, as whole seconds: at most 24.8 days. */
export const timeout = durationUpTo(MAX_TIMER_SECONDS);

/** A duration, as whole seconds, of at most `maxSeconds`. */
export function durationUpTo(maxSeconds: number) {
  const longest = maxSeconds < 86_400 ? `${maxSeconds} s` : `${Math.floor(maxSeconds / 86_400)} days`;
  const readDuration = (value: number | string): Reading<number> => {
    const seconds = parseDuration(value);
    if (seconds === undefined) return { expected: isBelowSeconds(value) ? WHOLE_SECONDS : DURATION_EXPECTED };
    return seconds > maxSeconds ? { expected: `expected at most ${longest}` } : { value: seconds };
  };
  return z
    .union([z.number(), z.string()], { error: DURATION_EXPECTED })
    .transform(reader(readDuration))
    .meta({ title: "duration" });
}

/** A whole number between two others. */
export function wholeNumber(min: number, max: number) {
  return z
    .int({ error: "expected a whole number" })
    .min(min, `expected at least ${min}`)
    .max(max, `expected at most ${max}`);
}

const MAX_WORKERS = 256;
const WORKERS_EXPECTED = 'expected a number of processes, or "auto" for one a core';

/** How many processes answer requests. */
export const workerCount = z.union([z.literal("auto"), wholeNumber(1, MAX_WORKERS)], {
  error: WORKERS_EXPECTED,
});

/** Reads what {@link workerCount} takes from a text. */
export function parseWorkerCount(value: string): Reading<number | "auto"> {
  const checked = workerCount.safeParse(/^\d+$/.test(value) ? Number(value) : value);
  return checked.success
    ? { value: checked.data }
    : { expected: checked.error.issues[0]?.message ?? WORKERS_EXPECTED };
}

const SIZE_EXPECTED = 'expected a number of bytes, or a size such as "16KiB"';
const BYTES_BY_UNIT = new Map([
  ["b", 1],
  ["kb", 1000],
  ["mb", 1000 ** 2],
  ["gb", 1000 ** 3],
  ["kib", 1024],
  ["mib", 1024 ** 2],
  ["gib", 1024 ** 3],
]);

/** A size, as whole bytes. */
export function size(minBytes: number, maxBytes: number, expected = SIZE_EXPECTED) {
  const readSize = (value: number | string): Reading<number> => {
    const bytes = parseSize(value);
    if (bytes === undefined || !Number.isSafeInteger(bytes) || bytes < 0) return { expected };
    if (bytes < minBytes) return { expected: `expected at least ${minBytes} bytes` };
    return bytes > maxBytes ? { expected: `expected at most ${maxBytes} bytes` } : { value: bytes };
  };
  return z
    .union([z.number(), z.string()], { error: expected })
    .transform(reader(readSize))
    .meta({ title: "size" });
}

function parseSize(value: number | string): number | undefined {
  if (typeof value === "number") return value;
  const [, number, unit = "b"] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]+)?$/.exec(value) ?? [];
  const bytes = BYTES_BY_UNIT.get(unit.toLowerCase());
  return number === undefined || bytes === undefined ? undefined : Number(number) * bytes;
}

/** The name of a policy. */
export const policyName = text('expected a name such as "orders"', (value) =>
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(value)
    ? { value }
    : { expected: "expected a name of at most 64 letters, digits, dots, hyphens and underscores" },
).meta({ title: "name" });

/** The name of an environment variable. */
export const variableName = text("expected the name of an environment variable", (value) =>
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(value)
    ? { value }
    : { expected: "expected the name of an environment variable: letters, digits and underscores" },
).meta({ title: "name of a variable" });

/** Any JSON value. */
export const jsonValue: z.ZodType<JsonValue> = z.json();
