import { expect, test } from "vitest";
import { openManagedKeys } from "../../../src/issuer/keys/managed-keys.ts";
import type { KeyNeed, Rotation } from "../../../src/issuer/keys/ring.ts";
import { createFailingDisk } from "./failing-disk.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const need: KeyNeed = { purpose: "token", algorithm: "EdDSA", longestLifetimeSeconds: 3600 };
const rotation: Rotation = { everySeconds: 30 * 86_400, overlapSeconds: 300 };

test("a key whose end was stored by a save that failed is published until its last token has ended", async () => {
  let time = 0;
  const disk = createFailingDisk(() => time);
  const keys = await openManagedKeys({
    store: disk.openFor("sidecar").store,
    rotation,
    needs: [need],
    now: () => time,
    onEvent: () => {},
  });
  const signing = () => keys.current().activeKey("token", "EdDSA")?.key.kid;
  const published = () => keys.current().published.map(({ kid }) => kid);
  const old = signing();

  time = 30 * DAY - 6 * MINUTE;
  // The successor is stored; its time is too, but the sidecar is told that it is not.
  disk.failInSave(1, 5 * HOUR, true);
  await keys.refresh();
  time = disk.failsUntil() - SECOND;
  await keys.refresh();
  expect(signing()).toBe(old);
  const lastSignature = time;

  time = disk.failsUntil();
  await keys.refresh();
  expect(signing()).not.toBe(old);
  expect(published()).toContain(old);
  time = lastSignature + HOUR - 1;
  await keys.refresh();
  expect(published()).toContain(old);
  await keys.close();
});

test.each([true, false])(
  "what signs after an outage was published before it ended (stored: %s)",
  async (stored) => {
    let time = 0;
    const disk = createFailingDisk(() => time);
    const { store } = disk.openFor("sidecar");
    const keys = await openManagedKeys({
      store,
      rotation,
      needs: [need],
      now: () => time,
      onEvent: () => {},
    });
    time = 30 * DAY - 6 * MINUTE;
    disk.failInSave(1, 5 * HOUR, stored);
    await keys.refresh();
    time = disk.failsUntil() - SECOND;
    await keys.refresh();
    const cached = keys.current().published.map(({ kid }) => kid);
    time = disk.failsUntil();
    await keys.refresh();
    expect(cached).toContain(keys.current().activeKey("token", "EdDSA")?.key.kid);
    await keys.close();
  },
);
