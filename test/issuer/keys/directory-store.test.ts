import { existsSync, readFileSync, rmSync, utimesSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createLocalJWKSet, jwtVerify } from "jose";
import { describe, expect, test, vi } from "vitest";
import { createIssuer } from "../../../src/index.ts";
import { createDirectoryStore } from "../../../src/issuer/keys/directory-store.ts";
import { readKeys } from "../../../src/issuer/keys/key-source.ts";
import { changeRing } from "../../../src/issuer/keys/managed-keys.ts";
import { EMPTY_RING } from "../../../src/issuer/keys/ring.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { keyDirectory, modeOf, namesIn, ringNamed, snapshotOf, storedRing } from "./key-directory.ts";
import {
  errorOf,
  everythingIn,
  kidsOf,
  NOW,
  needFor,
  pemOf,
  privateKeyFor,
  refusalOf,
  ringKey,
  secretsOf,
  signingKey,
} from "./key-material.ts";

const open = (directory: string) => createIssuer({ url: "https://issuer.example", keys: { directory } });

describe("a key directory", () => {
  test("is made with its ring on first start, closed to other users", async () => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "deep", "keys");
    const issuer = await open(directory);
    await issuer.close();

    expect(namesIn(directory)).toEqual(["ring.1.json"]);
    expect([modeOf(join(folder.path, "deep")), modeOf(directory)]).toEqual(["700", "700"]);
    expect(modeOf(join(directory, "ring.1.json"))).toBe("600");
    const { keys, ...rest } = JSON.parse(readFileSync(join(directory, "ring.1.json"), "utf8"));
    expect(rest).toEqual({ format: 1, withdrawn: [], saves: [expect.any(String)] });
    expect(keys).toEqual([
      {
        kid: issuer.jwks().keys[0]?.kid,
        purpose: "token",
        algorithm: "EdDSA",
        createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        activatesAt: keys[0].createdAt,
        retiresAt: null,
        longestLifetimeSeconds: 3600,
        privateKey: expect.stringMatching(/^-----BEGIN PRIVATE KEY-----\n/),
      },
    ]);
  });

  test("gives the same key after a restart, and old tokens go on verifying", async () => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "keys");
    const before = await open(directory);
    const token = await before.signJwt({ subject: "me" });
    await before.close();
    const snapshot = snapshotOf(directory);

    const after = await open(directory);
    await jwtVerify(token, createLocalJWKSet(JSON.parse(JSON.stringify(after.jwks()))));
    await after.close();
    expect(after.jwks()).toEqual(before.jwks());
    expect(snapshotOf(directory)).toEqual(snapshot);
  });

  test("is not made by reading it", async () => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "keys");
    expect(await createDirectoryStore(directory).load()).toEqual({ ring: EMPTY_RING, version: 0 });
    const source = {
      kind: "directory",
      directory,
      passphrase: undefined,
      rotation: { everySeconds: undefined, overlapSeconds: 0 },
    } as const;
    const { set } = await readKeys(source, { needs: [needFor()], env: {}, now: () => NOW });
    expect(set.published).toEqual([]);
    expect(existsSync(directory)).toBe(false);
  });

  test("gives back what was put in", async () => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "keys");
    const ring = {
      keys: [
        ringKey(await signingKey("EdDSA"), { retiresAt: NOW + 1 }),
        ringKey(await signingKey("EdDSA"), { activatesAt: NOW + 1, longestLifetimeSeconds: 7 }),
        ringKey(await signingKey("ES512"), { activatesAt: undefined, purpose: "identity" }),
        ringKey(await signingKey("PS384"), { createdAt: 0 }),
      ],
      withdrawn: ["a", "b"],
    };
    expect(await createDirectoryStore(directory).save(ring, 0)).toBe(1);

    const loaded = await createDirectoryStore(directory).load();
    const withoutHandles = ({ keys, withdrawn }: typeof loaded.ring) => ({
      keys: keys.map(({ key: { privateKey, ...key }, ...entry }) => ({
        ...entry,
        key,
        pem: pemOf(privateKey),
      })),
      withdrawn,
    });
    expect(loaded.version).toBe(1);
    expect(withoutHandles(loaded.ring)).toEqual(withoutHandles(ring));
  });

  test("keeps the newest version alone", async () => {
    using folder = temporaryFolder();
    const store = createDirectoryStore(join(folder.path, "keys"));
    for (const version of [0, 1, 2]) {
      expect(await store.save(ringNamed(`after ${version}`), version)).toBe(version + 1);
      expect(namesIn(store.name)).toEqual([`ring.${version + 1}.json`]);
      expect(modeOf(join(store.name, `ring.${version + 1}.json`))).toBe("600");
    }
    expect(await store.load()).toEqual({ ring: ringNamed("after 2"), version: 3 });
  });

  test("with several versions in it counts by number, and the next change removes the older ones", async () => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder, {
      "ring.9.json": "torn",
      "ring.10.json": JSON.stringify({ format: 1, keys: [], withdrawn: ["ten"], saves: [] }),
    });
    const store = createDirectoryStore(directory);
    expect(await store.load()).toEqual({ ring: ringNamed("ten"), version: 10 });
    expect(await store.save(ringNamed("eleven"), 10)).toBe(11);
    expect(namesIn(directory)).toEqual(["ring.11.json"]);
  });

  test("tells of nothing while a ring is written aside: a save that fails must not call for the next", async () => {
    using folder = temporaryFolder();
    const { directory } = await storedRing(folder);
    const seen: (string | null)[] = [];
    const witness = watch(directory, (_event, name) => seen.push(name));
    let told = 0;
    const watching = createDirectoryStore(directory).watch(() => told++);
    const temporary = join(directory, ".ring.00000000-0000-4000-8000-000000000000.tmp");
    writeFileSync(temporary, "half");
    rmSync(temporary);
    await vi.waitFor(() => expect(seen.length).toBeGreaterThan(1));
    expect(told).toBe(0);
    watching.close();
    witness.close();
  });

  test("encrypts what was stored before there was a passphrase, the next time that anything is done", async () => {
    using folder = temporaryFolder();
    const { directory, ring } = await storedRing(folder);
    const store = createDirectoryStore(directory, "open sesame");
    await changeRing(store, (stored) => stored);
    const [name = ""] = namesIn(directory);
    expect(name).toBe("ring.2.json");
    expect(readFileSync(join(directory, name), "utf8")).not.toContain("BEGIN PRIVATE KEY");
    expect(kidsOf((await store.load()).ring)).toEqual(kidsOf(ring));
    await changeRing(store, (stored) => stored);
    expect(namesIn(directory)).toEqual(["ring.2.json"]);
  });

  test("tells of a change", async () => {
    using folder = temporaryFolder();
    const { directory } = await storedRing(folder);
    const store = createDirectoryStore(directory);
    const changed = Promise.withResolvers<void>();
    const watch = store.watch(changed.resolve);
    await createDirectoryStore(directory).save(ringNamed("new"), 1);
    await changed.promise;
    watch.close();
    expect(await store.load()).toEqual({ ring: ringNamed("new"), version: 2 });
  });

  test("loses what a killed process has left after a minute, but nothing that may be in use", async () => {
    using folder = temporaryFolder();
    const name = (digit: string) => `.ring.${digit.repeat(8)}-0000-4000-8000-000000000000.tmp`;
    const directory = keyDirectory(folder, {
      [name("1")]: "older than a minute",
      [name("2")]: "younger than a minute",
      ".mine.tmp": "somebody else's",
    });
    const aged = (file: string, seconds: number) => {
      const then = Date.now() / 1000 - seconds;
      utimesSync(join(directory, file), then, then);
    };
    aged(name("1"), 61);
    aged(name("2"), 50);
    aged(".mine.tmp", 3600);
    const store = createDirectoryStore(directory);

    await store.load();
    expect(namesIn(directory)).toEqual([".mine.tmp", name("1"), name("2")]);
    await store.save(ringNamed("new"), 0);
    expect(namesIn(directory)).toEqual([".mine.tmp", name("2"), "ring.1.json"]);
  });
});

