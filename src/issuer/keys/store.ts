import type { Watch } from "../../refresh.ts";
import { EMPTY_RING, type Ring } from "./ring.ts";

/** A ring as it is stored, and which version of it this is. */
export interface StoredRing {
  readonly ring: Ring;
  /** 0 where nothing has been stored yet. Each saved ring has a higher one than the ring before. */
  readonly version: number;
  /** Whether it is to be saved again although nothing in it changes, because it would be stored in another form now. */
  readonly isOutdated?: boolean;
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
}

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
