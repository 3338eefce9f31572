import { fork } from "node:child_process";
import { join } from "node:path";
import { PACKAGE_FOLDER } from "../../../package-folder.ts";
import { TokenError } from "./token-error.ts";
import type { NumberedOrder, TokenAnswer, TokenOrder } from "./token-messages.ts";

/** A process of its own with the library of a token in it. */
export interface LibraryProcess {
  /**
   * Asks it for something.
   *
   * @throws {TokenError} ERR_KEY when it cannot do that, or is gone
   */
  ask(order: TokenOrder): Promise<TokenAnswer>;
  /** Why it is gone, when it is. */
  readonly ended: Promise<TokenError>;
  /** Lets it log out. It is killed where it does not end. */
  close(): Promise<void>;
  /** Ends it at once; `reason` is what is told of it. */
  kill(reason?: TokenError): void;
}

/** What answers, compiled: a process begins with a file of its own. */
const PROGRAM = join(PACKAGE_FOLDER, "dist", "issuer", "pkcs11-process.js");

/** As many signatures at once as there are sessions: each takes a thread. */
export const SESSIONS = 8;

/** For one order, from when the process has it. A library that takes longer hangs. */
const ANSWER_MILLISECONDS = 5000;
/** For the login: some tokens take their time. */
const OPEN_MILLISECONDS = 15_000;
/** A smart card may look for primes for a minute. */
const GENERATE_MILLISECONDS = 120_000;
const CLOSE_MILLISECONDS = 1000;

interface Pending {
  readonly resolve: (answer: TokenAnswer) => void;
  readonly reject: (error: TokenError) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * Starts a process for a library. It does not keep this one running.
 *
 * @param token what the token is called in messages
 */
export function startLibraryProcess(token: string): LibraryProcess {
  const child = fork(PROGRAM, [], {
    execArgv: [],
    env: environment(),
    serialization: "advanced",
    // Libraries write what they like.
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  const pending = new Map<number, Pending>();
  const ended = Promise.withResolvers<TokenError>();
  let lastId = 0;
  let end: TokenError | undefined;
  child.unref();
  child.channel?.unref();
  // One that hangs in its library does not notice that nobody is left.
  const endWithThis = () => child.kill("SIGKILL");
  process.once("exit", endWithThis);

  function settle(id: number): Pending | undefined {
    const waiting = pending.get(id);
    if (!waiting) return undefined;
    clearTimeout(waiting.timer);
    pending.delete(id);
    if (pending.size === 0) child.channel?.unref();
    return waiting;
  }

  function over(error: TokenError): void {
    if (end) return;
    end = error;
    process.off("exit", endWithThis);
    for (const id of [...pending.keys()]) settle(id)?.reject(error);
    ended.resolve(error);
  }

  child.on("message", (answer: TokenAnswer) => {
    const waiting = settle(answer.id);
    const { problem } = answer;
    if (problem) waiting?.reject(new TokenError(token, problem.kind, problem.message));
    else waiting?.resolve(answer);
  });
  child.once("exit", (code, signal) =>
    over(
      new TokenError(
        token,
        "lost",
        `the process with its library has ended (${signal ?? `exit code ${code}`})`,
      ),
    ),
  );
  child.once("error", (error) =>
    over(new TokenError(token, "lost", `the process for its library cannot be started: ${error.message}`)),
  );

  function kill(reason = new TokenError(token, "lost", "the process with its library was ended")): void {
    child.kill("SIGKILL");
    over(reason);
  }

  return {
    ended: ended.promise,
    ask(order) {
      if (end) return Promise.reject(end);
      const { promise, resolve, reject } = Promise.withResolvers<TokenAnswer>();
      const id = ++lastId;
      const patience = patienceFor(order);
      // What hangs cannot be called back: nothing but a new process helps.
      const timer = setTimeout(() => {
        const problem = `there was no answer within ${patience / 1000} seconds`;
        settle(id)?.reject(new TokenError(token, "late", problem));
        kill(new TokenError(token, "lost", problem));
      }, patience);
      pending.set(id, { resolve, reject, timer });
      child.channel?.ref();
      const message: NumberedOrder = { id, order };
      child.send(message, (error) => {
        // How it ended is told then.
        if (error) child.kill("SIGKILL");
      });
      return promise;
    },
    async close() {
      if (end) return;
      if (child.connected) child.disconnect();
      const timer = setTimeout(kill, CLOSE_MILLISECONDS);
      await ended.promise;
      clearTimeout(timer);
    },
    kill,
  };
}

function patienceFor({ kind }: TokenOrder): number {
  if (kind === "open") return OPEN_MILLISECONDS;
  return kind === "generate" ? GENERATE_MILLISECONDS : ANSWER_MILLISECONDS;
}

function environment(): NodeJS.ProcessEnv {
  // Options of this process, such as a debugger's port, are not for another one.
  const { NODE_OPTIONS: _, NODE_V8_COVERAGE: __, ...own } = process.env;
  return { ...own, UV_THREADPOOL_SIZE: String(SESSIONS) };
}
