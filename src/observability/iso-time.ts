let second = Number.NaN;
let text = "";

/** The time in ISO 8601, such as 2026-11-22T12:00:00.000Z: the date is written out once a second. */
export function isoTime(milliseconds: number): string {
  const part = milliseconds % 1000;
  if (milliseconds - part !== second) {
    second = milliseconds - part;
    text = new Date(second).toISOString().slice(0, -4);
  }
  return `${text}${part < 10 ? "00" : part < 100 ? "0" : ""}${part}Z`;
}
