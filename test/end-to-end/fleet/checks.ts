import { decodeJwt, decodeProtectedHeader } from "jose";
import { messageOf } from "../../../src/errors.ts";
import type { Random } from "../../issuer/keys/random.ts";
import { realMilliseconds, type ScaledTime, scaledNow } from "./scaled-time.ts";
import type { Verifier } from "./verifiers.ts";

/** A token that a verifier did not take. */
export interface Refusal {
  readonly line: string;
  readonly kid: string | undefined;
  readonly library: string;
  readonly moment: Moment;
  readonly reason: string;
  /** In seconds of the fleet's clock, since its start. */
  readonly second: number;
}

type Moment = "with the first token of a key" | "as soon as it came" | "before it ended";

/** Has tokens verified. */
export interface Checks {
  /**
   * Has eight of the verifiers look at the first token of each key, and one at each further one. One more looks at it when
   * it is about to expire.
   *
   * @param sentAt when it was asked for: for how long it was on the way is not what is tested
   */
  check(line: string, token: string, sentAt: number): void;
  /** The kids that have signed, of each line. */
  readonly kids: ReadonlyMap<string, ReadonlySet<string>>;
  readonly refusals: readonly Refusal[];
  /** How many verifications there were. */
  count(): number;
  /** Looks at the tokens that have not expired yet, and resolves when every verifier has answered. */
  finish(): Promise<void>;
}

/** Whoever else has an old JWK Set meets the key soon enough. */
const FIRST_VERIFIERS = 8;
/** A token is verified for the last time so many seconds before its `exp`. */
const LAST_MOMENT_SECONDS = 1;

export function createChecks(verifiers: readonly Verifier[], time: ScaledTime, random: Random): Checks {
  const kids = new Map<string, Set<string>>();
  const refusals: Refusal[] = [];
  const underWay = new Set<Promise<void>>();
  const known = new Set<string>();
  const late = new Map<NodeJS.Timeout, () => void>();
  let count = 0;

  function isNew(line: string, kid: string): boolean {
    const known = kids.get(line) ?? new Set();
    const isKnown = known.has(kid);
    kids.set(line, known.add(kid));
    return !isKnown;
  }

  async function verify(verifier: Verifier, token: string, at: number, line: string, moment: Moment) {
    count++;
    try {
      await verifier.verify(token, at);
    } catch (error) {
      refusals.push({
        ...{ line, kid: decodeProtectedHeader(token).kid, library: verifier.library, moment },
        reason: messageOf(error),
        second: Math.round((scaledNow(time) - time.base) / 1000),
      });
    }
  }

  function start(...words: Parameters<typeof verify>): void {
    const verification = verify(...words).finally(() => underWay.delete(verification));
    underWay.add(verification);
  }

  return {
    ...{ kids, refusals, count: () => count },
    check(line, token, sentAt) {
      const { kid = "", alg = "" } = decodeProtectedHeader(token);
      const able = verifiers.filter(({ algorithms }) => algorithms.includes(alg));
      const isFirst = isNew(line, kid);
      const moment = isFirst ? "with the first token of a key" : "as soon as it came";
      for (let asked = 0; asked < (isFirst ? FIRST_VERIFIERS : 1); asked++)
        start(random.pick(able), token, sentAt, line, moment);
      // One that is used again comes again.
      if (known.has(token)) return;
      known.add(token);
      const lastMoment = (Number(decodeJwt(token).exp) - LAST_MOMENT_SECONDS) * 1000;
      const verifyLate = () => start(random.pick(able), token, lastMoment, line, "before it ended");
      const wait = Math.max(0, realMilliseconds((lastMoment - scaledNow(time)) / 1000, time));
      const timer = setTimeout(() => {
        late.delete(timer);
        verifyLate();
      }, wait);
      late.set(timer, verifyLate);
    },
    async finish() {
      for (const [timer, verifyLate] of late) {
        clearTimeout(timer);
        verifyLate();
      }
      while (underWay.size > 0) await Promise.all(underWay);
    },
  };
}
