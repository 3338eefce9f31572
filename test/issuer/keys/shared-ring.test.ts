import { afterEach, describe, expect, test, vi } from "vitest";
import { KeyError } from "../../../src/issuer/keys/key-error.ts";
import { changeRing, openManagedKeys } from "../../../src/issuer/keys/managed-keys.ts";
import { pendingSecondsOf, type Rotation, reliableSecondsOf } from "../../../src/issuer/keys/ring.ts";
import type { ClockReading } from "../../../src/issuer/keys/store.ts";
import { createMemoryStore, type KeyStore, StoreUnreachable } from "../../../src/issuer/keys/store.ts";
import { HOUR, MINUTE, NOW, needFor } from "./key-material.ts";
import { openAt, recordingStore } from "./recording-store.ts";

const SECOND = 1000;
const FLEET = { clockSkewSeconds: 30, jwksMaxAgeSeconds: 300 };
const ROTATION: Rotation = { everySeconds: 86_400, overlapSeconds: 3600, fleet: FLEET };
/** An hour, but the time for which a verifier keeps the JWK Set; and the two ticks in which everybody reads. */
const RELIABLE = (3600 - 300 + 60) * SECOND;

/** A memory store with a clock of its own. */
function storeWithClock(clock: () => ClockReading): KeyStore {
  const store = createMemoryStore();
  return { ...store, load: async () => ({ ...(await store.load()), clock: clock() }) };
}

afterEach(() => vi.restoreAllMocks());

test("a key waits for the overlap, for two ticks, and for two clocks", () => {
  expect(pendingSecondsOf(ROTATION)).toBe(3600 + 60 + 2 * 30);
  expect(pendingSecondsOf({ ...ROTATION, fleet: undefined })).toBe(3600 + 60);
});

test("a ring that nobody else changes is relied on for ever", () => {
  expect(reliableSecondsOf({ ...ROTATION, fleet: undefined })).toBeUndefined();
});

describe("a ring that others may have changed", () => {
  test("is relied on for as long as no verifier can have got a JWK Set without a key that signs; then there are no keys", async () => {
    const store = recordingStore();
    await using ring = await openAt(store, { rotation: ROTATION });
    const signing = ring.signing();
    store.loadProblem = "out of reach";
    await ring.refreshAt(NOW + RELIABLE);
    expect(ring.signing()).toBe(signing);
    expect(ring.published()).toEqual([signing]);
    expect(ring.keys.sharing()).toMatchObject({ readAt: NOW, reliableUntil: NOW + RELIABLE });

    await ring.refreshAt(NOW + RELIABLE + 1);
    expect(ring.signing()).toBeUndefined();
    expect(ring.published()).toEqual([]);
    expect(ring.keys.current().withheld).toContain("the key ring could not be read for so long");

    store.loadProblem = undefined;
    await ring.refreshAt(NOW + RELIABLE + 2);
    expect(ring.signing()).toBe(signing);
    expect(ring.keys.current().withheld).toBeUndefined();
  });

  test("is the same set again each time that it is withheld", async () => {
    await using ring = await openAt(createMemoryStore(), { rotation: ROTATION });
    ring.clock.now += RELIABLE + 1;
    expect(ring.keys.current()).toBe(ring.keys.current());
  });

  test("is as old as the clock says that was not set back", async () => {
    const steady = vi.spyOn(performance, "now").mockReturnValue(0);
    await using ring = await openAt(createMemoryStore(), { rotation: ROTATION });
    ring.clock.now -= HOUR;
    steady.mockReturnValue(RELIABLE);
    expect(ring.keys.current().withheld).toBeUndefined();
    steady.mockReturnValue(RELIABLE + 1);
    expect(ring.keys.current().withheld).toBeDefined();
  });

  test("is as new as it was read the last time, by that clock too, from the question on", async () => {
    let steadily = 0;
    vi.spyOn(performance, "now").mockImplementation(() => steadily);
    const store = recordingStore();
    await using ring = await openAt(store, { rotation: ROTATION });
    const { load } = store;
    store.load = async () => {
      const stored = await load();
      steadily += MINUTE;
      return stored;
    };
    steadily = RELIABLE;
    await ring.refreshAt(NOW);
    steadily = 2 * RELIABLE;
    expect(ring.keys.current().withheld).toBeUndefined();
    steadily += 1;
    expect(ring.keys.current().withheld).toBeDefined();
  });

  test("counts from the question, not from the answer", async () => {
    const store = recordingStore();
    await using ring = await openAt(store, { rotation: ROTATION });
    const { load } = store;
    store.load = async () => {
      const stored = await load();
      ring.clock.now += MINUTE;
      return stored;
    };
    await ring.refreshAt(NOW + HOUR);
    expect(ring.keys.sharing()?.readAt).toBe(NOW + HOUR);
  });

  test("is not made newer by reading it without using it", async () => {
    const store = recordingStore();
    await using ring = await openAt(store, { rotation: ROTATION });
    // The signing key was taken out, and no other one can be stored.
    store.load = async () => ({ ring: { keys: [], withdrawn: [] }, version: 2 });
    store.problem = "read-only";
    await ring.refreshAt(NOW + MINUTE);
    expect(ring.keys.sharing()?.readAt).toBe(NOW);
    expect(ring.signing()).toBeDefined();
  });
});

test("another configuration is in use at once where the store is away, unless it needs a key that is not there", async () => {
  const store = recordingStore();
  await using ring = await openAt(store, { rotation: ROTATION });
  store.loadProblem = "out of reach";
  const rotation = { ...ROTATION, everySeconds: 2 * 86_400 };
  await ring.keys.adapt({ needs: [needFor()], rotation });
  await expect(ring.keys.adapt({ needs: [needFor("ES256")], rotation })).rejects.toThrow("out of reach");
  await expect(
    ring.keys.adapt({ needs: [needFor("EdDSA", { longestLifetimeSeconds: 86_400 })], rotation }),
  ).rejects.toThrow("out of reach");
  expect(ring.signing()).toBeDefined();
});

