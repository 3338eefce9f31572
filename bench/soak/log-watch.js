import { closeSync, openSync, readSync, truncateSync } from "node:fs";
import { pause } from "./pause.js";

const EVERY_MILLISECONDS = 250;
const PIECE_BYTES = 1 << 20;
/** A log with a line for each request becomes large: as with logrotate's copytruncate, it begins again. */
const MOST_BYTES = 1 << 26;
const ERROR = '"level":"error"';
/** What is said of a configuration that is broken on purpose, and of a backend that breaks off on purpose. */
const EXPECTED = ["cannot be used, and what it said before goes on", '"path":"/bodies/half"'];

/** Reads what a sidecar logs, and counts the errors in it. */
export async function watchLog({ file, tally, signal }) {
  const descriptor = openSync(file, "r");
  const piece = Buffer.alloc(PIECE_BYTES);
  let position = 0;
  while (!signal.aborted) {
    for (;;) {
      const bytes = readSync(descriptor, piece, 0, PIECE_BYTES, position);
      const lines = piece.subarray(0, piece.subarray(0, bytes).lastIndexOf("\n") + 1);
      if (lines.length === 0) break;
      position += lines.length;
      for (const line of errorsIn(lines))
        if (!EXPECTED.some((text) => line.includes(text))) tally.add(kindOf(line), line);
    }
    if (position > MOST_BYTES) {
      truncateSync(file);
      position = 0;
    }
    await pause(EVERY_MILLISECONDS, signal);
  }
  closeSync(descriptor);
}

/** What stands behind this in a line. There are few, and the others need not become text. */
function* errorsIn(bytes) {
  for (let at = bytes.indexOf(ERROR); at !== -1; at = bytes.indexOf(ERROR, at + 1)) {
    yield bytes.toString("utf8", at, bytes.indexOf("\n", at));
  }
}

function kindOf(line) {
  const [, message] = /"msg":"([^"]*)"/.exec(line) ?? [];
  return `log: ${message}`;
}
