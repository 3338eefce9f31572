import { setTimeout as sleep } from "node:timers/promises";
import { JobQueue, refreshOften, reportingProblems } from "../../refresh.ts";
import type { SigningAlgorithm } from "../algorithms.ts";
import { KeyError } from "./key-error.ts";
import { type AdaptableKeys, type KeyEvent, type KeySet, withheldKeys } from "./key-set.ts";
import { generatePrivateKey } from "./private-key.ts";
import { createReliance } from "./reliance.ts";
import {
  EMPTY_RING,
  isRotationDue,
  type KeyNeed,
  type Ring,
  type Rotation,
  signingKeyOf,
  TICK_SECONDS,
  unannouncedKeysOf,
  withFirstKey,
  withLateEnds,
  withLifetimes,
  withoutGone,
  withPublishedKeysTimed,
  withSuccessor,
} from "./ring.ts";
import { eventOf, statesOf, statusOf, viewOf } from "./ring-view.ts";
import { createSigningKey, type LocalSigningKey } from "./signing-key.ts";
import { type KeyStore, type StoredRing, StoreUnreachable } from "./store.ts";

/** What {@link openManagedKeys} needs. */
export interface ManagedKeysOptions {
  readonly store: KeyStore;
  readonly rotation: Rotation;
  /** The keys that must be there, in the order in which they are published. */
  readonly needs: readonly KeyNeed[];
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly onEvent: (event: KeyEvent) => void;
  /** Ends the wait for a store that cannot be reached. */
  readonly signal?: AbortSignal | undefined;
  /** Whether such a store is waited for, and not refused. Default: true */
  readonly waits?: boolean | undefined;
}

/**
 * Opens a ring, makes the keys that it lacks, and keeps it going: a tick reads the ring again, times what is published,
 * makes successors that are due, and forgets what is gone. What signs at a moment follows from the clock alone, whether
 * the store answers or not; a ring that others may change is relied on for a time. Waits for a store that cannot be
 * reached.
 *
 * @throws {KeyError} ERR_KEY when the ring cannot be used, lacks a key and cannot be written, or cannot be reached and is not
 *   waited for
 * @throws {DOMException} AbortError when the wait is ended
 */
export async function openManagedKeys(options: ManagedKeysOptions): Promise<AdaptableKeys> {
  const { onEvent } = options;
  let { rotation, needs } = options;
  const store = neverBackwards(options.store);
  const reliance = createReliance(store, () => rotation, options.now);
  const { now } = reliance;
  const read = await whenReachable(() => reliance.read(), options);
  // It reads once more, and so is at least as new.
  let ring = await whenReachable(() => prepare(needs), options);
  read.rely();
  let view = viewOf(ring, needs, now());
  let states = statesOf(ring, now());

  /** Makes the keys that are lacking, and tells of those that no verifier can know yet. */
  async function prepare(wanted: readonly KeyNeed[]): Promise<Ring> {
    let before = EMPTY_RING;
    const saved = await changeRing(store, (stored) => {
      before = stored;
      return prepared(stored, wanted, now());
    });
    for (const { key } of unannouncedKeysOf(before, saved.ring))
      onEvent({
        kind: "warning",
        message: `${key.algorithm} key ${key.kid} is the first of its kind and signs at once: verifiers that hold a JWK Set without it may refuse its tokens until they fetch the next one. To have it known before: countersign keys generate --algorithm`,
      });
    return saved.ring;
  }

  function adopt(next: Ring): void {
    if (next === ring) return;
    ring = next;
    view = viewOf(ring, needs, now());
  }

  function current(): KeySet {
    if (reliance.isLost()) return WITHHELD;
    const time = now();
    if (time >= view.until || time < view.from) view = viewOf(ring, needs, time);
    return view.keys;
  }

  /** Persist, publish, wait, sign: in that order. A new key gets its time only after it has been published. */
  async function tick(): Promise<void> {
    // What another process has put into the ring is published from here on.
    const read = await reliance.read();
    const loaded = withLateEnds(read.ring, ring, now());
    // Unless a key that is needed was taken out of it: the keys before go on until there is another one.
    if (needs.every((need) => signingKeyOf(loaded, need, now()))) {
      adopt(loaded);
      read.rely();
    }
    // Whose clock is wrong takes no key out that others need, and gives none a time.
    if (reliance.status()?.clockProblem !== undefined) return;
    const saved = await changeRing(store, (stored) =>
      advanced(withLateEnds(stored, ring, now()), needs, rotation, now()),
    );
    adopt(saved.ring);
    const isPublished = (kid: string) => ring.keys.some(({ key }) => key.kid === kid);
    const timed = await changeRing(store, (stored) =>
      stored.keys.every(({ key }) => isPublished(key.kid))
        ? withPublishedKeysTimed(stored, rotation, now())
        : stored,
    );
    adopt(timed.ring);
  }

  function announce(): void {
    const before = states;
    states = statesOf(ring, now());
    for (const [kid, { entry, state }] of states)
      if (before.get(kid)?.state !== state) onEvent(eventOf(entry, state, now()));
    for (const [kid, { entry }] of before) if (!states.has(kid)) onEvent(eventOf(entry, "gone", now()));
  }

  // A tick that hangs on its disk is not overtaken by the next.
  const queue = new JobQueue();
  const tickReporting = reportingProblems(() => queue.run(tick), onEvent);

  async function refresh(): Promise<void> {
    await tickReporting();
    announce();
  }

  const refreshing = refreshOften(refresh, TICK_SECONDS, (changed) => store.watch(changed));
  return {
    current,
    refresh,
    async keepFor(purpose, algorithm, longestLifetimeSeconds) {
      const need = { purpose, algorithm, longestLifetimeSeconds };
      await queue.run(async () => {
        const saved = await changeRing(store, (stored) => withLifetimes(stored, [need], now()));
        adopt(saved.ring);
      });
    },
    async adapt(next) {
      await queue.run(async () => {
        // A store that is away is in the way of what needs it alone.
        if (!isPrepared(ring, next.needs, now())) ring = await prepare(next.needs);
        ({ needs, rotation } = next);
        view = viewOf(ring, needs, now());
      });
      announce();
    },
    canSign: () => true,
    status: () => ring.keys.map((entry) => statusOf(entry, { ring, needs, rotation, now: now() })),
    sharing: reliance.status,
    async close() {
      refreshing.close();
      await queue.idle();
      await store.close?.();
    },
  };
}

