import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { refuseSecrets } from "./secrets.ts";

/** The real executable, which runs what `npm run build` made. */
export const EXECUTABLE = fileURLToPath(new URL("../../bin/countersign.js", import.meta.url));

interface Surroundings {
  /** The working directory. */
  readonly cwd?: string;
  /** Variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Another copy of the executable. */
  readonly executable?: string;
  /** Sockets that it is started with, as systemd does. */
  readonly passed?: {
    readonly fds: readonly number[];
    /** Variables, which may speak of `$$`: the process id. */
    readonly variables: string;
  };
  /** A command that is given the whole command line, such as `prlimit --fsize=0`. */
  readonly under?: readonly string[];
}

/** How one run of the executable ended. */
export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `countersign` with these arguments to its end. */
export async function runCommand(
  arguments_: readonly string[],
  surroundings: Surroundings = {},
): Promise<CommandResult> {
  const child = spawnExecutable(arguments_, surroundings);
  const output = collect(child);
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...output() };
}

/** A `countersign` that goes on running. */
export interface RunningCommand extends AsyncDisposable {
  /** The sidecar's URL, as it printed it. */
  readonly url: string;
  readonly pid: number;
  output(): { readonly stdout: string; readonly stderr: string };
  /** Sends a signal and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<CommandResult>;
}

/** Starts `countersign` and waits until it listens. Whatever it writes until it ends is looked through for secrets. */
export async function startCommand(
  arguments_: readonly string[],
  surroundings: Surroundings = {},
): Promise<RunningCommand> {
  const child = spawnExecutable(arguments_, surroundings);
  const output = collect(child);
  const ended = once(child, "close") as Promise<[number | null]>;
  // A test that gives up while it starts has nothing to stop it with.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  void ended.then(() => process.off("exit", kill));
  const url = await new Promise<string>((resolve, reject) => {
    child.stderr?.on("data", () => {
      // As text, or as JSON.
      const match = /listening on +(\S+)[\s\S]*signing with|"listen":\["([^"]+)"/.exec(output().stderr);
      const url = match?.[1] ?? match?.[2];
      if (url !== undefined) resolve(url);
    });
    ended.then(() => reject(new Error(`ended before it listened:\n${output().stderr}`)));
  });
  const stop = async (signal: NodeJS.Signals = "SIGTERM") => {
    child.kill(signal);
    const [code] = await ended;
    const { stdout, stderr } = output();
    refuseSecrets("what a sidecar writes", `${stdout}\n${stderr}`);
    return { code, stdout, stderr };
  };
  return {
    url,
    pid: child.pid as number,
    output,
    stop,
    async [Symbol.asyncDispose]() {
      await stop("SIGKILL");
    },
  };
}

/** What runs a sidecar logs text, as on a terminal, where the arguments say nothing else. */
export function withTextLog(arguments_: readonly string[]): readonly string[] {
  const isSaid = arguments_.includes("--log-format");
  return /^(?:serve|demo)$/.test(arguments_[0] ?? "") && !isSaid
    ? [String(arguments_[0]), "--log-format", "pretty", ...arguments_.slice(1)]
    : arguments_;
}

function spawnExecutable(arguments_: readonly string[], surroundings: Surroundings): ChildProcess {
  const { cwd, env, executable = EXECUTABLE, passed, under = [] } = surroundings;
  const options = { cwd, env: { ...process.env, ...env } };
  const all = withTextLog([...arguments_, ...withoutOperators(arguments_, cwd)]);
  const [command = "", ...rest] = [...under, process.execPath, executable, ...all];
  if (!passed) return spawn(command, rest, options);
  // The shell becomes the process, so that it knows its id.
  const script = `${passed.variables} exec "$@"`;
  const stdio = ["ignore" as const, "pipe" as const, "pipe" as const, ...passed.fds];
  return spawn("sh", ["-c", script, "sh", command, ...rest], { ...options, stdio });
}

/** A sidecar has no operators' listener unless its test asks for one: two at the default address would be in each other's way. */
function withoutOperators(arguments_: readonly string[], cwd = "."): readonly string[] {
  const [command = ""] = arguments_;
  if (!["serve", "demo"].includes(command) || arguments_.includes("--admin")) return [];
  const file = arguments_[arguments_.indexOf("-c") + 1];
  const path = resolve(cwd, arguments_.includes("-c") && file ? file : "sidecar.yaml");
  const isAskedFor = existsSync(path) && /^\s*"?admin"?:|"admin":/m.test(readFileSync(path, "utf8"));
  return isAskedFor ? [] : ["--admin", "false"];
}

function collect(child: ChildProcess): () => { stdout: string; stderr: string } {
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (data) => {
    stdout += data;
  });
  child.stderr?.on("data", (data) => {
    stderr += data;
  });
  return () => ({ stdout, stderr });
}

/** A folder that is gone after the test: `using folder = temporaryFolder()`. */
export function temporaryFolder(): { readonly path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "countersign-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
