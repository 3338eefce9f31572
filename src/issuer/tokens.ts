import { LRUCache } from "lru-cache";
import type { SigningAlgorithm } from "./algorithms.ts";
import { claimsSetOf, type TokenRequest } from "./claims-set.ts";
import { KeyError } from "./keys/key-error.ts";
import type { ActiveKey, IssuerKeys, KeySet } from "./keys/key-set.ts";
import type { SigningKey } from "./keys/signing-key.ts";
import { signJws } from "./sign.ts";

/** Makes tokens, or finds one that was made before. */
export interface Tokens {
  /**
   * A token that says what `request` asks for (JWS Compact Serialization, RFC 7515 §3.1): itself where there is nothing
   * to wait for, else a promise.
   *
   * @throws {KeyError} ERR_KEY when there is no key to sign with
   */
  tokenFor(request: TokenRequest): string | Promise<string>;
}

/** Told of what becomes of requests for tokens. It must not throw. */
export interface TokenObserver {
  /** A token was signed. */
  signed(algorithm: SigningAlgorithm, milliseconds: number): void;
  /** A token that was made before, or is being made, will do. */
  reused(): void;
}

/** What {@link createTokens} needs. */
export interface TokensOptions {
  /** The `iss` of every token. */
  readonly url: string;
  readonly keys: IssuerKeys;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Default: nobody. */
  readonly observer?: TokenObserver | undefined;
}

/** A token that was made, and when it can be used again. In milliseconds since the epoch. */
interface MadeToken {
  readonly jwt: string;
  readonly issuedAt: number;
  /** From here on a new one is made beside the requests. */
  readonly renewAt: number;
  /** From here on less than half its life is left. */
  readonly staleAt: number;
  isBeingRenewed: boolean;
}

const NOBODY: TokenObserver = { signed() {}, reused() {} };
const MAX_TOKENS = 10_000;
const MAX_TOKEN_BYTES_IN_ALL = 16 * 1024 * 1024;

/** Creates the maker of an issuer's tokens. */
export function createTokens({ url, keys, now, observer = NOBODY }: TokensOptions): Tokens {
  /** Of each purpose from the first token on: a cache takes the room for all of them at once. */
  let made: { token?: TokenCache; identity?: TokenCache } = {};
  /** Concurrent requests for the same claims wait for one signature. */
  const underWay = new Map<string, Promise<string>>();
  let lastKeySet = keys.current();

  function tokenFor(request: TokenRequest): string | Promise<string> {
    const keySet = keys.current();
    if (keySet !== lastKeySet) {
      lastKeySet = keySet;
      made = {};
    }
    const { key, longestLifetimeSeconds } = activeKeyFor(request, keySet);
    if (request.lifetimeSeconds > longestLifetimeSeconds) return keepKeyAndSign(request);
    if (!request.reuse || request.tokenId || request.expiresBy !== undefined)
      return sign(key, request, seconds(now()));

    const cacheKey = cacheKeyOf(key, request);
    const token = made[request.purpose]?.get(cacheKey);
    const time = now();
    // Before its own time: the clock was set back.
    if (token && time >= token.issuedAt && time < token.staleAt) {
      if (time >= token.renewAt && !token.isBeingRenewed) renewLater(token, key, request, cacheKey);
      observer.reused();
      return token.jwt;
    }
    const awaited = underWay.get(cacheKey);
    if (awaited) observer.reused();
    return awaited ?? signForReuse(key, request, cacheKey, keySet);
  }

  /** A key must outlast its longest token before it signs it. */
  async function keepKeyAndSign(request: TokenRequest): Promise<string> {
    await keys.keepFor(request.purpose, request.algorithm, request.lifetimeSeconds);
    return tokenFor(request);
  }

  function signForReuse(
    key: SigningKey,
    request: TokenRequest,
    cacheKey: string,
    keySet: KeySet,
  ): string | Promise<string> {
    const issuedAt = seconds(now());
    const remember = (jwt: string) => {
      // What a key signed that has been rotated since is not used again.
      if (keys.current() === keySet) {
        const tokens = made[request.purpose] ?? createCache();
        tokens.set(cacheKey, madeToken(jwt, issuedAt, request.lifetimeSeconds));
        made[request.purpose] = tokens;
      }
      return jwt;
    };
    const signed = sign(key, request, issuedAt);
    if (typeof signed === "string") return remember(signed);
    const waiting = signed.then(remember).finally(() => underWay.delete(cacheKey));
    underWay.set(cacheKey, waiting);
    return waiting;
  }

  /** Signs beside the requests: none waits, and where it fails the token that there is goes on until it is stale. */
  function renewLater(token: MadeToken, key: SigningKey, request: TokenRequest, cacheKey: string): void {
    token.isBeingRenewed = true;
    setImmediate(async () => {
      try {
        const keySet = keys.current();
        const isCurrent = keySet.activeKey(request.purpose, request.algorithm)?.key === key;
        if (isCurrent) await signForReuse(key, request, cacheKey, keySet);
      } catch {
        // The request that finds the token stale meets the same, and says so.
      } finally {
        token.isBeingRenewed = false;
      }
    });
  }

  function sign(key: SigningKey, request: TokenRequest, issuedAt: number): string | Promise<string> {
    const beganAt = performance.now();
    const signed = signJws(key, claimsSetOf(request, url, issuedAt), request.type);
    const tell = () => observer.signed(key.algorithm, performance.now() - beganAt);
    if (typeof signed === "string") {
      tell();
      return signed;
    }
    const isPublished = () => keys.current().published.some(({ kid }) => kid === key.kid);
    // A key that was withdrawn while it signed: the token would be refused.
    return signed.then((jwt) => {
      tell();
      return isPublished() ? jwt : tokenFor(request);
    });
  }

  return { tokenFor };
}

