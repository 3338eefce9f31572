import { dirname } from "node:path";
import { messageOf } from "../../errors.ts";
import { JobQueue, reportingProblems, type SourceHealth } from "../../refresh.ts";
import { type FileAccess, replaceFile } from "../../whole-file.ts";
import type { IssuerKeys, KeySet } from "../keys/key-set.ts";
import type { Tokens } from "../tokens.ts";
import { type HeldToken, type IdentityFile, requestFor, verifyHeld } from "./identity-file.ts";
import { accessFor, type FoundFile, hasAccess, readTokenFile } from "./token-file.ts";

/** What {@link KeptFile} needs. */
export interface KeptFileOptions {
  /** The issuer's. */
  readonly url: string;
  readonly keys: IssuerKeys;
  readonly tokens: Tokens;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told that the file cannot be kept, and why; and that it can again. */
  readonly onHealth: (health: SourceHealth) => void;
  /** Told of each attempt to write. */
  readonly onWrite: (outcome: "success" | "failure") => void;
}

/** How much of its life a token has behind it when it is replaced. */
const REPLACED_AFTER = 0.8;
/** Somebody may have removed or changed the file; it takes so long at most until that is noticed. */
const LOOK_AGAIN_MILLISECONDS = 30_000;
const FIRST_PAUSE_MILLISECONDS = 1000;
const MAX_PAUSE_MILLISECONDS = 60_000;

/**
 * One file that is kept fresh. It belongs to no process: whoever finds in it what is wanted leaves it alone, so that of
 * several processes with the same configuration one writes.
 */
export class KeptFile {
  readonly file: IdentityFile;
  readonly #options: KeptFileOptions;
  readonly #queue = new JobQueue();
  readonly #attempt: () => Promise<void>;
  #underWay: Promise<void> | undefined;
  #held: HeldToken | undefined;
  #problem: string | undefined;
  /** When, and with which keys, somebody looked. */
  #looked: { readonly at: number; readonly keySet: KeySet } | undefined;
  #failures = 0;

  constructor(file: IdentityFile, options: KeptFileOptions) {
    this.file = file;
    this.#options = options;
    this.#attempt = reportingProblems(
      () => this.#keep(),
      (health) => {
        this.#problem = health.kind === "problem" ? health.message : undefined;
        options.onHealth(health);
      },
    );
  }

  /** Looks at the file where that is due, and writes it where it is not as it should be. It never throws. */
  tend(): Promise<void> {
    // Where the disk hangs, one waits for it and not one for each tick.
    this.#underWay ??= this.#queue
      .run(async () => {
        if (this.#isDue(this.#options.now())) await this.#attempt();
      })
      .finally(() => {
        this.#underWay = undefined;
      });
    return this.#underWay;
  }

  /** When the token in the file ends, in milliseconds since the epoch; `undefined` where it holds none that is good. */
  get expiresAt(): number | undefined {
    return this.#held?.expiresAt;
  }

  /** Why the file cannot be kept. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Resolves when nothing is under way, or after a second. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  #isDue(now: number): boolean {
    if (!this.#looked) return true;
    const passed = now - this.#looked.at;
    // The clock was set back; or what the file holds may be good no more, and nobody should have to wait to be told.
    if (passed < 0 || this.#options.keys.current() !== this.#looked.keySet) return true;
    if (this.#failures > 0) return passed >= pauseAfter(this.#failures);
    return passed >= LOOK_AGAIN_MILLISECONDS || !this.#isFresh(now);
  }

  #isFresh(now: number): boolean {
    const held = this.#held;
    return held !== undefined && now < held.issuedAt + (held.expiresAt - held.issuedAt) * REPLACED_AFTER;
  }

  /** @throws {Error} with the reason why the file does not hold what it should */
  async #keep(): Promise<void> {
    const { file } = this;
    const { keys, tokens, now, onWrite } = this.#options;
    const keySet = keys.current();
    this.#looked = { at: now(), keySet };
    try {
      const found = await this.#find();
      const access = await accessFor(file.group);
      const kid = keySet.activeKey("identity", file.algorithm)?.key.kid;
      if (!(this.#isWanted(found, access) && this.#held?.kid === kid && this.#isFresh(now()))) {
        await replaceFile(file.path, await tokens.tokenFor(requestFor(file)), access);
        if (!this.#isWanted(await this.#find(), access)) throw new Error(NOT_KEPT);
        onWrite("success");
      }
      this.#failures = 0;
    } catch (error) {
      this.#failures++;
      onWrite("failure");
      throw new Error(problemWith(file.path, error));
    }
  }

  /** Looks at what stands in the file. What cannot be read may still be replaced. */
  async #find(): Promise<FoundFile | undefined> {
    const { url, keys, now } = this.#options;
    const found = await readTokenFile(this.file.path).catch(() => undefined);
    const verifying = { url, published: keys.current().published, now: now() };
    this.#held = found && (await verifyHeld(found.text, this.file, verifying).catch(() => undefined));
    return found;
  }

  #isWanted(found: FoundFile | undefined, access: FileAccess): boolean {
    const held = this.#held;
    // One from the future was made before the clock was set back.
    const isMeant = held?.isAsConfigured === true && held.issuedAt <= this.#options.now();
    return isMeant && found !== undefined && hasAccess(found, access);
  }
}

const NOT_KEPT =
  "what was written is not what stands there: somebody else writes this file too, or its file system does not keep owner and permissions";

function problemWith(path: string, error: unknown): string {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return code === "ENOENT" && syscall === "scandir"
    ? `there is no folder ${dirname(path)}; make it, or mount it`
    : messageOf(error);
}

function pauseAfter(failures: number): number {
  return Math.min(FIRST_PAUSE_MILLISECONDS * 2 ** (failures - 1), MAX_PAUSE_MILLISECONDS);
}
