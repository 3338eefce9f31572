import { Readable } from "node:stream";
import { format } from "node:util";
import { vi } from "vitest";
import { main } from "../../src/cli/main.ts";
import { type CommandResult, withTextLog } from "../support/command-line.ts";

interface Surroundings {
  readonly cwd: string;
  /** Variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Standard input. Default: that of this process. */
  readonly input?: string | Uint8Array;
}

/**
 * Runs one command line in this process: a twentieth of the time that the executable takes. One after another, as the
 * working directory, the variables and the streams are those of the process. What ends the process, or keeps it alive,
 * is for `runCommand`.
 */
export async function runHere(
  arguments_: readonly string[],
  { cwd, env = {}, input }: Surroundings,
): Promise<CommandResult> {
  let stdout = "";
  let stderr = "";
  const streams: { mockRestore(): void }[] = [
    vi.spyOn(console, "log").mockImplementation((...values: unknown[]) => {
      stdout += `${format(...values)}\n`;
    }),
    vi.spyOn(console, "error").mockImplementation((...values: unknown[]) => {
      stderr += `${format(...values)}\n`;
    }),
    // Help and the messages of commander go this way.
    vi.spyOn(process.stdout, "write").mockImplementation((text) => {
      stdout += String(text);
      return true;
    }),
    vi.spyOn(process.stderr, "write").mockImplementation((text) => {
      stderr += String(text);
      return true;
    }),
  ];
  const stdin = Readable.from([Buffer.from(input ?? "")]) as typeof process.stdin;
  if (input !== undefined) streams.push(vi.spyOn(process, "stdin", "get").mockReturnValue(stdin));
  const { exitCode } = process;
  const before = process.cwd();
  const errorListeners = process.stdout.listeners("error");
  const hangupListeners = process.listeners("SIGHUP");
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  process.chdir(cwd);
  process.exitCode = undefined;
  try {
    await main(["node", "countersign", ...withTextLog(arguments_)]);
    return { code: Number(process.exitCode ?? 0), stdout, stderr };
  } finally {
    process.exitCode = exitCode;
    process.chdir(before);
    vi.unstubAllEnvs();
    for (const stream of streams) stream.mockRestore();
    for (const listener of process.stdout.listeners("error"))
      if (!errorListeners.includes(listener)) process.stdout.off("error", listener as () => void);
    for (const listener of process.listeners("SIGHUP"))
      if (!hangupListeners.includes(listener)) process.off("SIGHUP", listener);
  }
}
