import { describe, expect, test } from "vitest";
import {
  generateKeys,
  importKey,
  type RingChange,
  replaceKeys,
  retireKey,
  rotateKeys,
} from "../../../src/issuer/keys/manage.ts";
import { EMPTY_RING, type RingKey, signingKeyOf } from "../../../src/issuer/keys/ring.ts";
import { keysAt } from "../../../src/issuer/keys/ring-view.ts";
import { createMemoryStore, type KeyStore } from "../../../src/issuer/keys/store.ts";
import { DAY, kidsOf, MINUTE, NOW, needFor, refusalOf, ringKey, signingKey } from "./key-material.ts";
import { recordingStore } from "./recording-store.ts";

/** A store with a ring of these keys. */
async function storeWith(...keys: readonly RingKey[]): Promise<KeyStore> {
  const store = createMemoryStore();
  await store.save({ keys, withdrawn: [] }, 0);
  return store;
}

/** The keys that a change added, and that it was stored. */
async function addedBy(store: KeyStore, { before, after }: RingChange): Promise<RingKey[]> {
  expect((await store.load()).ring).toBe(after);
  return after.keys.filter((entry) => !before.keys.includes(entry));
}

const ED = needFor();
const ES = needFor("ES256", { longestLifetimeSeconds: 900 });
const IDENTITY = needFor("EdDSA", { purpose: "identity" });

describe("generating", () => {
  test("makes the keys that are lacking, which sign at once, and leaves those that are there", async () => {
    const there = ringKey(await signingKey());
    const store = await storeWith(there);
    const change = await generateKeys(store, [ED, ES, IDENTITY], NOW + DAY);

    expect(change.before.keys).toEqual([there]);
    expect(change.after.keys[0]).toBe(there);
    const added = await addedBy(store, change);
    expect(added).toEqual(
      [ES, IDENTITY].map(({ purpose, algorithm, longestLifetimeSeconds }) => ({
        key: expect.objectContaining({ algorithm }),
        purpose,
        createdAt: NOW + DAY,
        activatesAt: NOW + DAY,
        retiresAt: undefined,
        longestLifetimeSeconds,
      })),
    );
    expect(new Set(kidsOf(change.after)).size).toBe(3);
  });

  test("changes nothing where all keys are there", async () => {
    const store = recordingStore(await storeWith(ringKey(await signingKey())));
    const { before, after } = await generateKeys(store, [ED], NOW);
    expect(after).toBe(before);
    expect(store.saves).toEqual([]);
  });

  test("raises the lifetime that a key is kept for", async () => {
    const store = await storeWith(ringKey(await signingKey()));
    const { after } = await generateKeys(store, [{ ...ED, longestLifetimeSeconds: 7200 }], NOW);
    expect(after.keys.map(({ longestLifetimeSeconds }) => longestLifetimeSeconds)).toEqual([7200]);
    expect((await store.load()).ring).toBe(after);
  });
});

describe("rotating", () => {
  test("gives each key a successor without a time, and makes one that signs at once where there is none", async () => {
    const there = ringKey(await signingKey());
    const store = await storeWith(there);
    const change = await rotateKeys(store, [ED, ES], NOW + DAY);

    expect(change.after.keys[0]).toBe(there);
    expect(await addedBy(store, change)).toEqual([
      expect.objectContaining({
        key: expect.objectContaining({ algorithm: "EdDSA" }),
        createdAt: NOW + DAY,
        activatesAt: undefined,
        retiresAt: undefined,
        longestLifetimeSeconds: 300,
      }),
      expect.objectContaining({
        key: expect.objectContaining({ algorithm: "ES256" }),
        activatesAt: NOW + DAY,
        longestLifetimeSeconds: 900,
      }),
    ]);
  });

  test.each([
    ["that has no time yet", undefined],
    ["that has its time", NOW + DAY],
  ])("is refused beside a successor %s, and changes no key at all", async (_which, activatesAt) => {
    const [old, next] = [await signingKey(), await signingKey()];
    const store = await storeWith(
      ringKey(old, { retiresAt: activatesAt }),
      ringKey(next, { activatesAt }),
      ringKey(await signingKey("ES256")),
    );
    const { ring } = await store.load();
    expect(await refusalOf(rotateKeys(store, [ES, ED], NOW))).toBe(
      `memory: a rotation of EdDSA is under way: key ${next.kid} is going to sign. Wait for it, or take it out: countersign keys retire ${next.kid}`,
    );
    expect((await store.load()).ring).toBe(ring);
  });

  test("is possible again when the successor signs", async () => {
    const store = await storeWith(
      ringKey(await signingKey(), { retiresAt: NOW + DAY }),
      ringKey(await signingKey(), { activatesAt: NOW + DAY }),
    );
    const change = await rotateKeys(store, [ED], NOW + DAY);
    expect(await addedBy(store, change)).toEqual([expect.objectContaining({ activatesAt: undefined })]);
  });
});

