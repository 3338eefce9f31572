import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { createDirectoryStore } from "../../../src/issuer/keys/directory-store.ts";
import { changeRing } from "../../../src/issuer/keys/managed-keys.ts";
import { TICK_SECONDS, withEmergencyKey } from "../../../src/issuer/keys/ring.ts";
import { createMemoryStore } from "../../../src/issuer/keys/store.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { DAY, HOUR, kidsOf, MINUTE, NOW, needFor, signingKey } from "./key-material.ts";
import { openAt, PENDING, RETIRING, ROTATION, recordingStore } from "./recording-store.ts";

/** When the successor of a key that signs since NOW is made, and when it signs. */
const DUE = NOW + 30 * DAY - PENDING;
const SWITCH = NOW + 30 * DAY;

test("a key that is needed and was taken out of the ring signs until there is another", async () => {
  const store = recordingStore();
  await using ring = await openAt(store);
  const old = ring.signing();
  await changeRing(store, ({ withdrawn }) => ({ keys: [], withdrawn }));
  let signing: string | undefined;
  store.beforeSave = () => {
    signing = ring.signing();
  };
  await ring.refreshAt(NOW + MINUTE);
  expect(signing).toBe(old);
  expect(ring.signing()).not.toBe(old);
  expect(ring.published()).toEqual([ring.signing()]);
});

describe("a rotation", () => {
  test("publishes a key, waits, signs with it, and keeps the one before until its tokens have ended", async () => {
    await using ring = await openAt(createMemoryStore());
    const old = ring.signing();
    expect(ring.published()).toEqual([old]);

    await ring.refreshAt(DUE - 1);
    expect(ring.published()).toEqual([old]);

    await ring.refreshAt(DUE);
    const [, next] = ring.published();
    expect(ring.published()).toEqual([old, next]);
    expect(next).toMatch(/^[\w-]{43}$/);
    for (const now of [DUE, DUE + HOUR, SWITCH - 1]) {
      await ring.refreshAt(now);
      expect([ring.signing(), ring.published()]).toEqual([old, [old, next]]);
    }
    for (const now of [SWITCH, SWITCH + RETIRING - 1]) {
      await ring.refreshAt(now);
      expect([ring.signing(), ring.published()]).toEqual([next, [next, old]]);
    }
    await ring.refreshAt(SWITCH + RETIRING);
    expect([ring.signing(), ring.published()]).toEqual([next, [next]]);
  });

  test("publishes a key first, and only then gives it its time", async () => {
    const store = recordingStore();
    await using ring = await openAt(store);
    const saved: unknown[] = [];
    store.beforeSave = ({ keys }) => {
      const [old, next] = keys;
      saved.push({
        retiresAt: old?.retiresAt,
        activatesAt: next?.activatesAt,
        isPublished: ring.published().includes(String(next?.key.kid)),
      });
    };
    await ring.refreshAt(DUE);
    expect(saved).toEqual([
      { retiresAt: undefined, activatesAt: undefined, isPublished: false },
      { retiresAt: SWITCH, activatesAt: SWITCH, isPublished: true },
    ]);
  });

  test("that begins late takes its whole time", async () => {
    await using ring = await openAt(createMemoryStore());
    const old = ring.signing();
    const late = NOW + 90 * DAY;
    await ring.refreshAt(late);
    expect(ring.published()).toHaveLength(2);
    await ring.refreshAt(late + PENDING - 1);
    expect(ring.signing()).toBe(old);
    await ring.refreshAt(late + PENDING);
    expect(ring.signing()).not.toBe(old);
  });

  test("needs no tick at the moment of a transition", async () => {
    await using ring = await openAt(createMemoryStore());
    await ring.refreshAt(DUE);
    const [old, next] = ring.published();
    const before = ring.keys.current();
    ring.clock.now = SWITCH - 1;
    expect(ring.keys.current()).toBe(before);
    ring.clock.now = SWITCH;
    expect(ring.keys.current()).not.toBe(before);
    expect(ring.keys.current()).toBe(ring.keys.current());
    expect([ring.signing(), ring.published()]).toEqual([next, [next, old]]);
    ring.clock.now = SWITCH + RETIRING;
    expect(ring.published()).toEqual([next]);
  });

  test("by hand alone never begins by itself", async () => {
    const store = recordingStore();
    await using ring = await openAt(store, { rotation: { ...ROTATION, everySeconds: undefined } });
    await ring.refreshAt(NOW + 1000 * DAY);
    expect(ring.published()).toHaveLength(1);
    expect(store.saves).toHaveLength(1);
  });

  test("is told in its order", async () => {
    await using ring = await openAt(createMemoryStore());
    expect(ring.events).toEqual([]);
    await ring.refreshAt(NOW + HOUR);
    expect(ring.events).toEqual([]);
    await ring.refreshAt(DUE);
    const [old, next] = ring.published();
    await ring.refreshAt(DUE + HOUR);
    await ring.refreshAt(SWITCH);
    await ring.refreshAt(SWITCH + RETIRING);

    const told = { kind: "key", algorithm: "EdDSA", purpose: "token" };
    expect(ring.events).toEqual([
      { ...told, kid: next, state: "pending", until: SWITCH },
      { ...told, kid: old, state: "retiring", until: SWITCH + RETIRING },
      { ...told, kid: next, state: "active", until: undefined },
      { ...told, kid: old, state: "gone", until: undefined },
    ]);
  });
});

