import type { Watch } from "../../refresh.ts";
import { KeyError } from "./key-error.ts";
import { EMPTY_RING, type Ring } from "./ring.ts";

/** A ring as it is stored, and which version of it this is. */
export interface StoredRing {
  readonly ring: Ring;
  /** 0 where nothing has been stored yet. Each saved ring has a higher one than the ring before. */
  readonly version: number;
  /** Whether it is to be saved again although nothing in it changes, because it would be stored in another form now. */
  readonly isOutdated?: boolean;
  /** Where the store has a clock of its own: how it differed from this process' when the ring was read. */
  readonly clock?: ClockReading;
}

/** How far a clock is ahead of this process', as far as an answer over the network can tell. In milliseconds. */
export interface ClockReading {
  /** Negative where it is behind. */
  readonly ahead: number;
  /** By how much that may be wrong, either way. */
  readonly uncertainty: number;
}

/** Where a ring is kept. It knows nothing of what the times in it mean. */
export interface KeyStore {
  /** What the store is, for messages: a directory's path, say. */
  readonly name: string;
  /**
   * Reads the ring that is stored now.
   *
   * @throws {KeyError} ERR_KEY when it cannot be read or used, with the remedy
   */
  load(): Promise<StoredRing>;
  /**
   * Puts `ring` in the place of the stored one. It is durable when this resolves.
   *
   * @param version of the ring that `ring` was made from
   * @returns the new version; `undefined` where another process has saved a ring since that version, and nothing was changed
   * @throws {KeyError} ERR_KEY when it cannot be written. Whether it was stored all the same is not known then.
   */
  save(ring: Ring, version: number): Promise<number | undefined>;
  /** Calls `changed` when the stored ring may have changed, as far as the store can tell. */
  watch(changed: () => void): Watch;
  /** Ends its connections, where it has any. */
  close?(): Promise<void>;
}

/** A store that does not answer now and may later: nothing is wrong with what it holds. */
export class StoreUnreachable extends KeyError {}

/** A store in memory: its keys end with the process. */
export function createMemoryStore(): KeyStore {
  let stored: StoredRing = { ring: EMPTY_RING, version: 0 };
  return {
    name: "memory",
    load: async () => stored,
    async save(ring, version) {
      if (version !== stored.version) return undefined;
      stored = { ring, version: version + 1 };
      return stored.version;
    },
    watch: () => ({ close() {} }),
  };
}
