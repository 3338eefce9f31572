/** Says what a program is doing, for whoever waits; nothing in a file. */
export function say(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