const WITHHELD = withheldKeys(
  "the key ring could not be read for so long that other replicas may sign with keys which this one does not know",
);

const RETRY_MILLISECONDS = 1000;

/** Does `work` as soon as the store answers. Why it waits is an event. */
async function whenReachable<T>(
  work: () => Promise<T>,
  { onEvent, signal, waits = true }: Pick<ManagedKeysOptions, "onEvent" | "signal" | "waits">,
): Promise<T> {
  let problem: string | undefined;
  for (;;) {
    try {
      const done = await work();
      if (problem !== undefined) onEvent({ kind: "recovered" });
      return done;
    } catch (error) {
      if (!waits || !(error instanceof StoreUnreachable)) throw error;
      if (error.message !== problem) onEvent({ kind: "waiting", message: error.message });
      problem = error.message;
    }
    await sleep(RETRY_MILLISECONDS, undefined, { signal });
  }
}

/** A store that refuses a ring older than one it has had: keys that sign now would not be in it. */
function neverBackwards(store: KeyStore): KeyStore {
  let newest = 0;
  return {
    ...store,
    async load() {
      const stored = await store.load();
      if (stored.version < newest)
        throw new KeyError(
          store.name,
          `the key ring is ${stored.version === 0 ? "gone" : "an older one"}; the keys in memory go on. Put it back, or restart to use what is there`,
        );
      newest = stored.version;
      return stored;
    },
    async save(ring, version) {
      const saved = await store.save(ring, version);
      newest = Math.max(newest, saved ?? 0);
      return saved;
    },
  };
}

/** Each conflict means that another process has succeeded. */
const MAX_CONFLICTS = 100;

/**
 * Changes a stored ring: loads it, applies `change`, and saves the result, again from the start where another process
 * was faster.
 *
 * @param change the same ring where there is nothing to do
 * @throws {KeyError} ERR_KEY when the ring cannot be read or written
 */
export async function changeRing(
  store: KeyStore,
  change: (ring: Ring) => Ring | Promise<Ring>,
): Promise<StoredRing> {
  for (let conflicts = 0; conflicts < MAX_CONFLICTS; conflicts++) {
    const stored = await store.load();
    const ring = await change(stored.ring);
    if (ring === stored.ring && !stored.isOutdated) return stored;
    const version = await store.save(ring, stored.version);
    if (version !== undefined) return { ring, version };
  }
  throw new KeyError(store.name, "other processes change the key ring all the time; find out which");
}

/** The ring with every key that is needed at once, each kept for as long as its longest token lives. */
export async function prepared(ring: Ring, needs: readonly KeyNeed[], now: number): Promise<Ring> {
  let next = withLifetimes(ring, needs, now);
  for (const need of needs)
    if (!signingKeyOf(next, need, now)) next = withFirstKey(next, need, await newKey(need.algorithm), now);
  return next;
}

/** Whether {@link prepared} would change nothing. */
function isPrepared(ring: Ring, needs: readonly KeyNeed[], now: number): boolean {
  return withLifetimes(ring, needs, now) === ring && needs.every((need) => signingKeyOf(ring, need, now));
}

/** The ring with what is due at `now`: keys that are lacking, successors, and without the keys that are gone. */
async function advanced(
  ring: Ring,
  needs: readonly KeyNeed[],
  rotation: Rotation,
  now: number,
): Promise<Ring> {
  let next = withoutGone(await prepared(ring, needs, now), now);
  for (const need of needs)
    if (isRotationDue(next, need, rotation, now))
      next = withSuccessor(next, need, await newKey(need.algorithm), now);
  return next;
}

/** Makes a key to sign with `algorithm`. */
export async function newKey(algorithm: SigningAlgorithm): Promise<LocalSigningKey> {
  return createSigningKey(await generatePrivateKey(algorithm), algorithm, "the new key");
}
