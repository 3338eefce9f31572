import type { Answer } from "../ask.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";

/** Whole seconds, and the way of the answer. */
const UNNOTICED_SECONDS = 5;
/** What verifiers allow, where they allow anything. */
const ALLOWED_SECONDS = 60;

/**
 * Compares the clock of whoever answered with this one. A cache says with Age how long ago that was (RFC 9111 §5.1).
 *
 * @param now milliseconds since the epoch
 */
export function checkClock({ headers }: Answer, now: number): Finding[] {
  const check = "clock";
  const ageSeconds = /^\d+$/.test(headers.age ?? "") ? Number(headers.age) : 0;
  const time = Date.parse(headers.date ?? "") + ageSeconds * 1000;
  if (Number.isNaN(time))
    return [
      warn(
        check,
        "the answer has no Date to compare with",
        "let the Date field through, in what stands in front",
      ),
    ];
  const apart = Math.round((time - now) / 1000);
  const seconds = Math.abs(apart);
  if (seconds <= UNNOTICED_SECONDS) return [ok(check, "the clock of the issuer's host and this one agree")];
  const found = `the clock of the issuer's host is ${seconds} s ${apart > 0 ? "ahead of" : "behind"} this one`;
  const remedy =
    "set both clocks by NTP: with a clock that is ahead tokens are not valid yet, behind they expire early";
  return [seconds <= ALLOWED_SECONDS ? warn(check, found, remedy) : fail(check, found, remedy)];
}
