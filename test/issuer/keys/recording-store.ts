import { KeyError } from "../../../src/issuer/keys/key-error.ts";
import type { KeyEvent } from "../../../src/issuer/keys/key-set.ts";
import { type ManagedKeysOptions, openManagedKeys } from "../../../src/issuer/keys/managed-keys.ts";
import type { Ring } from "../../../src/issuer/keys/ring.ts";
import { createMemoryStore, type KeyStore } from "../../../src/issuer/keys/store.ts";
import { NOW, needFor } from "./key-material.ts";

/** A store that can be made to fail, and remembers what was asked of it. */
export interface RecordingStore extends KeyStore {
  /** What goes wrong with each save; `undefined`: nothing. */
  problem: string | undefined;
  /** What goes wrong with each load. */
  loadProblem: string | undefined;
  /** The rings that somebody wanted to save, whether or not it worked. */
  readonly saves: Ring[];
  loads: number;
  /** Called before a ring is saved. */
  beforeSave: (ring: Ring) => void;
}

/** Puts a recorder in front of a store. */
export function recordingStore(store: KeyStore = createMemoryStore()): RecordingStore {
  const recorder: RecordingStore = {
    ...store,
    problem: undefined,
    loadProblem: undefined,
    saves: [],
    loads: 0,
    beforeSave: () => {},
    async load() {
      recorder.loads++;
      if (recorder.loadProblem !== undefined) throw new KeyError(store.name, recorder.loadProblem);
      return store.load();
    },
    async save(ring, version) {
      recorder.saves.push(ring);
      recorder.beforeSave(ring);
      if (recorder.problem !== undefined) throw new KeyError(store.name, recorder.problem);
      return store.save(ring, version);
    },
  };
  return recorder;
}

/** The defaults: 30 days, a day and two hours. */
export const ROTATION = { everySeconds: 30 * 86_400, overlapSeconds: 26 * 3600 } as const;
/** For how long a key is pending with them, in milliseconds. */
export const PENDING = (26 * 3600 + 60) * 1000;
/** For how long a key of tokens of five minutes retires, in milliseconds. */
export const RETIRING = (300 + 300 + 7200) * 1000;

/** Opens a ring with a clock that is set by hand. */
export async function openAt(store: KeyStore, change: Partial<Omit<ManagedKeysOptions, "store">> = {}) {
  const clock = { now: NOW };
  const events: KeyEvent[] = [];
  const keys = await openManagedKeys({
    store,
    rotation: ROTATION,
    needs: [needFor()],
    now: () => clock.now,
    onEvent: (event) => events.push(event),
    ...change,
  });
  return {
    keys,
    clock,
    events,
    /** The kids in the JWK Set now. */
    published: () => keys.current().published.map(({ kid }) => kid),
    /** The kid of the key that signs now. */
    signing: () => keys.current().activeKey("token", "EdDSA")?.key.kid,
    /** Sets the clock, and does what is due. */
    async refreshAt(now: number) {
      clock.now = now;
      await keys.refresh();
    },
    [Symbol.asyncDispose]: () => keys.close(),
  };
}
