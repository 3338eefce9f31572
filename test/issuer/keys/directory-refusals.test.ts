import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { createIssuer } from "../../../src/index.ts";
import { createDirectoryStore } from "../../../src/issuer/keys/directory-store.ts";
import {
  checkAccess,
  MOUNTED_FILE,
  OWN_DIRECTORY,
  OWN_FILE,
  readKeyFile,
} from "../../../src/issuer/keys/key-file.ts";
import { EMPTY_RING } from "../../../src/issuer/keys/ring.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { keyDirectory, modeOf, namesIn, snapshotOf, storedRing } from "./key-directory.ts";
import { errorOf, everythingIn, kidsOf, pemOf, privateKeyFor, refusalOf, secretsOf } from "./key-material.ts";

const RESTORE =
  "restore it from a backup, or move it away to begin a new ring, whose tokens verifiers refuse until they fetch the new keys";
const TORN = `this key ring is truncated or is not JSON; ${RESTORE}`;
const FOREIGN = (place: string) => `this is not a key ring that Countersign wrote (see ${place}); ${RESTORE}`;

/** The ring is refused with this message by whoever reads it, and everything in the directory stays as it was. */
async function expectRefusal(directory: string, message: string): Promise<void> {
  const before = snapshotOf(directory);
  expect(await refusalOf(createDirectoryStore(directory).load())).toBe(message);
  expect(await refusalOf(createIssuer({ url: "https://issuer.example", keys: { directory } }))).toBe(message);
  expect(snapshotOf(directory)).toEqual(before);
}

test("a ring that is truncated at any byte is refused, never replaced", async () => {
  using folder = temporaryFolder();
  const { directory, file } = await storedRing(folder);
  const text = readFileSync(file, "utf8");
  // The last byte is the line end, which JSON can do without.
  for (let length = 0; length < text.length - 1; length++) {
    writeFileSync(file, text.slice(0, length));
    await expectRefusal(directory, `${file}: ${length === 0 ? `empty; ${RESTORE}` : TORN}`);
  }
});

