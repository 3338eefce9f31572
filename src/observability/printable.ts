/** What JSON leaves as it is and a terminal obeys: DEL, the C1 controls, and what ends a line or turns its direction in Unicode. */
const TERMINAL_CONTROLS = /[\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g;

/** JSON in which no control character is left as it is. */
export function printableJson(value: unknown, indentation?: number): string {
  return escapeTerminalControls(JSON.stringify(value, undefined, indentation));
}

/** JSON that means the same, with what JSON leaves and a terminal obeys escaped. */
export function escapeTerminalControls(json: string): string {
  return json.replaceAll(
    TERMINAL_CONTROLS,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** What a peer sent must not forge a line of the log, nor steer the terminal that shows it. */
export function escapeControls(text: string): string {
  return printableJson(text).slice(1, -1);
}

/** A text for a line of output; quotes in it, such as those of JSON, stay as they are. */
export function printableText(text: string): string {
  return escapeControls(text).replaceAll('\\"', '"');
}
