import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openExternalKeys } from "../../../src/issuer/keys/external-keys.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { DAY, HOUR, NOW, needFor, pemOf, privateKeyFor } from "./key-material.ts";
import { openAt, PENDING, RETIRING, ROTATION, recordingStore } from "./recording-store.ts";

/** When the successor of a key that signs since NOW is made, and when it signs. */
const DUE = NOW + 30 * DAY - PENDING;
const SWITCH = NOW + 30 * DAY;

describe("another configuration of a running ring", () => {
  test("with a shorter overlap lets a key that is pending sign no sooner", async () => {
    await using ring = await openAt(recordingStore());
    const old = ring.signing();
    await ring.refreshAt(DUE);
    const [, next] = ring.published();

    await ring.keys.adapt({ needs: [needFor()], rotation: { ...ROTATION, overlapSeconds: 300 } });
    for (const now of [DUE + HOUR, SWITCH - 1]) {
      await ring.refreshAt(now);
      expect([ring.signing(), ring.published()]).toEqual([old, [old, next]]);
    }
    await ring.refreshAt(SWITCH);
    expect(ring.signing()).toBe(next);
  });

  test("with shorter tokens keeps a key for those that it has signed", async () => {
    await using ring = await openAt(recordingStore());
    const old = ring.signing();
    await ring.keys.adapt({ needs: [needFor("EdDSA", { longestLifetimeSeconds: 60 })], rotation: ROTATION });
    await ring.refreshAt(DUE);
    await ring.refreshAt(SWITCH + RETIRING - 1);
    expect(ring.published()).toContain(old);
  });

  test("warns of a key that signs before any verifier can know it, and of no other", async () => {
    const store = recordingStore();
    await using ring = await openAt(store);
    expect(ring.events).toEqual([]);
    await ring.keys.adapt({ needs: [needFor("ES256"), needFor()], rotation: ROTATION });
    const kid = ring.keys.current().activeKey("token", "ES256")?.key.kid;
    const warning = {
      kind: "warning",
      message: expect.stringContaining(`ES256 key ${kid} is the first of its kind and signs at once`),
    };
    expect(ring.events.filter((event) => event.kind === "warning")).toEqual([warning]);

    await ring.keys.adapt({ needs: [needFor("ES256")], rotation: ROTATION });
    await ring.refreshAt(NOW + HOUR);
    expect(ring.events.filter((event) => event.kind === "warning")).toEqual([warning]);

    await using restarted = await openAt(store, { needs: [needFor("PS256")] });
    expect(restarted.events).toEqual([
      { kind: "warning", message: expect.stringMatching(/^PS256 key \S+ is the first of its kind/) },
    ]);
  });

  test("whose new key cannot be stored is refused, and nothing signs that is in memory alone", async () => {
    const store = recordingStore();
    await using ring = await openAt(store);
    const before = ring.published();
    store.problem = "the disk is full";

    const needs = [needFor("ES256"), needFor()];
    await expect(ring.keys.adapt({ needs, rotation: ROTATION })).rejects.toMatchObject({ code: "ERR_KEY" });
    expect(ring.published()).toEqual(before);
    expect(ring.keys.current().activeKey("token", "ES256")).toBeUndefined();

    store.problem = undefined;
    await ring.refreshAt(NOW + HOUR);
    expect(ring.published()).toEqual(before);
  });
});

test("another configuration that keys from elsewhere do not fit is refused, and they go on", async () => {
  using folder = temporaryFolder();
  const file = join(folder.path, "key.pem");
  writeFileSync(file, pemOf(privateKeyFor("EdDSA")), { mode: 0o600 });
  const source = { kind: "files", files: [file], passphrase: undefined } as const;
  const keys = await openExternalKeys({ source, needs: [needFor()], env: {}, onEvent() {} });
  const before = keys.current();

  await expect(keys.adapt({ needs: [needFor("ES256")], rotation: ROTATION })).rejects.toMatchObject({
    code: "ERR_KEY",
  });
  expect(keys.current()).toBe(before);
  await keys.close();
});