describe("importing", () => {
  test("a key where there is none of its line: it signs at once", async () => {
    const store = await storeWith(ringKey(await signingKey(), { purpose: "identity" }));
    const key = await signingKey();
    const change = await importKey(store, ED, key, NOW);
    expect(await addedBy(store, change)).toEqual([ringKey(key)]);
  });

  test("a key beside one that signs: it waits for its time", async () => {
    const there = ringKey(await signingKey());
    const store = await storeWith(there);
    const key = await signingKey();
    const change = await importKey(store, ED, key, NOW + DAY);
    expect(await addedBy(store, change)).toEqual([
      ringKey(key, { createdAt: NOW + DAY, activatesAt: undefined }),
    ]);
    expect(change.after.keys[0]).toBe(there);
  });

  test("a key that is in the ring already is refused, for another purpose too", async () => {
    const key = await signingKey();
    const store = await storeWith(ringKey(key));
    for (const need of [ED, IDENTITY])
      expect(await refusalOf(importKey(store, need, key, NOW))).toBe(
        `memory: key ${key.kid} is in this ring already`,
      );
  });

  test("a key that was withdrawn is refused", async () => {
    const key = await signingKey();
    const store = createMemoryStore();
    await store.save({ ...EMPTY_RING, withdrawn: [key.kid] }, 0);
    expect(await refusalOf(importKey(store, ED, key, NOW))).toBe(
      `memory: key ${key.kid} was withdrawn from this ring: others may know it. Use a new one`,
    );
  });

  test("a key while another waits is refused", async () => {
    const next = await signingKey();
    const store = await storeWith(ringKey(await signingKey()), ringKey(next, { activatesAt: undefined }));
    expect(await refusalOf(importKey(store, ED, await signingKey(), NOW))).toBe(
      `memory: a rotation of EdDSA is under way: key ${next.kid} is going to sign. Wait for it, or take it out: countersign keys retire ${next.kid}`,
    );
  });
});

describe("replacing", () => {
  test("withdraws every key of the line, at once, and leaves the others", async () => {
    const [retiring, active, pending] = [await signingKey(), await signingKey(), await signingKey()];
    const [es, identity] = [await signingKey("ES256"), await signingKey()];
    const others = [ringKey(es), ringKey(identity, { purpose: "identity" })];
    const store = await storeWith(
      ringKey(retiring, { activatesAt: NOW - DAY, retiresAt: NOW }),
      ringKey(active),
      ringKey(pending, { activatesAt: undefined }),
      ...others,
    );
    const change = await replaceKeys(store, [ED], NOW + 1);

    expect(change.after.withdrawn).toEqual([retiring.kid, active.kid, pending.kid]);
    expect(change.after.keys.slice(0, -1)).toEqual(others);
    expect(await addedBy(store, change)).toEqual([
      expect.objectContaining({
        purpose: "token",
        createdAt: NOW + 1,
        activatesAt: NOW + 1,
        retiresAt: undefined,
      }),
    ]);
    expect(change.after.withdrawn).not.toContain(kidsOf(change.after).at(-1));
  });

  test("of several lines keeps what was withdrawn before", async () => {
    const [ed, es] = [await signingKey(), await signingKey("ES256")];
    const store = createMemoryStore();
    await store.save({ keys: [ringKey(ed), ringKey(es)], withdrawn: ["before"] }, 0);
    const { after } = await replaceKeys(store, [ED, ES], NOW);
    expect(after.withdrawn).toEqual(["before", ed.kid, es.kid]);
    expect(after.keys.map(({ key }) => key.algorithm)).toEqual(["EdDSA", "ES256"]);
  });
});

