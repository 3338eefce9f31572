import { type Finding, fail, ok, warn } from "./finding.ts";

/**
 * When the Node.js project stops mending a line, in UTC.
 *
 * @see https://github.com/nodejs/Release/blob/main/schedule.json
 */
const END_OF_LIFE: ReadonlyMap<number, string> = new Map([
  [24, "2028-04-30"],
  [25, "2026-06-01"],
  [26, "2029-04-30"],
]);

/** When somebody compared the table with its source for the last time. */
const COMPARED_ON = "2026-11-22";

const DAY = 86_400_000;
const MAX_TABLE_AGE_DAYS = 365;
/** Time enough to move to another line. */
const NOTICE_DAYS = 90;

const RELEASES = "https://nodejs.org/en/about/previous-releases";

/**
 * Whether the Node.js that runs this still gets security fixes.
 *
 * @param version such as `v26.1.0`
 * @param now milliseconds since the epoch
 */
export function checkRuntime(version: string, now: number): Finding[] {
  const check = "runtime";
  const major = Number(/^v(\d+)\./.exec(version)?.[1]);
  const end = END_OF_LIFE.get(major);
  const tableAgeDays = (now - Date.parse(COMPARED_ON)) / DAY;
  if (end !== undefined) {
    const leftDays = (Date.parse(end) - now) / DAY;
    const newest = Math.max(...END_OF_LIFE.keys());
    const remedy = `move to a line that is supported, such as ${newest}: ${RELEASES}`;
    if (leftDays < 0) return [fail(check, `Node.js ${version} gets no security fixes since ${end}`, remedy)];
    if (leftDays < NOTICE_DAYS)
      return [warn(check, `Node.js ${version} gets security fixes until ${end}`, remedy)];
  }
  // What the table says of a line may have been changed, and a line that it lacks may be a newer one.
  if (tableAgeDays > MAX_TABLE_AGE_DAYS)
    return [
      warn(
        check,
        `Node.js ${version}; until when it is supported was looked up on ${COMPARED_ON}, which is long ago`,
        `update Countersign, or look it up: ${RELEASES}`,
      ),
    ];
  if (end !== undefined) return [ok(check, `Node.js ${version} gets security fixes until ${end}`)];
  return [
    warn(check, `until when Node.js ${version} is supported is not known here`, `look it up: ${RELEASES}`),
  ];
}
