/** What a peer sent must not forge a line of the log, nor steer the terminal that shows it. */
export function escapeControls(text: string): string {
  return printableJson(text).slice(1, -1);
}

/** A text for a line of output; quotes in it, such as those of JSON, stay as they are. */
export function printableText(text: string): string {
  return escapeControls(text).replaceAll('\\"', '"');
}

/** JSON in which no control character is left as it is. */
export function printableJson(value: unknown, indentation?: number): string {
  // JSON leaves DEL, the C1 controls, and what ends a line or turns its direction in Unicode as they are.
  return JSON.stringify(value, undefined, indentation).replaceAll(
    /[\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