describe("retiring", () => {
  const retire = (store: KeyStore, kid: string, change: object = {}) =>
    retireKey(store, { kid, needs: [ED], now: NOW, atOnce: false, ...change });

  test("a pending key without a time takes it out, as if it had never been", async () => {
    const there = ringKey(await signingKey());
    const next = await signingKey();
    const store = await storeWith(there, ringKey(next, { activatesAt: undefined }));
    const { after } = await retire(store, next.kid);
    expect(after).toEqual({ keys: [there], withdrawn: [] });
    expect((await store.load()).ring).toBe(after);
  });

  test("a pending key with a time lets the one before go on", async () => {
    const [old, next] = [await signingKey(), await signingKey()];
    const other = ringKey(await signingKey("ES256"), { retiresAt: NOW + DAY });
    const store = await storeWith(
      ringKey(old, { retiresAt: NOW + DAY }),
      ringKey(next, { activatesAt: NOW + DAY }),
      other,
    );
    const { after } = await retire(store, next.kid);
    const retiring = ringKey(next, { activatesAt: NOW + DAY, retiresAt: NOW });
    expect(after).toEqual({ keys: [ringKey(old), retiring, other], withdrawn: [] });
  });

  test("a pending key with a time goes at once where that is wanted", async () => {
    const [old, next] = [await signingKey(), await signingKey()];
    const store = await storeWith(
      ringKey(old, { retiresAt: NOW + DAY }),
      ringKey(next, { activatesAt: NOW + DAY }),
    );
    const { after } = await retire(store, next.kid, { atOnce: true });
    expect(after).toEqual({ keys: [ringKey(old)], withdrawn: [next.kid] });
  });

  test("a key that has signed, and is pending again as the clock was set back, leaves it published", async () => {
    const [old, next] = [await signingKey(), await signingKey()];
    const store = await storeWith(ringKey(old, { retiresAt: NOW }), ringKey(next, { activatesAt: NOW }));
    const { after } = await retire(store, next.kid, { now: NOW - 60 * MINUTE });
    const published = keysAt(after, [ED], NOW + 60 * MINUTE).published.map(({ kid }) => kid);
    expect(published).toEqual([old.kid, next.kid]);
    expect(signingKeyOf(after, ED, NOW + 60 * MINUTE)?.key.kid).toBe(old.kid);
  });

  test.each([false, true])(
    "the key that signs for what is configured is refused (at once: %s)",
    async (atOnce) => {
      const key = await signingKey();
      const store = await storeWith(ringKey(key));
      const { ring } = await store.load();
      expect(await refusalOf(retire(store, key.kid, { atOnce }))).toBe(
        `memory: key ${key.kid} signs; replace it: countersign keys rotate (or, where others know it: keys rotate --emergency)`,
      );
      expect((await store.load()).ring).toBe(ring);
    },
  );

  test("a key that signs for nothing that is configured: it signs no more, and stays published", async () => {
    const key = await signingKey("ES256");
    const { after } = await retire(await storeWith(ringKey(key)), key.kid, { now: NOW + DAY });
    expect(after).toEqual({ keys: [ringKey(key, { retiresAt: NOW + DAY })], withdrawn: [] });
  });

  test("a key that signs for nothing that is configured, at once: it is withdrawn", async () => {
    const key = await signingKey();
    const store = await storeWith(ringKey(key, { purpose: "identity" }));
    const { after } = await retire(store, key.kid, { atOnce: true });
    expect(after).toEqual({ keys: [], withdrawn: [key.kid] });
    expect((await store.load()).ring).toBe(after);
  });

  test("a key that retires already is refused, and withdrawn where that is wanted at once", async () => {
    const [old, active] = [await signingKey(), ringKey(await signingKey())];
    const store = await storeWith(ringKey(old, { activatesAt: NOW - DAY, retiresAt: NOW }), active);
    expect(await refusalOf(retire(store, old.kid))).toBe(
      `memory: key ${old.kid} retires already, and is published until its longest token has ended; --now takes it out at once, and such tokens are refused`,
    );
    const { after } = await retire(store, old.kid, { atOnce: true });
    expect(after).toEqual({ keys: [active], withdrawn: [old.kid] });
  });

  test("a key is named by as much of its kid as no other begins with", async () => {
    const keys = await Promise.all(Array.from({ length: 70 }, () => signingKey()));
    // 64 letters: two of these begin with the same one.
    const letter =
      keys.map(({ kid }) => kid.slice(0, 1)).find((one, index, all) => all.indexOf(one) !== index) ?? "";
    const alike = keys.filter(({ kid }) => kid.startsWith(letter));
    const store = await storeWith(...keys.map((key) => ringKey(key, { activatesAt: undefined })));
    expect(await refusalOf(retire(store, letter))).toBe(
      `memory: ${alike.length} keys begin with ${letter}; give more of the kid`,
    );
    const [first = keys[0]] = alike;
    const { after } = await retire(store, String(first?.kid.slice(0, 12)));
    expect(kidsOf(after)).not.toContain(first?.kid);
    expect(after.keys).toHaveLength(69);
    expect(await refusalOf(retire(store, `${first?.kid}`))).toBe(
      `memory: there is no key ${first?.kid}; countersign keys list shows which there are`,
    );
  });
});

describe("where others change the ring", () => {
  test("a change is made to what they have left", async () => {
    const memory = await storeWith(ringKey(await signingKey()));
    const store = recordingStore(memory);
    const others = ringKey(await signingKey("ES256"));
    const { load } = store;
    let isFirst = true;
    store.load = async () => {
      const stored = await load();
      if (isFirst) await memory.save({ ...stored.ring, keys: [...stored.ring.keys, others] }, stored.version);
      isFirst = false;
      return stored;
    };
    const { before, after } = await rotateKeys(store, [ED], NOW);
    expect(store.saves).toHaveLength(2);
    expect(before.keys).toContain(others);
    expect(after.keys).toHaveLength(3);
    expect(after.keys).toContain(others);
  });

  test("all the time, a change gives up and says so", async () => {
    const store = recordingStore(await storeWith());
    store.save = async () => undefined;
    expect(await refusalOf(generateKeys(store, [ED], NOW))).toBe(
      "memory: other processes change the key ring all the time; find out which",
    );
  });
});