describe("a clock that is set", () => {
  test("back an hour withdraws nothing: a key goes on signing, and all stay published", async () => {
    const store = createMemoryStore();
    await using ring = await openAt(store);
    await ring.refreshAt(DUE);
    const [old, next] = ring.published();
    await ring.refreshAt(SWITCH + 10 * MINUTE);
    expect(ring.signing()).toBe(next);

    await ring.refreshAt(SWITCH - 50 * MINUTE);
    expect([ring.signing(), ring.published()]).toEqual([old, [old, next]]);
    expect((await store.load()).ring.withdrawn).toEqual([]);
    expect(kidsOf((await store.load()).ring)).toEqual([old, next]);

    await ring.refreshAt(SWITCH);
    expect(ring.signing()).toBe(next);
  });

  test("back to before the first key leaves it signing", async () => {
    await using ring = await openAt(createMemoryStore());
    const only = ring.signing();
    await ring.refreshAt(NOW - HOUR);
    expect([ring.signing(), ring.published()]).toEqual([only, [only]]);
  });

  test("ahead an hour and back again takes no key away that tokens still need", async () => {
    await using ring = await openAt(createMemoryStore());
    await ring.refreshAt(DUE);
    const [old, next] = ring.published();
    ring.clock.now = SWITCH;
    expect(ring.signing()).toBe(next);
    // What `old` signed last ends 300 s after SWITCH; verifiers allow 300 s more.
    await ring.refreshAt(SWITCH + 10 * MINUTE + HOUR);
    expect(ring.published()).toEqual([next, old]);
    await ring.refreshAt(SWITCH + 10 * MINUTE);
    expect(ring.published()).toEqual([next, old]);
  });
});

