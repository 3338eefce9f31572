import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { SourceEvent } from "../src/refresh.ts";
import { openWatchedFile, openWatchedFiles } from "../src/watched-files.ts";
import { temporaryFolder } from "./support/command-line.ts";

let folder: ReturnType<typeof temporaryFolder>;
let events: SourceEvent[];
const kinds = () => events.map(({ kind }) => kind);

beforeEach(() => {
  folder = temporaryFolder();
  events = [];
});
afterEach(() => folder[Symbol.dispose]());

/** Two files that fit together where they say the same. */
async function openPair() {
  const files = ["a", "b"].map((name) => `${folder.path}/${name}`);
  for (const file of files) writeFileSync(file, "1");
  const taken: string[] = [];
  const opened = await openWatchedFiles<{ text: string }>({
    files,
    async read(before) {
      const [a, b] = files.map((file) => readFileSync(file, "utf8"));
      if (a !== b) throw new Error(`${a} and ${b} do not fit`);
      return before && before.text === a ? before : { text: String(a) };
    },
    use: ({ text }) => taken.push(text),
    onEvent: (event) => events.push(event),
    messages: { reloaded: "new", recovered: "well again", problem: (reason) => `as before: ${reason}` },
  });
  const write = (name: "a" | "b", text: string) => writeFileSync(`${folder.path}/${name}`, text);
  return { opened, taken, write };
}

test("two files that are written one after the other are taken together, without a word between", async () => {
  const { opened, taken, write } = await openPair();

  write("a", "2");
  // Later than the first look at them.
  await new Promise((resolve) => setTimeout(resolve, 300));
  write("b", "2");
  await expect.poll(() => opened.current().text, { timeout: 10_000 }).toBe("2");
  opened.close();

  expect(taken).toEqual(["1", "2"]);
  expect(events).toEqual([{ kind: "reloaded", message: "new" }]);
});

test("files that do not fit for long leave what they said before in use, and are told of once", async () => {
  const { opened, taken, write } = await openPair();

  write("a", "2");
  await expect.poll(kinds, { timeout: 10_000 }).toEqual(["problem"]);
  expect(events[0]?.message).toBe("as before: 2 and 1 do not fit");
  expect(opened.current().text).toBe("1");

  write("b", "2");
  await expect.poll(kinds, { timeout: 10_000 }).toEqual(["problem", "reloaded", "recovered"]);
  opened.close();
  expect(taken).toEqual(["1", "2"]);
});

test("files that are not watched any more are not taken, nor told of", async () => {
  const { opened, taken, write } = await openPair();
  write("a", "2");
  await new Promise((resolve) => setTimeout(resolve, 300));
  opened.close();
  write("b", "2");
  await new Promise((resolve) => setTimeout(resolve, 1500));

  expect(taken).toEqual(["1"]);
  expect(events).toEqual([]);
});

test("a file that is replaced by another link is read again", async () => {
  const path = `${folder.path}/text`;
  writeFileSync(path, "1");
  const opened = await openWatchedFile({ path, parse: Number, onEvent: (event) => events.push(event) });

  writeFileSync(`${path}.new`, "2");
  renameSync(`${path}.new`, path);
  await expect.poll(() => opened.current(), { timeout: 10_000 }).toBe(2);
  opened.close();

  expect(events).toEqual([{ kind: "reloaded", message: `${path} was read again` }]);
});
