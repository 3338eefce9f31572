import { hash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Outcome } from "./authenticator.ts";
import type { VerificationKeySet } from "./verification-keys.ts";

/** When a token is valid, as NumericDates. */
export interface TokenTimes {
  readonly exp: number;
  readonly nbf: number | undefined;
}

/** Whether a token is valid at a moment (RFC 7519 §4.1.4 and §4.1.5). */
function holdsAt({ exp, nbf }: TokenTimes, seconds: number, skewSeconds: number): boolean {
  return exp > seconds - skewSeconds && (nbf === undefined || nbf <= seconds + skewSeconds);
}

/** The outcomes of tokens that were verified, so that a token that comes again costs no signature check. */
export interface VerifiedTokens {
  /** What came of a token; `undefined` where it has to be verified, with other keys or because its time is over. */
  find(token: string, keySet: VerificationKeySet | undefined): Outcome | undefined;
  /** Remembers a token. Nothing but one that is good may be remembered. */
  remember(token: string, keySet: VerificationKeySet, times: TokenTimes, outcome: Outcome): void;
}

/** What {@link createVerifiedTokens} needs. */
export interface VerifiedTokensOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly clockSkewSeconds: number;
}

interface VerifiedToken {
  readonly times: TokenTimes;
  readonly outcome: Outcome;
  readonly length: number;
}

const MAX_TOKENS = 10_000;
/** By the length of the tokens; their claims take a few times as much. */
const MAX_TOKEN_BYTES_IN_ALL = 8 * 1024 * 1024;

/** Creates an empty memory for the tokens of one authenticator. */
export function createVerifiedTokens({ now, clockSkewSeconds }: VerifiedTokensOptions): VerifiedTokens {
  // From the first token on: a cache takes the room for all of them at once.
  let tokens: LRUCache<string, VerifiedToken> | undefined;
  let lastKeySet: VerificationKeySet | undefined;

  /** What other keys have verified says nothing: theirs may have been withdrawn. */
  function keepOnlyOf(keySet: VerificationKeySet): void {
    if (keySet === lastKeySet) return;
    tokens?.clear();
    lastKeySet = keySet;
  }

  return {
    find(token, keySet) {
      if (!keySet) return undefined;
      keepOnlyOf(keySet);
      const found = tokens?.get(keyOf(token));
      const seconds = Math.floor(now() / 1000);
      return found && holdsAt(found.times, seconds, clockSkewSeconds) ? found.outcome : undefined;
    },
    remember(token, keySet, times, outcome) {
      keepOnlyOf(keySet);
      tokens ??= createCache();
      tokens.set(keyOf(token), { times, outcome, length: token.length });
    },
  };
}

function createCache(): LRUCache<string, VerifiedToken> {
  return new LRUCache({
    max: MAX_TOKENS,
    maxSize: MAX_TOKEN_BYTES_IN_ALL,
    sizeCalculation: ({ length }) => length,
  });
}

/** Of the whole text, signature and all: another text is another token, whatever it decodes to. */
function keyOf(token: string): string {
  return hash("sha256", token, "base64url");
}
