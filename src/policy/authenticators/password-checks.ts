import { createHmac, randomBytes } from "node:crypto";
import { LRUCache } from "lru-cache";
import { createBoundedQueue } from "../../bounded-queue.ts";
import { reasonOf } from "../../errors.ts";
import type { BasicCredentials } from "./basic-credentials.ts";
import type { PasswordHash } from "./password-hash.ts";

/** What a password is compared with. The object itself is what a right password is remembered for. */
export interface PasswordHolder {
  readonly hash: PasswordHash;
}

/** What became of the check of a password. */
export type PasswordCheck =
  | { readonly kind: "right" }
  | { readonly kind: "wrong" }
  /** Too many wait already. */
  | { readonly kind: "busy" }
  | { readonly kind: "failed"; readonly cause: string };

/** Checks passwords. */
export interface PasswordChecks {
  /** Whether these credentials are good for `holder`: at once where they have been found right before. */
  check(credentials: BasicCredentials, holder: PasswordHolder): PasswordCheck | Promise<PasswordCheck>;
}

/** Says whether a password is the one that was hashed. */
export type PasswordVerifier = (hash: PasswordHash, password: string) => Promise<boolean>;

const RIGHT: PasswordCheck = { kind: "right" };
const WRONG: PasswordCheck = { kind: "wrong" };
const BUSY: PasswordCheck = { kind: "busy" };

// A check is made to be slow. Of the four threads of Node.js's pool two are left for files, names and signatures.
const AT_ONCE = 2;
const MAX_WAITING = 100;
const MAX_REMEMBERED = 1000;
const REMEMBERED_MILLISECONDS = 5 * 60 * 1000;

/**
 * Creates what checks passwords: a few at a time, the same credentials once where they come together, and right ones
 * not again for five minutes. Wrong ones are checked every time.
 *
 * @param now milliseconds since the epoch
 */
export function createPasswordChecks(now: () => number, verify: PasswordVerifier): PasswordChecks {
  /** So that what is kept in memory can be compared with nothing outside this process. */
  const secret = randomBytes(32);
  const remembered = new LRUCache<string, { readonly holder: PasswordHolder; readonly at: number }>({
    max: MAX_REMEMBERED,
  });
  const underWay = new Map<
    string,
    { readonly holder: PasswordHolder; readonly result: Promise<PasswordCheck> }
  >();
  const queue = createBoundedQueue({ atOnce: AT_ONCE, waiting: MAX_WAITING });

  async function resultOf(job: Promise<boolean>, id: string, holder: PasswordHolder): Promise<PasswordCheck> {
    try {
      if (!(await job)) return WRONG;
      remembered.set(id, { holder, at: now() });
      return RIGHT;
    } catch (error) {
      return { kind: "failed", cause: reasonOf(error) };
    } finally {
      if (underWay.get(id)?.holder === holder) underWay.delete(id);
    }
  }

  return {
    check(credentials, holder) {
      const id = idOf(credentials, secret);
      const before = remembered.get(id);
      // The clock may have been set back.
      if (before?.holder === holder && Math.abs(now() - before.at) < REMEMBERED_MILLISECONDS) return RIGHT;
      const running = underWay.get(id);
      if (running?.holder === holder) return running.result;
      const job = queue.run(() => verify(holder.hash, credentials.password));
      if (!job) return BUSY;
      const result = resultOf(job, id, holder);
      underWay.set(id, { holder, result });
      return result;
    },
  };
}

function idOf({ username, password }: BasicCredentials, secret: Buffer): string {
  return createHmac("sha256", secret)
    .update(JSON.stringify([username, password]))
    .digest("base64");
}
