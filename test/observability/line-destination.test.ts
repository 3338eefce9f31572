import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { LineDestination } from "../../src/observability/line-destination.ts";
import { temporaryFolder } from "../support/command-line.ts";

/** A destination that writes to a file. */
function openFile() {
  const folder = temporaryFolder();
  onTestFinished(() => folder[Symbol.dispose]());
  const path = join(folder.path, "log");
  const fd = openSync(path, "w");
  onTestFinished(() => closeSync(fd));
  return { destination: new LineDestination(fd), content: () => readFileSync(path, "utf8") };
}

// Each less than a mebibyte, so that nothing has to be dropped.
test.each([
  ["short ones", 600, (index: number) => `line ${index}\n`],
  ["of a thousand letters", 600, (index: number) => `${index}${"x".repeat(1000)}\n`],
  [
    "of letters that take two, three and four bytes",
    600,
    (index: number) => `${"é€😀".repeat(index % 300)}\n`,
  ],
  ["longer than what is written at once", 6, (index: number) => `${"€".repeat((index % 4) * 30_000)}\n`],
])("every line gets into a file, whole and in order: %s", async (_, count, lineOf) => {
  const { destination, content } = openFile();
  const lines = Array.from({ length: count }, (_line, index) => lineOf(index));

  for (const line of lines) destination.write(line);

  await vi.waitFor(() => expect(content()).toBe(lines.join("")));
  destination.write("a last one\n");
  destination.flush();
  expect(content()).toBe(`${lines.join("")}a last one\n`);
  expect(destination.droppedLines).toBe(0);
});

test("what comes while nothing has been written for a mebibyte is dropped, and counted", async () => {
  const { destination, content } = openFile();
  const dropped: number[] = [];
  destination.onDropped = (lines) => dropped.push(lines);
  const line = `${"x".repeat(1023)}\n`;

  for (let lines = 0; lines < 3000; lines++) destination.write(line);

  await vi.waitFor(() => expect(dropped).not.toEqual([]));
  await vi.waitFor(() => expect(content().length / line.length + destination.droppedLines).toBe(3000));
  expect(destination.droppedLines).toBeGreaterThan(1000);
  expect(dropped).toEqual([destination.droppedLines]);
});