describe("beside the ring", () => {
  test.each(["EdDSA.pem", "my.key", "mine.JWK", "ring.json", "ring.01x.json", "old.p12", "a.p8", "b.der"])(
    "the stray key file %s is refused by name, and nothing is made or changed",
    async (name) => {
      using folder = temporaryFolder();
      const directory = keyDirectory(folder, { [name]: "a key, perhaps" });
      const snapshot = snapshotOf(directory);
      const message = `${join(directory, name)}: this file is not part of the key ring in its directory; move it away, and import it where its key is to be used: countersign keys import FILE`;
      expect(await refusalOf(createDirectoryStore(directory).load())).toBe(message);
      expect(await refusalOf(open(directory))).toBe(message);
      expect(snapshotOf(directory)).toEqual(snapshot);
    },
  );

  test("other files make no difference, and stay", async () => {
    using folder = temporaryFolder();
    const { directory, ring } = await storedRing(folder);
    for (const name of ["README", "notes.txt", "..data", ".gitkeep", "ring.txt"])
      writeFileSync(join(directory, name), "mine");
    const store = createDirectoryStore(directory);
    expect(kidsOf((await store.load()).ring)).toEqual(kidsOf(ring));
    await store.save(EMPTY_RING, 1);
    expect(namesIn(directory)).toEqual([
      "..data",
      ".gitkeep",
      "README",
      "notes.txt",
      "ring.2.json",
      "ring.txt",
    ]);
  });
});