describe("a store that fails", () => {
  test("lets the old key go on, and is told once, and once when it is over", async () => {
    const store = recordingStore();
    await using ring = await openAt(store);
    const old = ring.signing();
    store.problem = "the disk is full";
    for (const now of [DUE, DUE + 30_000, SWITCH, SWITCH + DAY]) {
      await ring.refreshAt(now);
      expect([ring.signing(), ring.published()]).toEqual([old, [old]]);
    }
    expect(ring.events).toEqual([{ kind: "problem", message: "memory: the disk is full" }]);

    store.problem = undefined;
    await ring.refreshAt(SWITCH + 2 * DAY);
    const [, next] = ring.published();
    expect(ring.published()).toEqual([old, next]);
    expect(ring.events.slice(1)).toEqual([
      { kind: "recovered" },
      expect.objectContaining({ kid: next, state: "pending", until: SWITCH + 2 * DAY + PENDING }),
    ]);

    await ring.refreshAt(SWITCH + 3 * DAY);
    expect(ring.events).toHaveLength(3);
  });

  test("that fails in another way is told again", async () => {
    const store = recordingStore();
    await using ring = await openAt(store);
    for (const problem of ["slow", "slow", "broken", "slow"]) {
      store.loadProblem = problem;
      await ring.keys.refresh();
    }
    expect(ring.events).toEqual(
      ["slow", "broken", "slow"].map((problem) => ({
        kind: "problem",
        message: `memory: ${problem}`,
      })),
    );
  });

  test("never lets a key be published or sign that was not saved", async () => {
    const store = recordingStore();
    await using ring = await openAt(store);
    const old = ring.signing();
    store.problem = "the disk is full";
    for (const now of [DUE, DUE + 30_000]) await ring.refreshAt(now);
    const tried = store.saves
      .slice(1)
      .flatMap(kidsOf)
      .filter((kid) => kid !== old);
    expect(tried).toHaveLength(2);
    store.problem = undefined;

    for (const now of [DUE + 60_000, SWITCH, SWITCH + 2 * DAY]) {
      await ring.refreshAt(now);
      for (const kid of tried) expect(ring.published()).not.toContain(kid);
    }
    expect(ring.published()).toHaveLength(1);
    expect(ring.signing()).not.toBe(old);
  });

  test("after it has stored a ring all the same: the next tick goes on from there", async () => {
    const memory = createMemoryStore();
    const store = recordingStore(memory);
    await using ring = await openAt(store);
    const old = ring.signing();
    store.beforeSave = (wanted) => {
      store.beforeSave = () => {};
      memory.save(wanted, 1);
      throw new Error("no answer");
    };
    await ring.refreshAt(DUE);
    expect(ring.published()).toEqual([old]);
    await ring.refreshAt(DUE + 30_000);
    const stored = kidsOf((await memory.load()).ring);
    expect(stored).toHaveLength(2);
    expect(ring.published()).toEqual(stored);
    // Its time counts from when it was published.
    await ring.refreshAt(DUE + PENDING);
    expect(ring.signing()).toBe(old);
    await ring.refreshAt(DUE + 30_000 + PENDING);
    expect(ring.signing()).toBe(stored[1]);
  });

  test("at the start is an error where a key is lacking, and none where all are there", async () => {
    const store = recordingStore();
    store.problem = "the disk is full";
    await expect(openAt(store)).rejects.toMatchObject({
      code: "ERR_KEY",
      message: "memory: the disk is full",
    });
    store.problem = undefined;
    await (await openAt(store)).keys.close();

    store.problem = "the disk is full";
    await using ring = await openAt(store);
    expect(ring.published()).toHaveLength(1);
  });
});

describe("a ring that is taken away", () => {
  test.each([
    ["gone", 0, "the key ring is gone"],
    ["an older one", 1, "the key ring is an older one"],
  ])("and %s leaves the keys in memory, and comes back", async (_what, version, problem) => {
    const memory = createMemoryStore();
    const store = recordingStore(memory);
    await using ring = await openAt(store);
    const first = await memory.load();
    await ring.refreshAt(DUE);
    const published = ring.published();
    expect(published).toHaveLength(2);

    const { load } = store;
    store.load = async () => (version === 0 ? { ring: { keys: [], withdrawn: [] }, version } : first);
    const saves = store.saves.length;
    ring.events.length = 0;
    for (const now of [DUE + 30_000, DUE + 60_000]) await ring.refreshAt(now);
    expect(ring.published()).toEqual(published);
    expect(store.saves).toHaveLength(saves);
    expect(ring.events).toEqual([
      {
        kind: "problem",
        message: `memory: ${problem}; the keys in memory go on. Put it back, or restart to use what is there`,
      },
    ]);
    await expect(ring.keys.keepFor("token", "EdDSA", 999)).rejects.toMatchObject({ code: "ERR_KEY" });

    store.load = load;
    await ring.refreshAt(SWITCH);
    expect(ring.signing()).toBe(published[1]);
    expect(ring.events[1]).toEqual({ kind: "recovered" });
  });
});

