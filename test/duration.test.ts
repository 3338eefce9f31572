import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatDuration, parseDuration } from "../src/duration.ts";

const UNITS = [
  [1, ["s", "sec", "secs", "second", "seconds"]],
  [60, ["m", "min", "mins", "minute", "minutes"]],
  [3600, ["h", "hr", "hrs", "hour", "hours"]],
  [86_400, ["d", "day", "days"]],
  [604_800, ["w", "week", "weeks"]],
  // 365.25 days
  [31_557_600, ["y", "yr", "yrs", "year", "years"]],
] as const;
const SPELLINGS = UNITS.flatMap(([seconds, spellings]) =>
  spellings.map((spelling) => ({ spelling, seconds })),
);

describe("every unit is read in every spelling, with and without a space", () => {
  test.each(SPELLINGS)("1$spelling is $seconds seconds", ({ spelling, seconds }) => {
    expect(parseDuration(`1${spelling}`)).toBe(seconds);
    expect(parseDuration(`1 ${spelling}`)).toBe(seconds);
    expect(parseDuration(`7${spelling}`)).toBe(7 * seconds);
    expect(parseDuration(`7 ${spelling}`)).toBe(7 * seconds);
  });
});

test.each([
  ["5m", 300],
  ["5 minutes", 300],
  ["1 hour", 3600],
  ["2 hours", 7200],
  ["7 days", 604_800],
  ["30 mins", 1800],
  ["10m", 600],
  ["30m", 1800],
  ["1h", 3600],
  ["7d", 604_800],
  ["300s", 300],
  ["5 Minutes", 300],
  ["5M", 300],
  [" 5m ", 300],
])('"%s" is %i seconds', (text, seconds) => {
  expect(parseDuration(text)).toBe(seconds);
});

test.each([
  ["1.5h", 5400],
  ["0.5m", 30],
  ["2.5 days", 216_000],
  ["0.25y", 7_889_400],
  // In floating point 4.35 * 60 is a hair more than 261.
  ["4.35m", 261],
  ["8.2 minutes", 492],
])('the decimal "%s" is %i seconds', (text, seconds) => {
  expect(parseDuration(text)).toBe(seconds);
});

test.each([1, 60, 300, 31_557_600])("the number %i is so many seconds", (seconds) => {
  expect(parseDuration(seconds)).toBe(seconds);
});

test.each([
  ["nothing", ""],
  ["a space", " "],
  ["a number without a unit, which could be milliseconds", "5"],
  ["a unit without a number", "m"],
  ["milliseconds", "5 ms"],
  ["milliseconds", "5000ms"],
  ["milliseconds", "5000 msecs"],
  ["milliseconds", "5000 milliseconds"],
  ["zero", "0s"],
  ["zero", "0"],
  ["zero", 0],
  ["a negative number", -1],
  ["a negative duration", "-5m"],
  ["a sign", "+5m"],
  ["part of a second", 1.5],
  ["part of a second", "0.5s"],
  ["part of a second", "1.0001m"],
  ["an unknown unit", "5 fortnights"],
  ["a unit that stands in an object's prototype", "5 constructor"],
  ["two units", "1h 30m"],
  ["a word", "soon"],
  ["a comma", "1,5h"],
  ["an exponent", "1e3s"],
  ["a number that is none", Number.NaN],
  ["a number without end", Number.POSITIVE_INFINITY],
  ["more seconds than can be counted exactly", 2 ** 53],
  ["more years than can be counted exactly", "999999999 years"],
  ["more than a hundred years", "101y"],
  ["a number that is a bigint", 60n as unknown as number],
  ["a very long text", `${"1".repeat(100_000)}s`],
  ["a very long unit", `1${"s".repeat(100_000)}`],
  ["several lines", "5m\n5m"],
])("%s is refused", (_what, value) => {
  expect(parseDuration(value)).toBeUndefined();
});

test("whatever the text, the answer is whole seconds or nothing", () => {
  const numberAndWord = fc
    .tuple(
      fc.double({ min: 0, noNaN: true }),
      fc.constantFrom(...SPELLINGS.map(({ spelling }) => spelling), "ms", ""),
    )
    .map(([number, unit]) => `${number}${unit}`);
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.double(), numberAndWord), (value) => {
      const seconds = parseDuration(value);
      expect(seconds === undefined || (Number.isSafeInteger(seconds) && seconds >= 1)).toBe(true);
    }),
  );
});

test("a duration that is written out is read as the same one", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_000_000_000 }), (seconds) => {
      expect(parseDuration(formatDuration(seconds))).toBe(seconds);
    }),
  );
  expect([1, 75, 300, 5400, 7200, 2_592_000].map(formatDuration)).toEqual([
    "1s",
    "75s",
    "5m",
    "90m",
    "2h",
    "30d",
  ]);
});
