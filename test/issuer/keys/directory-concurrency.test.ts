import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { decodeProtectedHeader } from "jose";
import { expect, test } from "vitest";
import { createIssuer } from "../../../src/index.ts";
import { createDirectoryStore } from "../../../src/issuer/keys/directory-store.ts";
import { changeRing } from "../../../src/issuer/keys/managed-keys.ts";
import type { KeyStore } from "../../../src/issuer/keys/store.ts";
import { bundleProgram } from "../../support/bundled-program.ts";
import { runCommand, temporaryFolder } from "../../support/command-line.ts";
import { namesIn, ringNamed, snapshotOf, storedRing } from "./key-directory.ts";

const ADD_MARKERS = fileURLToPath(new URL("processes/add-markers.ts", import.meta.url));

const withMarker = (store: KeyStore, marker: string) =>
  changeRing(store, (ring) => ({ ...ring, withdrawn: [...ring.withdrawn, marker] }));

/** `changer-0-0` and so on. */
const markers = (changers: number, changes: number) =>
  Array.from(
    { length: changers * changes },
    (_, index) => `changer-${index % changers}-${Math.floor(index / changers)}`,
  );

test.each([
  ["through one store", (one: KeyStore) => one],
  ["through a store each", (one: KeyStore) => createDirectoryStore(one.name)],
])("of rings that are saved at once %s, each version has one winner", async (_how, storeOf) => {
  using folder = temporaryFolder();
  const store = createDirectoryStore(join(folder.path, "keys"));
  for (let version = 0; version < 10; version++) {
    const saves = Array.from({ length: 8 }, (_, index) => `ring ${version}.${index}`).map(async (name) => ({
      name,
      saved: await storeOf(store).save(ringNamed(name), version),
    }));
    const results = await Promise.all(saves);

    const winners = results.filter(({ saved }) => saved !== undefined);
    expect(winners).toEqual([{ name: expect.anything(), saved: version + 1 }]);
    expect(await store.load()).toEqual({ ring: ringNamed(winners[0]?.name ?? ""), version: version + 1 });
    expect(namesIn(store.name)).toEqual([`ring.${version + 1}.json`]);
  }
});

test("a ring that was made from an outdated one is refused, though the next version's file is gone", async () => {
  using folder = temporaryFolder();
  const { directory } = await storedRing(folder);
  const store = createDirectoryStore(directory);
  expect(await store.save(ringNamed("second"), 1)).toBe(2);
  expect(await store.save(ringNamed("third"), 2)).toBe(3);
  const snapshot = snapshotOf(directory);

  for (const version of [0, 1, 2]) expect(await store.save(ringNamed("stale"), version)).toBeUndefined();

  expect(await store.load()).toEqual({ ring: ringNamed("third"), version: 3 });
  expect(namesIn(directory)).toEqual(["ring.3.json"]);
  // The directory's own times aside: a file came and went.
  expect(snapshotOf(directory)).toEqual(snapshot);
});

test("no change is lost where several are made at once in one process", async () => {
  using folder = temporaryFolder();
  const { directory, ring } = await storedRing(folder);
  const changers = Array.from({ length: 5 }, async (_, changer) => {
    const store = createDirectoryStore(directory);
    for (let change = 0; change < 5; change++) await withMarker(store, `changer-${changer}-${change}`);
  });
  await Promise.all(changers);

  const stored = await createDirectoryStore(directory).load();
  expect(new Set(stored.ring.withdrawn)).toEqual(new Set(markers(5, 5)));
  expect(stored.ring.keys.map(({ key }) => key.publicJwk)).toEqual(ring.keys.map(({ key }) => key.publicJwk));
  expect(namesIn(directory)).toEqual([`ring.${stored.version}.json`]);
});

test("no change is lost where 8 processes make 12 each", async () => {
  using folder = temporaryFolder();
  const { directory, ring } = await storedRing(folder);
  const program = await bundleProgram(ADD_MARKERS, folder.path);
  const ended = Array.from({ length: 8 }, async (_, changer) => {
    const child = spawn(process.execPath, [program, directory, `changer-${changer}`, "12"]);
    let output = "";
    child.stderr.on("data", (data) => {
      output += data;
    });
    const [code] = await once(child, "close");
    return { code, output };
  });
  expect(await Promise.all(ended)).toEqual(Array(8).fill({ code: 0, output: "" }));

  const stored = await createDirectoryStore(directory).load();
  expect(new Set(stored.ring.withdrawn)).toEqual(new Set(markers(8, 12)));
  const [before, after] = [ring.keys[0], stored.ring.keys[0]];
  expect(after?.key.publicJwk).toEqual(before?.key.publicJwk);
  expect(after?.longestLifetimeSeconds).toBe(
    Number(before?.longestLifetimeSeconds) + stored.ring.withdrawn.length,
  );
  expect(stored.version).toBe(1 + stored.ring.withdrawn.length);
  expect(namesIn(directory)).toEqual([`ring.${stored.version}.json`]);
});

test("a ring can be read at any time while it changes", async () => {
  using folder = temporaryFolder();
  const { directory } = await storedRing(folder);
  let isChanging = true;
  const changes = (async () => {
    for (let change = 0; change < 100; change++)
      await withMarker(createDirectoryStore(directory), `m-${change}`);
    isChanging = false;
  })();
  const reader = createDirectoryStore(directory);
  let last = await reader.load();
  while (isChanging) {
    const next = await reader.load();
    expect(next.version).toBeGreaterThanOrEqual(last.version);
    expect(next.ring.withdrawn.slice(0, last.ring.withdrawn.length)).toEqual(last.ring.withdrawn);
    last = next;
  }
  await changes;
  expect((await reader.load()).ring.withdrawn).toHaveLength(100);
});

test("one key is made where several issuers start at once", async () => {
  using folder = temporaryFolder();
  const keys = { directory: join(folder.path, "keys") };
  const issuers = await Promise.all(
    Array.from({ length: 16 }, () => createIssuer({ url: "https://issuer.example", keys })),
  );
  const kids = issuers.flatMap((issuer) => issuer.jwks().keys.map(({ kid }) => kid));
  expect(kids).toEqual(Array(16).fill(kids[0]));
  expect(namesIn(keys.directory)).toEqual(["ring.1.json"]);
  await Promise.all(issuers.map((issuer) => issuer.close()));
});

test("one key is made where several processes start at once", async () => {
  using folder = temporaryFolder();
  writeFileSync(join(folder.path, "sidecar.yaml"), "upstream: http://127.0.0.1:9\n");
  const minted = await Promise.all(
    Array.from({ length: 4 }, () => runCommand(["mint"], { cwd: folder.path })),
  );
  expect(minted.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
    Array(4).fill({ code: 0, stderr: "" }),
  );
  expect(new Set(minted.map(({ stdout }) => decodeProtectedHeader(stdout.trim()).kid)).size).toBe(1);
  expect(namesIn(join(folder.path, "keys"))).toEqual(["ring.1.json"]);
});