test("what was read is not relied on for longer because a configuration with a longer overlap came since", async () => {
  const store = recordingStore();
  await using ring = await openAt(store, { rotation: ROTATION });
  store.loadProblem = "out of reach";
  const adaptTo = (overlapSeconds: number) =>
    ring.keys.adapt({ needs: [needFor()], rotation: { ...ROTATION, overlapSeconds } });
  await adaptTo(7200);
  expect(ring.keys.sharing()?.reliableUntil).toBe(NOW + RELIABLE);
  ring.clock.now = NOW + RELIABLE + 1;
  expect(ring.keys.current().withheld).toBeDefined();
  store.loadProblem = undefined;
  await ring.refreshAt(NOW);
  expect(ring.keys.sharing()?.reliableUntil).toBe(NOW + RELIABLE + HOUR);
  await adaptTo(1800);
  expect(ring.keys.sharing()?.reliableUntil).toBe(NOW + RELIABLE - HOUR / 2);
});

describe("the clock of the store", () => {
  test("is the one that the ring goes by: a replica whose own is behind changes keys with the others", async () => {
    let ahead = 0;
    await using ring = await openAt(
      storeWithClock(() => ({ ahead, uncertainty: 0 })),
      { rotation: ROTATION },
    );
    const old = ring.signing();
    const due = NOW + 86_400 * SECOND - pendingSecondsOf(ROTATION) * SECOND;
    await ring.refreshAt(due);
    ahead = 20 * SECOND;
    await ring.refreshAt(NOW + 86_400 * SECOND - 20 * SECOND - 1);
    expect(ring.signing()).toBe(old);
    ring.clock.now += 1;
    expect(ring.signing()).not.toBe(old);
  });

  test("that jumps, or from which this machine's differs too much, makes no key sign early, and takes none out", async () => {
    const clock = { ahead: 0, uncertainty: 0 };
    const store = recordingStore(storeWithClock(() => clock));
    await using ring = await openAt(store, { rotation: ROTATION });
    await ring.refreshAt(NOW + 86_400 * SECOND - pendingSecondsOf(ROTATION) * SECOND);
    const [old, next] = ring.published();
    const saves = store.saves.length;
    clock.ahead = 100 * HOUR;
    await ring.refreshAt(ring.clock.now + SECOND);
    expect([ring.signing(), ring.published()]).toEqual([old, [old, next]]);
    expect(store.saves).toHaveLength(saves);
    // What others change is followed all the same.
    await changeRing(store, (stored) => ({ ...stored, withdrawn: ["a"], keys: stored.keys.slice(0, 1) }));
    await ring.refreshAt(ring.clock.now + SECOND);
    expect(ring.published()).toEqual([old]);
  });

  test.each([
    [{ ahead: 30_000, uncertainty: 0 }, undefined],
    [{ ahead: -30_000, uncertainty: 0 }, undefined],
    // What is not known for certain is not held against it.
    [{ ahead: 32_000, uncertainty: 2000 }, undefined],
    [
      { ahead: 31_000, uncertainty: 0 },
      "the clock of this machine is 31 s behind that of memory, and clockSkew allows 30 s; set both by NTP",
    ],
    [
      { ahead: -90_000, uncertainty: 1000 },
      "the clock of this machine is 89 s ahead of that of memory, and clockSkew allows 30 s; set both by NTP",
    ],
  ])("%o: %s", async (clock, problem) => {
    await using ring = await openAt(
      storeWithClock(() => clock),
      { rotation: ROTATION },
    );
    expect(ring.keys.sharing()).toMatchObject({ clockAhead: clock.ahead, clockProblem: problem });
    // Not ready, but what comes all the same is answered: the ring goes by the other clock.
    expect(ring.signing()).toBeDefined();
  });
});

describe("at the start", () => {
  const options = { rotation: ROTATION, needs: [needFor()], now: () => NOW };

  test("a store that cannot be reached is waited for, which is said once", async () => {
    const store = recordingStore();
    const { load } = store;
    let [attempts, now] = [0, NOW];
    store.load = async () => {
      if (++attempts > 2) return load();
      now += 2 * RELIABLE;
      throw new StoreUnreachable("store", "connection refused");
    };
    const events: unknown[] = [];
    const onEvent = (event: unknown) => events.push(event);
    const keys = await openManagedKeys({ ...options, store, now: () => now, onEvent });
    // However long it took: what is relied on is what was read in the end.
    expect(keys.current().published).toHaveLength(1);
    expect(events).toEqual([
      { kind: "waiting", message: "store: connection refused" },
      { kind: "recovered" },
    ]);
    await keys.close();
  });

  test("what no time will mend ends it", async () => {
    const store = recordingStore();
    store.loadProblem = "a newer version wrote this";
    await expect(openManagedKeys({ ...options, store, onEvent() {} })).rejects.toThrow(KeyError);
    expect(store.loads).toBe(1);
  });

  test("the wait ends when nobody wants to wait any more", async () => {
    const store: KeyStore = {
      ...createMemoryStore(),
      load: () => Promise.reject(new StoreUnreachable("store", "connection refused")),
    };
    const waiting = new AbortController();
    const opening = openManagedKeys({
      ...options,
      store,
      onEvent: () => waiting.abort(),
      signal: waiting.signal,
    });
    await expect(opening).rejects.toMatchObject({ name: "AbortError" });
  });
});
