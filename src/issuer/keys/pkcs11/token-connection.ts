import { createHash } from "node:crypto";
import { createBoundedQueue } from "../../../bounded-queue.ts";
import type { SigningAlgorithm } from "../../algorithms.ts";
import { KeyError } from "../key-error.ts";
import { type LibraryProcess, SESSIONS, startLibraryProcess } from "./library-process.ts";
import { TokenError } from "./token-error.ts";
import type { TokenAccess, TokenAnswer, TokenKey, TokenOrder } from "./token-messages.ts";

/** The way to a token. Where it is lost it is opened again; until then what is asked of it fails. */
export interface TokenConnection {
  /** What the token is called in messages. */
  readonly name: string;
  /**
   * The key pairs with these labels that there are.
   *
   * @throws {TokenError} ERR_KEY when the token does not answer or refuses
   */
  find(labels: readonly string[]): Promise<readonly TokenKey[]>;
  /**
   * The labels of all private keys.
   *
   * @throws {TokenError} ERR_KEY as {@link find}
   */
  list(): Promise<readonly string[]>;
  /**
   * Makes a key pair that never leaves the token.
   *
   * @throws {TokenError} ERR_KEY as {@link find}
   */
  generate(label: string, algorithm: SigningAlgorithm): Promise<void>;
  /**
   * Signs, once more where the way to the token was lost meanwhile.
   *
   * @throws {TokenError} ERR_KEY as {@link find}, also where its turn does not come in time
   */
  sign(key: TokenKey, algorithm: SigningAlgorithm, input: Buffer): Promise<Buffer>;
  close(): Promise<void>;
}

/** What {@link connectToken} needs. */
export interface ConnectionOptions {
  readonly name: string;
  /**
   * Says how the token is opened, each time anew.
   *
   * @throws {KeyError} ERR_KEY when the PIN cannot be read
   */
  readonly access: () => Promise<TokenAccess>;
  /** Told each time that the way was lost. What was asked for meanwhile is asked for again. It must not throw. */
  readonly onLost: (error: TokenError) => void;
}

/** For one signature, with what it waits for. */
const SIGNATURE_MILLISECONDS = 5000;

const FIRST_DELAY_MILLISECONDS = 1000;
const MAX_DELAY_MILLISECONDS = 10_000;
/** What has gone on for so long is worth another try at once, whether it was used or not. */
const STEADY_MILLISECONDS = 30_000;

interface Opened {
  readonly library: LibraryProcess;
  /** {@link performance.now} */
  readonly openedAt: number;
  hasSigned: boolean;
}

/**
 * What tokens have refused, by the digest of library, token and PIN: for as long as this process lives. Whoever tries a
 * wrong PIN again and again locks the token.
 */
const refusedLogins = new Map<string, TokenError>();

function digestOf({ library, place, pin }: TokenAccess): string {
  return createHash("sha256")
    .update(JSON.stringify([library, place, pin]))
    .digest("base64");
}

/** Creates a connection. It is opened when something is asked of it first. */
export function connectToken({ name, access, onLost }: ConnectionOptions): TokenConnection {
  const queue = createBoundedQueue({ atOnce: SESSIONS, waiting: Number.POSITIVE_INFINITY });
  const started = new Set<LibraryProcess>();
  let opening: Promise<Opened> | undefined;
  let failures = 0;
  /** Until then no new process is started: {@link performance.now} */
  let blockedUntil = 0;
  let lastError: KeyError | undefined;
  let isClosed = false;

  async function open(): Promise<Opened> {
    const settings = await access();
    if (isClosed) throw new TokenError(name, "lost", "it is closed");
    const login = digestOf(settings);
    const refusal = refusedLogins.get(login);
    if (refusal) throw refusal;
    const library = startLibraryProcess(name);
    started.add(library);
    void library.ended.then(() => started.delete(library));
    try {
      await library.ask({ kind: "open", access: settings });
    } catch (error) {
      if (error instanceof TokenError && error.kind === "pin") refusedLogins.set(login, error);
      library.kill();
      throw error;
    }
    return { library, openedAt: performance.now(), hasSigned: false };
  }

  function opened(): Promise<Opened> {
    if (opening) return opening;
    if (lastError && performance.now() < blockedUntil) return Promise.reject(lastError);
    const attempt = open();
    opening = attempt;
    attempt.then(
      (one) => void one.library.ended.then((reason) => lose(attempt, { one, reason })),
      () => lose(attempt),
    );
    return attempt;
  }

  /** Forgets a process, and what was once open. */
  function lose(attempt: Promise<Opened>, was?: { readonly one: Opened; readonly reason: TokenError }): void {
    if (opening !== attempt) return;
    opening = undefined;
    if (was && !isClosed) onLost(was.reason);
    const wasGood = was && (was.one.hasSigned || performance.now() - was.one.openedAt >= STEADY_MILLISECONDS);
    failures = wasGood ? 0 : failures + 1;
    const delay = failures === 0 ? 0 : FIRST_DELAY_MILLISECONDS * 2 ** (failures - 1);
    blockedUntil = performance.now() + Math.min(delay, MAX_DELAY_MILLISECONDS);
  }

  async function ask(order: TokenOrder): Promise<TokenAnswer> {
    const attempt = opened();
    const one = await attempt.catch((error: unknown) => {
      if (error instanceof KeyError) lastError = error;
      throw error;
    });
    try {
      const answer = await one.library.ask(order);
      if (order.kind === "sign") {
        one.hasSigned = true;
        failures = 0;
      }
      return answer;
    } catch (error) {
      if (error instanceof TokenError && (error.kind === "lost" || error.kind === "late")) {
        lastError = error;
        lose(attempt, { one, reason: error });
        one.library.kill();
      }
      throw error;
    }
  }

  /** What is lost is asked for once more, of a new process. */
  async function askAgain(order: TokenOrder): Promise<TokenAnswer> {
    try {
      return await ask(order);
    } catch (error) {
      if (!(error instanceof TokenError) || error.kind !== "lost" || isClosed) throw error;
      return ask(order);
    }
  }

  async function inTime(order: TokenOrder): Promise<TokenAnswer> {
    const { promise, reject } = Promise.withResolvers<never>();
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      const problem = `there was no signature within ${SIGNATURE_MILLISECONDS / 1000} seconds`;
      reject(new TokenError(name, "late", problem));
    }, SIGNATURE_MILLISECONDS);
    try {
      const turn = queue.run(async () => {
        // Nobody waits for it any more.
        if (!isLate) return askAgain(order);
        return promise;
      });
      return await Promise.race([promise, turn ?? promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    name,
    async find(labels) {
      return (await askAgain({ kind: "find", labels })).keys ?? [];
    },
    async list() {
      return (await askAgain({ kind: "list" })).labels ?? [];
    },
    async generate(label, algorithm) {
      await ask({ kind: "generate", label, algorithm });
    },
    async sign({ label, fingerprint }, algorithm, input) {
      const { signature } = await inTime({ kind: "sign", label, fingerprint, algorithm, input });
      return Buffer.from(signature ?? []);
    },
    async close() {
      isClosed = true;
      await Promise.all([...started].map((library) => library.close()));
    },
  };
}
