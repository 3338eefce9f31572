/**
 * Replicas that share a ring, and verifiers that get the JWK Set from any of them, over simulated time. A replica ticks
 * every half minute of its own, as a real one does; it may be cut off from the store, stopped, and its clock may be off
 * by as much as is allowed, and the clock of the store by any amount.
 */

import type { AdaptableKeys, KeySet } from "../../../src/issuer/keys/key-set.ts";
import { openManagedKeys } from "../../../src/issuer/keys/managed-keys.ts";
import {
  type Fleet,
  type KeyNeed,
  pendingSecondsOf,
  type Rotation,
  TICK_SECONDS,
} from "../../../src/issuer/keys/ring.ts";
import { createMemoryStore, type KeyStore, StoreUnreachable } from "../../../src/issuer/keys/store.ts";
import { createRandom } from "./random.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const START = Date.UTC(2026, 0, 1);
/** Time goes on in steps of this. */
const STEP = 5 * SECOND;
const VERIFIERS = 12;

export const FLEET: Fleet = { clockSkewSeconds: 30, jwksMaxAgeSeconds: 300 };
/** The least that the configuration takes. */
const LEAST: Rotation = { everySeconds: undefined, overlapSeconds: FLEET.jwksMaxAgeSeconds, fleet: FLEET };
export const TIGHTEST: Rotation = { ...LEAST, everySeconds: pendingSecondsOf(LEAST) };
const NEED: KeyNeed = { purpose: "token", algorithm: "EdDSA", longestLifetimeSeconds: 120 };

/** What came of a simulation. */
export interface FleetOutcome {
  /** Tokens that a verifier refused, in words. */
  readonly refused: string[];
  /** The kids that signed. */
  readonly signed: Set<string>;
  readonly verified: number;
  /** How often a replica was asked that withheld its keys. */
  readonly withheld: number;
}

interface Replica {
  keys: AdaptableKeys | undefined;
  readonly offset: number;
  nextTick: number;
  cutUntil: number;
  startsAt: number;
}

interface Verifier {
  kids: ReadonlySet<string>;
  expiresAt: number;
}

interface Token {
  readonly kid: string;
  readonly expiresAt: number;
}

/** What {@link simulateFleet} takes. */
export interface FleetOptions {
  readonly seed: number;
  readonly hours: number;
  readonly rotation?: Rotation;
  /** Changes what a replica is given in place of the store. */
  readonly around?: (store: KeyStore) => KeyStore;
}

/** Runs three replicas for some hours. */
export async function simulateFleet({
  seed,
  hours,
  rotation = TIGHTEST,
  around = (store) => store,
}: FleetOptions): Promise<FleetOutcome> {
  const random = createRandom(seed);
  const store = createMemoryStore();
  const storeAhead = random.integer(-60, 60) * MINUTE;
  const skew = FLEET.clockSkewSeconds * SECOND;
  let time = START;
  const replicas: Replica[] = [0, 1, 2].map(() => ({
    keys: undefined,
    offset: storeAhead + random.integer(-skew, skew),
    nextTick: 0,
    cutUntil: 0,
    startsAt: START,
  }));
  const verifiers: Verifier[] = Array.from({ length: VERIFIERS }, () => ({ kids: new Set(), expiresAt: 0 }));
  let tokens: Token[] = [];
  const outcome = { refused: [] as string[], signed: new Set<string>(), verified: 0, withheld: 0 };

  function storeOf(replica: Replica): KeyStore {
    const reach = <T>(ask: () => Promise<T>) => {
      if (time < replica.cutUntil) throw new StoreUnreachable("store", "cut off");
      return ask();
    };
    return {
      ...store,
      async load() {
        const stored = await reach(() => store.load());
        return { ...stored, clock: { ahead: storeAhead - replica.offset, uncertainty: 0 } };
      },
      save: async (ring, version) => reach(() => store.save(ring, version)),
    };
  }

  async function tick(replica: Replica): Promise<void> {
    if (!replica.keys && time >= replica.startsAt && time >= replica.cutUntil)
      replica.keys = await openManagedKeys({
        store: around(storeOf(replica)),
        rotation,
        needs: [NEED],
        now: () => time + replica.offset,
        onEvent() {},
      });
    else await replica.keys?.refresh();
    replica.nextTick = time + TICK_SECONDS * SECOND;
  }

  /** The keys of a replica at random; `undefined` where it cannot be used. */
  function askAny(): KeySet | undefined {
    const keys = random.pick(replicas).keys?.current();
    if (keys?.withheld !== undefined) outcome.withheld++;
    return keys?.withheld === undefined ? keys : undefined;
  }

  function fetchJwkSet(verifier: Verifier): void {
    const keys = askAny();
    if (!keys) return;
    verifier.kids = new Set(keys.published.map(({ kid }) => kid));
    verifier.expiresAt = time + FLEET.jwksMaxAgeSeconds * SECOND;
  }

  function sign(): void {
    const kid = askAny()?.activeKey("token", "EdDSA")?.key.kid;
    if (kid === undefined) return;
    outcome.signed.add(kid);
    tokens.push({ kid, expiresAt: time + NEED.longestLifetimeSeconds * SECOND });
  }

  function verifyAll(): void {
    tokens = tokens.filter(({ expiresAt }) => time < expiresAt);
    for (const verifier of verifiers) {
      if (time >= verifier.expiresAt) fetchJwkSet(verifier);
      // Who has no set that is good, and gets none, has to wait.
      if (time >= verifier.expiresAt) continue;
      for (const { kid } of tokens)
        if (verifier.kids.has(kid)) outcome.verified++;
        else outcome.refused.push(`${kid} at ${(time - START) / SECOND} s`);
    }
  }

  function disturb(): void {
    const replica = random.pick(replicas);
    if (random.chance(0.5)) replica.cutUntil = time + random.magnitude(10, 1200) * SECOND;
    else if (replicas.filter(({ keys }) => keys).length > 1) {
      void replica.keys?.close();
      replica.keys = undefined;
      replica.startsAt = time + random.magnitude(5, 900) * SECOND;
    }
  }

  for (const end = START + hours * 60 * MINUTE; time < end; time += STEP) {
    for (const replica of replicas) if (time >= replica.nextTick) await tick(replica);
    if (random.chance(0.01)) disturb();
    sign();
    verifyAll();
  }
  for (const { keys } of replicas) await keys?.close();
  return outcome;
}
