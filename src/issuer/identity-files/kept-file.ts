import { messageOf } from "../../errors.ts";
import { JobQueue, reportingProblems, type SourceHealth } from "../../refresh.ts";
import { replaceFile } from "../../whole-file.ts";
import type { IssuerKeys, KeySet } from "../keys/key-set.ts";
import type { Tokens } from "../tokens.ts";
import { type HeldToken, type IdentityFile, requestFor, verifyHeld } from "./identity-file.ts";
import { accessFor, hasAccess, readTokenFile } from "./token-file.ts";

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
    // The clock was set back.
    if (passed < 0) return true;
    if (this.#failures > 0) return passed >= pauseAfter(this.#failures);
    const { keys } = this.#options;
    return passed >= LOOK_AGAIN_MILLISECONDS || keys.current() !== this.#looked.keySet || !this.#isFresh(now);
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
      const held = this.#held;
      const kid = keySet.activeKey("identity", file.algorithm)?.key.kid;
      // One from the future was made before the clock was set back.
      const isWanted = held?.isAsConfigured && held.kid === kid && held.issuedAt <= now();
      if (!(isWanted && found && hasAccess(found, access) && this.#isFresh(now()))) {
        const token = await tokens.tokenFor(requestFor(file));
        await replaceFile(file.path, token, access);
        onWrite("success");
        this.#held = await this.#verified(token);
      }
      this.#failures = 0;
    } catch (error) {
      this.#failures++;
      onWrite("failure");
      throw new Error(messageOf(error));
    }
  }

  /** Looks at what stands in the file. What cannot be read may still be replaced. */
  async #find() {
    const found = await readTokenFile(this.file.path).catch(() => undefined);
    this.#held = found && (await this.#verified(found.text));
    return found;
  }

  async #verified(text: string): Promise<HeldToken | undefined> {
    const { url, keys, now } = this.#options;
    const { published } = keys.current();
    return verifyHeld(text, this.file, { url, published, now: now() }).catch(() => undefined);
  }
}

function pauseAfter(failures: number): number {
  return Math.min(FIRST_PAUSE_MILLISECONDS * 2 ** (failures - 1), MAX_PAUSE_MILLISECONDS);
}
