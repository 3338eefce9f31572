import { expect, test } from "vitest";
import { escapeControls } from "../../src/observability/printable.ts";

test.each([
  ["a line end", "a\nb", "a\\nb"],
  ["an escape sequence", "\x1b[2J", "\\u001b[2J"],
  ["DEL", "\x7f", "\\u007f"],
  ["a control of one byte", "\x9b2J", "\\u009b2J"],
  ["Unicode's line ends", "\u2028\u2029", "\\u2028\\u2029"],
  ["letters", "naïve 文", "naïve 文"],
])("%s from a peer is harmless in the log", (_what, text, escaped) => {
  expect(escapeControls(text)).toBe(escaped);
});