describe("a ring with other content is refused, and stays as it is:", () => {
  const rsa1024 = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey;
  const another = privateKeyFor("EdDSA");
  const publicPem = generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "pem" });

  /** What the file of a good ring holds. */
  interface RingFile {
    format: unknown;
    keys: Record<string, unknown>[];
    withdrawn?: unknown;
  }

  test.each<[string, (ring: RingFile, text: string) => unknown, string]>([
    ["spaces", () => " \n", `empty; ${RESTORE}`],
    ["other words", () => "hello", TORN],
    ["binary garbage", () => Buffer.from([0, 255, 254, 10, 0]), TORN],
    ["two rings", (_ring, text) => text + text, TORN],
    ["a private key", () => pemOf(another), TORN],
    ["null", () => "null", FOREIGN("its top")],
    ["a list", () => "[]", FOREIGN("its top")],
    ["an empty object", () => ({}), FOREIGN("format")],
    ["an older format", (ring) => ({ ...ring, format: 0 }), FOREIGN("format")],
    ["a format that is no number", (ring) => ({ ...ring, format: "2" }), FOREIGN("format")],
    [
      "a newer format",
      (ring) => ({ ...ring, format: 2, more: {} }),
      "a newer version of Countersign wrote this key ring (format 2, and this one reads 1); run that version or a later one",
    ],
    ["an unknown member", (ring) => ({ ...ring, signed: true }), FOREIGN("its top")],
    ["no withdrawn kids", ({ withdrawn: _, ...ring }) => ring, FOREIGN("withdrawn")],
    ["keys that are no list", (ring) => ({ ...ring, keys: {} }), FOREIGN("keys")],
    ["a key that is null", (ring) => ({ ...ring, keys: [null] }), FOREIGN("keys.0")],
  ])("%s", async (_what, change, problem) => {
    using folder = temporaryFolder();
    const { directory, file } = await storedRing(folder);
    const text = readFileSync(file, "utf8");
    const content = change(JSON.parse(text), text);
    writeFileSync(
      file,
      typeof content === "string" || Buffer.isBuffer(content) ? content : JSON.stringify(content),
    );
    await expectRefusal(directory, `${file}: ${problem}`);
  });

  test.each([
    ["an unknown member", { note: "mine" }, "keys.0"],
    ["no kid", { kid: undefined }, "keys.0.kid"],
    ["an unknown purpose", { purpose: "session" }, "keys.0.purpose"],
    ["an unknown algorithm", { algorithm: "HS256" }, "keys.0.algorithm"],
    ["a time in another form", { createdAt: "2030-01-01" }, "keys.0.createdAt"],
    ["a time that is none", { activatesAt: "2030-13-01T00:00:00.000Z" }, "keys.0.activatesAt"],
    ["a time as a number", { retiresAt: 1 }, "keys.0.retiresAt"],
    ["a time that is lacking", { retiresAt: undefined }, "keys.0.retiresAt"],
    ["no lifetime", { longestLifetimeSeconds: 0 }, "keys.0.longestLifetimeSeconds"],
    ["half a second", { longestLifetimeSeconds: 1.5 }, "keys.0.longestLifetimeSeconds"],
  ])("a key with %s", async (_what, change, place) => {
    using folder = temporaryFolder();
    const { directory, file } = await storedRing(folder);
    const ring = JSON.parse(readFileSync(file, "utf8"));
    writeFileSync(file, JSON.stringify({ ...ring, keys: [{ ...ring.keys[0], ...change }] }));
    await expectRefusal(directory, `${file}: ${FOREIGN(place)}`);
  });

  test.each([
    [
      "a kid of another key",
      { kid: "mine" },
      /^the private key is another one \(its kid is [\w-]{43}\); restore it/,
    ],
    [
      "another private key",
      { privateKey: pemOf(another) },
      /^the private key is another one \(its kid is [\w-]{43}\); /,
    ],
    ["another algorithm", { algorithm: "RS256" }, /^RS256 needs an RSA key, and this is an Ed25519 key$/],
    [
      "1024 bits",
      { algorithm: "RS256", privateKey: pemOf(rsa1024) },
      /^an RSA key needs at least 2048 bits, and this one has 1024$/,
    ],
    [
      "a public key",
      { privateKey: publicPem },
      /^this is no private key, and a certificate or public key cannot sign$/,
    ],
    [
      "a private key that is cut",
      { privateKey: pemOf(another).slice(0, 60) },
      /^cannot be read as a private key in PEM; it may be truncated$/,
    ],
    [
      "a JWK in the place of its PEM",
      { privateKey: '{"kty":"OKP"}' },
      /^this is neither PEM nor a JWK; expected a private key in one of them$/,
    ],
  ])("a key with %s", async (_what, change, problem) => {
    using folder = temporaryFolder();
    const { directory, file, ring } = await storedRing(folder);
    const stored = JSON.parse(readFileSync(file, "utf8"));
    writeFileSync(file, JSON.stringify({ ...stored, keys: [{ ...stored.keys[0], ...change }] }));
    const before = snapshotOf(directory);

    const error = await errorOf(createDirectoryStore(directory).load());

    const kid = "kid" in change ? change.kid : kidsOf(ring)[0];
    const place = `${file}, key ${kid}: `;
    expect(error.message.slice(0, place.length)).toBe(place);
    expect(error.message.slice(place.length)).toMatch(problem);
    for (const secret of [...secretsOf(pemOf(another)), ...secretsOf(stored.keys[0].privateKey)])
      expect(everythingIn(error)).not.toContain(secret);
    expect(snapshotOf(directory)).toEqual(before);
  });
});

describe("what others can read or write is refused:", () => {
  test.each([0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o777])("a file with the mode %o", async (mode) => {
    using folder = temporaryFolder();
    const { directory, file } = await storedRing(folder);
    chmodSync(file, mode);
    await expectRefusal(
      directory,
      `${file}: this key file is open to other users (mode 0${mode.toString(8)}); close it: chmod 600 ${file}`,
    );
  });

  test.each([0o755, 0o750, 0o701, 0o770])("a directory with the mode %o, empty or not", async (mode) => {
    using folder = temporaryFolder();
    const { directory, file } = await storedRing(folder);
    chmodSync(directory, mode);
    const message = `${directory}: this key directory is open to other users (mode 0${mode.toString(8)}); close it: chmod 700 ${directory}`;
    await expectRefusal(directory, message);
    rmSync(file);
    await expectRefusal(directory, message);
    expect(await refusalOf(createDirectoryStore(directory).save(EMPTY_RING, 0))).toBe(message);
    expect([namesIn(directory), modeOf(directory)]).toEqual([[], mode.toString(8)]);
  });
});