describe("with a passphrase", () => {
  const PASSPHRASE = "correct horse battery staple";

  test("the file holds encrypted keys alone, and opens again", async () => {
    using folder = temporaryFolder();
    const { directory, file, ring } = await storedRing(folder, PASSPHRASE);
    const text = readFileSync(file, "utf8");
    expect(text.match(/-----BEGIN [A-Z ]+-----/g)).toEqual(["-----BEGIN ENCRYPTED PRIVATE KEY-----"]);
    const [entry] = ring.keys;
    for (const secret of [...secretsOf(pemOf(entry?.key.privateKey ?? privateKeyFor("EdDSA"))), PASSPHRASE])
      expect(text).not.toContain(secret);

    const store = createDirectoryStore(directory, PASSPHRASE);
    expect(kidsOf((await store.load()).ring)).toEqual(kidsOf(ring));
    const added = ringKey(await signingKey("RS256"));
    await changeRing(store, (stored) => ({ ...stored, keys: [...stored.keys, added] }));
    expect(readFileSync(join(directory, "ring.2.json"), "utf8").match(/-----BEGIN [A-Z ]+-----/g)).toEqual(
      Array(2).fill("-----BEGIN ENCRYPTED PRIVATE KEY-----"),
    );
  });

  test.each([
    ["without it", undefined, "this key is encrypted, and no passphrase is given for it"],
    ["with another one", "open sesame", "the passphrase does not open this key, or the PEM is truncated"],
  ])("%s the ring is refused, and stays as it is", async (_how, passphrase, problem) => {
    using folder = temporaryFolder();
    const { directory, file, ring } = await storedRing(folder, PASSPHRASE);
    const snapshot = snapshotOf(directory);
    const message = `${file}, key ${kidsOf(ring)[0]}: ${problem}`;

    const error = await errorOf(createDirectoryStore(directory, passphrase).load());
    expect(error.message).toBe(message);
    for (const secret of [PASSPHRASE, "open sesame"]) expect(everythingIn(error)).not.toContain(secret);
    const keys = { directory, ...(passphrase !== undefined && { passphrase }) };
    expect(await refusalOf(createIssuer({ url: "https://issuer.example", keys }))).toBe(message);
    expect(snapshotOf(directory)).toEqual(snapshot);
  });

  test("a ring that was not encrypted is, from the next change on", async () => {
    using folder = temporaryFolder();
    const { directory, ring } = await storedRing(folder);
    const store = createDirectoryStore(directory, PASSPHRASE);
    await changeRing(store, (stored) => ({ ...stored, withdrawn: ["a"] }));
    expect(kidsOf((await store.load()).ring)).toEqual(kidsOf(ring));
    expect(readFileSync(join(directory, "ring.2.json"), "utf8")).not.toContain("BEGIN PRIVATE KEY");
    expect(namesIn(directory)).toEqual(["ring.2.json"]);
  });
});

test("a ring that did not change is not written", async () => {
  using folder = temporaryFolder();
  const { directory } = await storedRing(folder);
  const snapshot = snapshotOf(directory);
  await changeRing(createDirectoryStore(directory), (ring) => ring);
  expect(snapshotOf(directory)).toEqual(snapshot);
});