/** One for each purpose: a flood of requests for one kind must not push the tokens of the other out. */
type TokenCache = LRUCache<string, MadeToken>;

function createCache(): TokenCache {
  return new LRUCache({
    max: MAX_TOKENS,
    maxSize: MAX_TOKEN_BYTES_IN_ALL,
    sizeCalculation: ({ jwt }, cacheKey) => jwt.length + cacheKey.length,
  });
}

function activeKeyFor({ purpose, algorithm }: TokenRequest, keySet: KeySet): ActiveKey {
  const active = keySet.activeKey(purpose, algorithm);
  if (active) return active;
  throw new KeyError("the issuer", keySet.withheld ?? `there is no key that signs with ${algorithm}`);
}

/**
 * Everything that a token says but its times, its id and the issuer, which is the same for all, and everything that it is
 * made with. A text stands behind its length, so that no two requests have the same key; that takes a fraction of the time of JSON for the whole.
 */
function cacheKeyOf({ kid, algorithm }: SigningKey, request: TokenRequest): string {
  const { lifetimeSeconds, notBefore, subject, audience, additionalClaims, type = "JWT" } = request;
  const said = typeof audience === "string" ? counted(audience) : JSON.stringify(audience);
  const claims = isEmpty(additionalClaims) ? "" : JSON.stringify(additionalClaims);
  return `${counted(kid)}${algorithm} ${type} ${lifetimeSeconds} ${notBefore} ${counted(subject)}${said} ${claims}`;
}

function counted(text: string): string {
  return `${text.length}:${text}`;
}

function isEmpty(claims: object): boolean {
  for (const _ in claims) return false;
  return true;
}

function madeToken(jwt: string, issuedAtSeconds: number, lifetimeSeconds: number): MadeToken {
  const issuedAt = issuedAtSeconds * 1000;
  const usableMilliseconds = lifetimeSeconds * 500;
  return {
    jwt,
    issuedAt,
    renewAt: issuedAt + usableMilliseconds * 0.75,
    staleAt: issuedAt + usableMilliseconds,
    isBeingRenewed: false,
  };
}

function seconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000);
}
