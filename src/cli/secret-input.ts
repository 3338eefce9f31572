import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import type { ReadStream } from "node:tty";
import { UsageError } from "./usage-error.ts";

/** Where a secret is read from, and where a person is asked for it. */
export interface SecretStreams {
  readonly input: NodeJS.ReadableStream & Partial<Pick<ReadStream, "isTTY" | "setRawMode">>;
  readonly output: Pick<NodeJS.WritableStream, "write">;
}

/** What {@link readSecret} asks for. */
export interface SecretRequest {
  /** Such as "password". */
  readonly what: string;
  /** Whether a person has to type it twice. */
  readonly twice?: boolean;
}

const MAX_BYTES = 16 * 1024;

/**
 * Reads a secret from standard input, which shows up in no list of processes and in no shell's history: one line, or at
 * a terminal what is typed without being shown.
 *
 * @throws {UsageError} ERR_USAGE when there is none, or it is not one line of text
 */
export async function readSecret(
  { what, twice = false }: SecretRequest,
  { input, output }: SecretStreams = { input: process.stdin, output: process.stderr },
): Promise<string> {
  const prompts = twice ? [`${what}: `, `${what}, again: `] : [`${what}: `];
  const [secret = "", again = secret] = input.isTTY
    ? await ask(prompts, input, output)
    : [await onlyLineOf(input, what)];
  if (secret === "") throw new UsageError(`the ${what} is empty`);
  if (/\p{Cc}/u.test(secret)) throw new UsageError(`the ${what} holds a control character`);
  if (secret !== again) throw new UsageError("the two are not the same; nothing is done");
  return secret;
}

async function onlyLineOf(input: SecretStreams["input"], what: string): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of input) {
    chunks.push(Buffer.from(chunk));
    length += chunk.length;
    if (length > MAX_BYTES) throw new UsageError(`the ${what} is longer than ${MAX_BYTES} bytes`);
  }
  const bytes = Buffer.concat(chunks);
  const text = bytes.toString("utf8").replace(/\r?\n$/, "");
  if (text.includes("\n")) throw new UsageError(`expected the ${what} alone, on one line`);
  if (!Buffer.from(text).equals(bytes.subarray(0, Buffer.byteLength(text))))
    throw new UsageError(`the ${what} is not in UTF-8`);
  return text;
}

/** Asks at a terminal; an empty answer is the last. What is typed goes to an output that shows nothing. */
function ask(
  prompts: readonly string[],
  input: SecretStreams["input"],
  output: SecretStreams["output"],
): Promise<string[]> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input, output: nowhere, terminal: true, historySize: 0 });
  const answers: string[] = [];
  output.write(prompts[0] ?? "");
  return new Promise((resolve) => {
    terminal.on("line", (line) => {
      // A pasted text may hold more lines than were asked for.
      if (answers.length === prompts.length) return;
      answers.push(line);
      const next = line === "" ? undefined : prompts[answers.length];
      if (next === undefined) terminal.close();
      else output.write(`\n${next}`);
    });
    // While keys are read one by one, the terminal does not make a signal of Ctrl+C.
    terminal.once("SIGINT", () => {
      terminal.close();
      process.kill(process.pid, "SIGINT");
    });
    // Also by Ctrl+D: then an answer is lacking.
    terminal.once("close", () => {
      output.write("\n");
      resolve(answers.length < prompts.length ? [...answers, ""] : answers);
    });
  });
}