describe("what somebody else owns is refused:", () => {
  afterEach(() => vi.restoreAllMocks());

  const SELF = process.getuid?.() ?? 0;
  const OTHER = 65_534;

  test("the directory", async () => {
    using folder = temporaryFolder();
    const { directory } = await storedRing(folder);
    // Whoever is not root cannot give a file away, but can be taken for somebody else.
    vi.spyOn(process, "getuid").mockReturnValue(OTHER);
    const message = `${directory}: this key directory belongs to uid ${SELF}, and Countersign runs as uid ${OTHER}; change one`;
    await expectRefusal(directory, message);
    expect(await refusalOf(createDirectoryStore(directory).save(EMPTY_RING, 1))).toBe(message);
  });

  test("the file", async () => {
    using folder = temporaryFolder();
    const { directory, file } = await storedRing(folder);
    if (SELF === 0) {
      chownSync(file, OTHER, OTHER);
      await expectRefusal(
        directory,
        `${file}: this key file belongs to uid ${OTHER}, and Countersign runs as uid 0; change one`,
      );
      chownSync(file, 0, 0);
    }
    vi.spyOn(process, "getuid").mockReturnValue(OTHER);
    const owner = lstatSync(file).uid;
    expect(await refusalOf(readKeyFile(file, OWN_FILE))).toBe(
      `${file}: this key file belongs to uid ${owner}, and Countersign runs as uid ${OTHER}; change one`,
    );
  });

  test("root's own, unless it is a file that was mounted", async () => {
    vi.spyOn(process, "getuid").mockReturnValue(1000);
    const refused = "k: this key file belongs to uid 0, and Countersign runs as uid 1000; change one";
    const stats = { mode: 0o100_600, uid: 0 };
    expect(await refusalOf(() => checkAccess("k", "file", stats, OWN_FILE))).toBe(refused);
    expect(await refusalOf(() => checkAccess("k", "directory", stats, OWN_DIRECTORY))).toBe(
      refused.replace("file", "directory"),
    );
    expect(checkAccess("k", "file", stats, MOUNTED_FILE)).toBeUndefined();
    expect(checkAccess("k", "file", { ...stats, uid: 1000 }, OWN_FILE)).toBeUndefined();
  });
});

describe("in the place of the ring's file", () => {
  test("a directory is refused", async () => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder);
    const file = join(directory, "ring.1.json");
    mkdirSync(file, { mode: 0o700 });
    await expectRefusal(directory, `${file}: this is not a file; expected a private key`);
  });

  // Opening a FIFO waits for a writer, in a thread that nothing can stop.
  test("a FIFO is refused", { timeout: 5000 }, async () => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder);
    const file = join(directory, "ring.1.json");
    execFileSync("mkfifo", ["-m", "600", file]);
    await expectRefusal(directory, `${file}: this is not a file; expected a private key`);
  });

  test("a link that leads nowhere is refused, and a ring that is saved does not take its place", async () => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder);
    const file = join(directory, "ring.1.json");
    symlinkSync(join(folder.path, "none.json"), file);
    await expectRefusal(
      directory,
      `${file}: this key file cannot be read: ENOENT: no such file or directory, open '${file}'`,
    );
    expect(await createDirectoryStore(directory).save(EMPTY_RING, 0)).toBeUndefined();
    expect([namesIn(directory), namesIn(folder.path)]).toEqual([["ring.1.json"], ["keys"]]);
  });
});

test("a file in the place of the directory is refused, and stays", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "keys");
  writeFileSync(path, "mine");
  const store = createDirectoryStore(path);
  expect(await refusalOf(store.load())).toBe(
    `${path}: the key directory cannot be read: ENOTDIR: not a directory, scandir '${path}'`,
  );
  expect(await refusalOf(store.save(EMPTY_RING, 0))).toBe(
    `${path}: the key ring cannot be written: EEXIST: file already exists, mkdir '${path}'`,
  );
  expect(readFileSync(path, "utf8")).toBe("mine");
});
