import { type Ring, type Rotation, reliableSecondsOf } from "./ring.ts";
import type { ClockReading, KeyStore } from "./store.ts";

/** What a replica knows of the ring that it shares with others. Times are in milliseconds since the epoch. */
export interface SharedRingStatus {
  /** When it asked for what it knows now. */
  readonly readAt: number;
  /** From here on it uses no key, unless it reads the ring again. */
  readonly reliableUntil: number;
  /** How far the store's clock is ahead of this machine's, in milliseconds. */
  readonly clockAhead: number;
  /** Why this machine's clock cannot be relied on; `undefined`: it can. */
  readonly clockProblem: string | undefined;
}

/** A ring that was read, to be relied on from the moment when it is used. */
export interface ReadRing {
  readonly ring: Ring;
  /** Says that it is used from now on. */
  rely(): void;
}

/** Whether a ring that others may change can still be relied on, and what time it is for it. */
export interface Reliance {
  /**
   * Reads the ring, and the clock of whoever keeps it.
   *
   * @throws {KeyError} ERR_KEY when it cannot be read or used
   */
  read(): Promise<ReadRing>;
  /** The time by which the ring goes: that of the store's clock, which all replicas share, as far as the two may differ. */
  now(): number;
  /** Whether others may have changed the ring in a way that matters. */
  isLost(): boolean;
  /** `undefined` where nobody else changes the ring. */
  status(): SharedRingStatus | undefined;
}

/**
 * Takes note of when a ring was read the last time. The clock of the machine and one that nobody sets both count: what
 * was read is as old as the older of them says.
 *
 * @param rotation the one in use
 * @param now milliseconds since the epoch
 */
export function createReliance(store: KeyStore, rotation: () => Rotation, now: () => number): Reliance {
  let readAt = now();
  let readAtSteadily = performance.now();
  let rotationAtRead = rotation();
  let clock: ClockReading = { ahead: 0, uncertainty: 0 };

  /** Others may go by what this replica went by when it read; a configuration that came since makes it no longer. */
  function reliableSeconds(): number | undefined {
    const seconds = reliableSecondsOf(rotation());
    return seconds === undefined
      ? undefined
      : Math.min(seconds, reliableSecondsOf(rotationAtRead) ?? seconds);
  }

  const allowedSeconds = () => rotation().fleet?.clockSkewSeconds ?? Number.POSITIVE_INFINITY;

  function clockProblem(): string | undefined {
    const allowed = allowedSeconds();
    const seconds = (Math.abs(clock.ahead) - clock.uncertainty) / 1000;
    if (seconds <= allowed) return undefined;
    const apart = `${Math.round(seconds)} s ${clock.ahead > 0 ? "behind" : "ahead of"}`;
    return `the clock of this machine is ${apart} that of ${store.name}, and clockSkew allows ${allowed} s; set both by NTP`;
  }

  return {
    async read() {
      // What the answer says was so after the question.
      const askedAt = now();
      const askedAtSteadily = performance.now();
      const stored = await store.load();
      clock = stored.clock ?? clock;
      return {
        ring: stored.ring,
        rely() {
          readAt = askedAt;
          readAtSteadily = askedAtSteadily;
          rotationAtRead = rotation();
        },
      };
    },
    now() {
      // No further than is allowed: of two clocks that differ by more it is not known which one is wrong.
      const most = allowedSeconds() * 1000;
      return now() + Math.max(-most, Math.min(clock.ahead, most));
    },
    isLost() {
      const seconds = reliableSeconds();
      if (seconds === undefined) return false;
      return now() - readAt > seconds * 1000 || performance.now() - readAtSteadily > seconds * 1000;
    },
    status() {
      const seconds = reliableSeconds();
      if (seconds === undefined) return undefined;
      return {
        readAt,
        reliableUntil: readAt + seconds * 1000,
        clockAhead: clock.ahead,
        clockProblem: clockProblem(),
      };
    },
  };
}