describe("beside other processes", () => {
  test("two over one directory agree on every key at every moment", async () => {
    using folder = temporaryFolder();
    const open = () => openAt(createDirectoryStore(join(folder.path, "keys")));
    await using one = await open();
    await using other = await open();
    const all = [one, other];
    let turns = 0;
    for (let now = NOW; now < NOW + 95 * DAY; now += 6 * HOUR) {
      for (const ring of all) ring.clock.now = now;
      // Now the one is first, now the other.
      for (const ring of turns++ % 2 === 0 ? all : all.toReversed()) await ring.keys.refresh();
      // Within a tick or two the first has seen what the second did.
      for (const ring of all) await ring.keys.refresh();
      expect(one.signing()).toBe(other.signing());
      expect(one.published()).toEqual(other.published());
      // Until the next look neither signs with what the other does not publish.
      for (const later of [now + 3 * HOUR, now + 6 * HOUR - 1]) {
        for (const ring of all) ring.clock.now = later;
        expect(one.published()).toContain(other.signing());
        expect(one.signing()).toBe(other.signing());
      }
    }
    const told = one.events.filter((event) => event.kind === "key" && event.state === "active");
    expect(told).toHaveLength(3);
    expect([...one.events, ...other.events].filter(({ kind }) => kind !== "key")).toEqual([]);
  });

  test("a key that is withdrawn elsewhere is gone at the next tick", async () => {
    const store = createMemoryStore();
    await using ring = await openAt(store);
    const [old] = ring.published();
    const key = await signingKey();
    await changeRing(store, (stored) => withEmergencyKey(stored, needFor(), key, NOW));
    expect(ring.signing()).toBe(old);
    await ring.refreshAt(NOW + 1000);
    expect([ring.signing(), ring.published()]).toEqual([key.kid, [key.kid]]);
    expect(ring.events).toEqual([
      expect.objectContaining({ kid: key.kid, state: "active" }),
      expect.objectContaining({ kid: old, state: "gone" }),
    ]);
  });

  test("ticks follow one another, however many are asked for", async () => {
    const store = recordingStore();
    await using ring = await openAt(store);
    const { load } = store;
    let [underWay, most] = [0, 0];
    store.load = async () => {
      most = Math.max(most, ++underWay);
      await new Promise(setImmediate);
      underWay--;
      return load();
    };
    ring.clock.now = DUE;
    await Promise.all([ring.keys.refresh(), ring.keys.refresh(), ring.keys.keepFor("token", "EdDSA", 301)]);
    expect(most).toBe(1);
    expect(ring.published()).toHaveLength(2);
  });
});

describe("the lifetime that a key is kept for", () => {
  const storedLifetimes = async (store: ReturnType<typeof createMemoryStore>) =>
    (await store.load()).ring.keys.map(({ longestLifetimeSeconds }) => longestLifetimeSeconds);

  test("is raised and stored before it is promised, and never lowered", async () => {
    const store = createMemoryStore();
    await using ring = await openAt(store);
    const inMemory = () => ring.keys.current().activeKey("token", "EdDSA")?.longestLifetimeSeconds;
    expect(inMemory()).toBe(300);
    for (const [asked, kept] of [
      [7200, 7200],
      [600, 7200],
      [7201, 7201],
    ] as const) {
      await ring.keys.keepFor("token", "EdDSA", asked);
      expect([inMemory(), await storedLifetimes(store)]).toEqual([kept, [kept]]);
    }
    await ring.keys.close();

    await using reopened = await openAt(store, { needs: [needFor("EdDSA", { longestLifetimeSeconds: 60 })] });
    expect(reopened.keys.current().activeKey("token", "EdDSA")?.longestLifetimeSeconds).toBe(7201);
  });

  test("holds for the successor that waits as well, and keeps a key published for longer", async () => {
    const store = createMemoryStore();
    await using ring = await openAt(store);
    await ring.refreshAt(DUE);
    const [old, next] = ring.published();
    await ring.keys.keepFor("token", "EdDSA", 10 * 86_400);
    expect(await storedLifetimes(store)).toEqual([864_000, 864_000]);
    ring.clock.now = SWITCH + RETIRING;
    expect(ring.published()).toEqual([next, old]);
    ring.clock.now = SWITCH + RETIRING - 300_000 + 10 * DAY;
    expect(ring.published()).toEqual([next]);
  });

  test("is not promised where it cannot be stored", async () => {
    const store = recordingStore();
    await using ring = await openAt(store);
    store.problem = "the disk is full";
    await expect(ring.keys.keepFor("token", "EdDSA", 7200)).rejects.toMatchObject({
      code: "ERR_KEY",
      message: "memory: the disk is full",
    });
    expect(ring.keys.current().activeKey("token", "EdDSA")?.longestLifetimeSeconds).toBe(300);
  });
});

