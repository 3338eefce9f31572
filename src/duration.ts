import ms from "ms";

/** A hundred years: later than that no key, token or date has to be thought of. */
const MAX_SECONDS = 36_525 * 86_400;

/** What every message about a duration says is expected. */
export const DURATION_EXPECTED = 'expected a duration such as "5m" or a number of seconds';

// `ms` reads a string without a unit as milliseconds and knows "ms" itself; here a unit is required and a second the least.
const DURATION_PATTERN = /^\d+(?:\.\d+)?\s*(?!ms\b|msecs?\b|milliseconds?\b)[a-z]+$/i;

/**
 * Reads a duration: a number is seconds, a string has a unit (s, sec, second, m, min, minute, h, hr, hour,
 * d, day, w, week, y, yr, year, with plurals and an optional space; a year is 365.25 days).
 *
 * @returns whole seconds, at least 1 and at most a hundred years; `undefined` where the value is no such duration
 */
export function parseDuration(value: string | number): number | undefined {
  const seconds = typeof value === "string" ? secondsOf(value.trim()) : value;
  return Number.isInteger(seconds) && seconds >= 1 && seconds <= MAX_SECONDS ? seconds : undefined;
}

const UNITS = [
  ["d", 86_400],
  ["h", 3600],
  ["m", 60],
] as const;

/** Whole seconds as {@link parseDuration} reads them, in the largest unit that makes a whole number: `5m`. */
export function formatDuration(seconds: number): string {
  const [unit, length] = UNITS.find((one) => seconds % one[1] === 0) ?? ["s", 1];
  return `${seconds / length}${unit}`;
}

function secondsOf(text: string): number {
  if (text.length > 100 || !DURATION_PATTERN.test(text)) return Number.NaN;
  // Whole milliseconds: 4.35 minutes are a hair more than 261 seconds in floating point.
  return Math.round(ms(text as ms.StringValue)) / 1000;
}
