import { isIPv6 } from "node:net";
import { LRUCache } from "lru-cache";

/** Keeps clients from trying secrets out. */
export interface Attempts {
  /** For how many seconds nothing more is tried for this client from this address; 0: it may try. */
  waitSeconds(address: string, clientId: string): number;
  /** Counts a secret that was wrong. */
  failed(address: string, clientId: string): void;
}

/** Wrong secrets of one client from one address, until it has to wait. */
const MAX_FAILURES_OF_CLIENT = 10;
/** Wrong secrets from one address, whichever client it says it is. */
const MAX_FAILURES_OF_ADDRESS = 100;
/** They are counted for so long, and whoever has to wait waits for the rest of it. */
const WINDOW_SECONDS = 60;

const MAX_REMEMBERED = 20_000;

interface Failures {
  count: number;
  /** Milliseconds since the epoch. */
  readonly until: number;
}

/**
 * Creates the count of one process. It is kept by address, so that nobody can shut a client out who does not share
 * its address.
 *
 * @param now milliseconds since the epoch
 * @see RFC 6749 §2.3.1, §10.10
 */
export function createAttempts(now: () => number): Attempts {
  // From the first failure on: it takes the room for all of them at once.
  let byKey: LRUCache<string, Failures> | undefined;

  function failuresOf(key: string): Failures | undefined {
    const failures = byKey?.get(key);
    const left = failures ? failures.until - now() : 0;
    // More than is counted for: the clock was set back.
    return left > 0 && left <= WINDOW_SECONDS * 1000 ? failures : undefined;
  }

  function limitsOf(address: string, clientId: string): readonly (readonly [key: string, max: number])[] {
    const network = networkOf(address);
    return [
      [JSON.stringify([network, clientId]), MAX_FAILURES_OF_CLIENT],
      [JSON.stringify([network]), MAX_FAILURES_OF_ADDRESS],
    ];
  }

  return {
    waitSeconds(address, clientId) {
      const ends = limitsOf(address, clientId).map(([key, max]) => {
        const failures = failuresOf(key);
        return failures && failures.count >= max ? failures.until : 0;
      });
      return Math.max(0, Math.ceil((Math.max(...ends) - now()) / 1000));
    },
    failed(address, clientId) {
      byKey ??= new LRUCache({ max: MAX_REMEMBERED });
      for (const [key] of limitsOf(address, clientId)) {
        const failures = failuresOf(key) ?? { count: 0, until: now() + WINDOW_SECONDS * 1000 };
        failures.count++;
        byKey.set(key, failures);
      }
    },
  };
}

/** What one client has at its command: an IPv4 address, or the /64 of an IPv6 address. */
function networkOf(address: string): string {
  const bare = address.replace(/^\[(.*)\]$/, "$1");
  if (!isIPv6(bare)) return address;
  const [head = "", tail] = bare.split("::");
  const front = head.split(":").filter((group) => group !== "");
  const back = (tail ?? "").split(":").filter((group) => group !== "");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - front.length - back.length);
  return [...front, ...Array<string>(zeros).fill("0"), ...back]
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":");
}