describe("what is needed", () => {
  test("and is new gets a key at once; what is needed no more stays published, and is not rotated", async () => {
    const store = createMemoryStore();
    const before = await openAt(store);
    const old = before.signing();
    await before.keys.close();

    const needs = [needFor("ES256"), needFor("EdDSA", { purpose: "identity" })];
    await using ring = await openAt(store, { needs });
    const active = needs.map(
      ({ purpose, algorithm }) => ring.keys.current().activeKey(purpose, algorithm)?.key.kid,
    );
    expect(ring.published()).toEqual([...active, old]);
    expect(new Set(ring.published()).size).toBe(3);
    expect(ring.signing()).toBe(old);

    await ring.refreshAt(DUE);
    expect(ring.published()).toHaveLength(5);
    await ring.refreshAt(NOW + 400 * DAY);
    expect(ring.published()).toContain(old);
    expect(ring.signing()).toBe(old);
  });
});

describe("the timer", () => {
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  test("of a rotation of 60 days does not overflow: it looks again every half minute", async () => {
    vi.useFakeTimers({ now: NOW });
    const delays: unknown[] = [];
    for (const name of ["setTimeout", "setInterval"] as const) {
      const real = globalThis[name];
      vi.spyOn(globalThis, name).mockImplementation(((callback: () => void, delay: number) => {
        delays.push(delay);
        return real(callback, delay);
      }) as typeof real);
    }
    const store = recordingStore();
    await using ring = await openAt(store, {
      now: Date.now,
      rotation: { ...ROTATION, everySeconds: 60 * 86_400 },
    });
    const old = ring.signing();
    const tickAt = async (now: number) => {
      vi.setSystemTime(now - TICK_SECONDS * 1000);
      const { loads } = store;
      vi.advanceTimersByTime(TICK_SECONDS * 1000 - 1);
      expect(store.loads).toBe(loads);
      await vi.advanceTimersByTimeAsync(1);
      expect(store.loads).toBeGreaterThan(loads);
      // One that is asked for comes after the one of the timer.
      await ring.keys.keepFor("token", "EdDSA", 1);
    };

    const due = NOW + 60 * DAY - PENDING;
    for (const days of [1, 24, 24.9, 25, 26, 49.8, 58]) {
      await tickAt(NOW + days * DAY);
      expect([ring.signing(), ring.published()]).toEqual([old, [old]]);
    }
    await tickAt(due);
    expect(ring.published()).toHaveLength(2);
    expect(ring.signing()).toBe(old);
    await tickAt(due + PENDING);
    expect(ring.signing()).toBe(ring.published()[0]);
    expect(ring.signing()).not.toBe(old);
    expect(delays).toEqual([TICK_SECONDS * 1000]);
  });

  test("ends with the keys", async () => {
    vi.useFakeTimers({ now: NOW });
    const store = recordingStore();
    const ring = await openAt(store);
    expect(vi.getTimerCount()).toBe(1);
    await ring.keys.close();
    const { loads } = store;
    await vi.advanceTimersByTimeAsync(10 * TICK_SECONDS * 1000);
    expect([vi.getTimerCount(), store.loads]).toEqual([0, loads]);
  });
});
