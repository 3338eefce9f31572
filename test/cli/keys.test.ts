import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { calculateJwkThumbprint, type JWK } from "jose";
import { afterEach, describe, expect, test, vi } from "vitest";
import { runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { storedRingIn } from "../support/stored-ring.ts";
import { runHere } from "./in-process.ts";

const HINT = "(--help shows how it is used)\n";
const UPSTREAM = "upstream: http://127.0.0.1:9\n";
const IDENTITY = "identity: {account: a, algorithm: ES256}\nadmin: false\n";

/** A folder with a configuration, in which commands are run. */
interface Place extends Disposable {
  readonly path: string;
  /** Runs `countersign keys …`. */
  keys(...arguments_: string[]): ReturnType<typeof runHere>;
  /** The same, with what is printed where nothing is wrong. */
  done(...arguments_: string[]): Promise<string>;
  /** The same, with what is said where something is: exit code 1, or 2 where the usage is wrong. */
  refused(...arguments_: string[]): Promise<string>;
  /** `keys list --json` */
  list(): Promise<Record<string, string | null>[]>;
  write(name: string, content: string): void;
  /** The newest ring, as it is stored. */
  ring(): { keys: Record<string, string | number | null>[]; withdrawn: string[] };
}

const env = { PASSPHRASE: "open sesame", EMPTY: "" };

function placeWith(yaml = ""): Place {
  const folder = temporaryFolder();
  const write = (name: string, content: string) =>
    writeFileSync(join(folder.path, name), content, { mode: 0o600 });
  write("sidecar.yaml", UPSTREAM + yaml);
  const keys = (...arguments_: string[]) => runHere(["keys", ...arguments_], { cwd: folder.path, env });
  return {
    path: folder.path,
    write,
    keys,
    async done(...arguments_) {
      const { code, stdout, stderr } = await keys(...arguments_);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      return stdout;
    },
    async refused(...arguments_) {
      const { code, stdout, stderr } = await keys(...arguments_);
      expect(stdout).toBe("");
      expect(code).toBe(stderr.endsWith(HINT) ? 2 : 1);
      expect(stderr).toMatch(/^countersign: /);
      return stderr.replace(HINT, "").slice("countersign: ".length).trimEnd();
    },
    async list() {
      const { stdout } = await keys("list", "--json");
      return JSON.parse(stdout);
    },
    ring: () => storedRingIn(join(folder.path, "keys")),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

const pem = (key: KeyObject, passphrase?: string) =>
  key.export({
    type: "pkcs8",
    format: "pem",
    ...(passphrase !== undefined && { cipher: "aes-256-cbc", passphrase }),
  }) as string;
const ed25519 = () => generateKeyPairSync("ed25519").privateKey;
const ec = (namedCurve = "P-256") => generateKeyPairSync("ec", { namedCurve }).privateKey;
const RSA = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
const kidOf = (key: KeyObject) => calculateJwkThumbprint(key.export({ format: "jwk" }) as JWK);

/** A key whose kid begins as the pattern says: one in 64 for one character. */
async function keyWithKid(pattern: RegExp): Promise<{ key: KeyObject; kid: string }> {
  for (;;) {
    const key = ed25519();
    const kid = await kidOf(key);
    if (pattern.test(kid)) return { key, kid };
  }
}

afterEach(() => {
  vi.useRealTimers();
});

/** Lets the clock of commands in this process show a later time. */
function later(seconds: number): void {
  vi.setSystemTime(Date.now() + seconds * 1000);
}

/** What a sidecar does at its tick: it gives the keys that wait the time from which they sign. */
function letSidecarPublish(place: Place): void {
  const { keys, withdrawn, ...rest } = place.ring();
  const signsFrom = new Date(Date.now() + 100_860_000).toISOString();
  const timed = keys.map((key) => {
    const waits = key.activatesAt === null;
    const hasSuccessor = keys.some(
      (other) => other.activatesAt === null && other.algorithm === key.algorithm,
    );
    return waits ? { ...key, activatesAt: signsFrom } : hasSuccessor ? { ...key, retiresAt: signsFrom } : key;
  });
  place.write("keys/ring.9000.json", JSON.stringify({ ...rest, keys: timed, withdrawn }));
}

describe("list", () => {
  test("of a directory without keys says how they come to be", async () => {
    using place = placeWith();
    expect(await place.done("list")).toBe(
      "there are no keys yet; the first start makes them, or: countersign keys generate\n",
    );
    expect(await place.list()).toEqual([]);
    expect(existsSync(join(place.path, "keys"))).toBe(false);
  });

  test("shows a key that signs, with its age and what comes next", async () => {
    using place = placeWith();
    await place.done("generate");
    later(3 * 86_400);
    const [key] = place.ring().keys;
    const stdout = await place.done("list");
    expect(stdout.split("\n").map((line) => line.split(/ {2,}/))).toEqual([
      ["kid", "algorithm", "purpose", "state", "age", "next"],
      [key?.kid, "EdDSA", "token", "active", "3 days", "its successor is made in 26 days"],
      [""],
    ]);
    expect(await place.list()).toEqual([
      {
        ...{ kid: key?.kid, algorithm: "EdDSA", purpose: "token", state: "active" },
        ...{ createdAt: key?.createdAt, activatesAt: key?.createdAt, retiresAt: null, goneAt: null },
        ...{ age: "3 days", next: "its successor is made in 26 days" },
      },
    ]);
  });

  test("shows each step of a rotation, those that sign first", async () => {
    using place = placeWith();
    await place.done("generate");
    await place.done("rotate");
    const [old, successor] = place.ring().keys.map(({ kid }) => kid);
    const states = async () => (await place.list()).map(({ kid, state, next }) => [kid, state, next]);

    expect(await states()).toEqual([
      [old, "active", "its successor is made in 29 days"],
      [successor, "pending", "signs when a sidecar has published it for long enough"],
    ]);

    letSidecarPublish(place);
    expect(await states()).toEqual([
      [old, "active", "retires in 28 hours"],
      [successor, "pending", "signs in 28 hours"],
    ]);

    later(100_860);
    expect(await states()).toEqual([
      [successor, "active", "its successor is made in 29 days"],
      // An hour, which tokens live, and two hours and five minutes for clocks.
      [old, "retiring", "gone in 3 hours"],
    ]);
    const [, retiring] = await place.list();
    expect(Date.parse(retiring?.goneAt ?? "") - Date.parse(retiring?.retiresAt ?? "")).toBe(11_100_000);

    later(11_100);
    expect((await states())[1]).toEqual([old, "gone", "is removed by the sidecar"]);
  });

  test("says of a key that nothing is signed with that it is not used", async () => {
    using place = placeWith();
    await place.done("generate", "--algorithm", "ES256");
    expect((await place.list()).map(({ algorithm, next }) => [algorithm, next])).toEqual([
      ["ES256", "not used by the configuration"],
    ]);
  });

  test("says of keys that are never rotated that this is done by hand", async () => {
    using place = placeWith("issuer: {keys: {rotateEvery: never}}\n");
    await place.done("generate");
    expect((await place.list())[0]?.next).toBe("rotated by hand");
  });

  test("shows the keys of files in their order", async () => {
    using place = placeWith("issuer: {keys: {files: [a.pem, b.pem, c.pem]}}\ntoken: {algorithm: ES256}\n");
    const keys = [ed25519(), ed25519(), ec()];
    for (const [index, key] of keys.entries()) place.write(`${"abc"[index]}.pem`, pem(key));
    const kids = await Promise.all(keys.map(kidOf));
    const rest = {
      purpose: null,
      createdAt: null,
      activatesAt: null,
      retiresAt: null,
      goneAt: null,
      age: "",
    };
    const next = "rotated by whoever keeps it";
    expect(await place.list()).toEqual([
      { kid: kids[0], algorithm: "EdDSA", state: "active", ...rest, next },
      { kid: kids[1], algorithm: "EdDSA", state: "published", ...rest, next },
      { kid: kids[2], algorithm: "ES256", state: "active", ...rest, next },
    ]);
    expect(await place.done("list")).toMatch(/^kid +algorithm +purpose +state +age +next\n/);
  });

  test("shows that a key of a file does not sign where the configuration needs none of its algorithm", async () => {
    using place = placeWith("issuer: {keys: {files: [a.pem, b.pem]}}\n");
    place.write("a.pem", pem(ed25519()));
    place.write("b.pem", pem(ec()));
    expect((await place.list()).map(({ algorithm, state }) => [algorithm, state])).toEqual([
      ["EdDSA", "active"],
      ["ES256", "published"],
    ]);
  });

  test("shows the key of a variable, also an encrypted one", async () => {
    using place = placeWith("issuer: {keys: {env: KEY, passphrase: $env(PASSPHRASE)}}\n");
    const key = ed25519();
    const { code, stdout } = await runHere(["keys", "list", "--json"], {
      cwd: place.path,
      env: { ...env, KEY: pem(key, "open sesame") },
    });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject([{ kid: await kidOf(key), state: "active" }]);
  });

  test("of keys in memory is refused: they are not here", async () => {
    using place = placeWith("issuer: {keys: {ephemeral: true}}\n");
    const { code, stderr } = await place.keys("list");
    expect(code).toBe(1);
    expect(stderr).toMatch(/^warning: sidecar\.yaml:2:28 issuer\.keys\.ephemeral: /);
    expect(stderr).toMatch(
      /\ncountersign: issuer\.keys: these keys are in the memory of the sidecar; this command is for issuer\.keys\.directory and issuer\.keys\.redis\n$/,
    );
  });

  test("of a directory that others can read is refused", async () => {
    using place = placeWith();
    mkdirSync(join(place.path, "keys"), { mode: 0o755 });
    expect(await place.refused("list")).toBe(
      `${place.path}/keys: this key directory is open to other users (mode 0755); close it: chmod 700 ${place.path}/keys`,
    );
  });
});

describe("generate", () => {
  test("makes the keys that the configuration needs and the directory lacks", async () => {
    using place = placeWith(`policies: [{name: a, token: {algorithm: ES384}}]\n${IDENTITY}`);
    const stdout = await place.done("generate");
    const made = place.ring().keys;
    expect(made.map(({ algorithm, purpose }) => [algorithm, purpose])).toEqual([
      ["EdDSA", "token"],
      ["ES384", "token"],
      ["ES256", "identity"],
    ]);
    expect(stdout).toBe(
      made.map(({ algorithm, kid }) => `${algorithm} key ${kid} is made, and signs from now on\n`).join(""),
    );
    expect(await place.done("generate")).toBe("every key that is needed is there\n");
    expect(place.ring().keys).toEqual(made);
    expect((statSync(join(place.path, "keys")).mode & 0o777).toString(8)).toBe("700");
  });

  test("--algorithm makes one that nothing needs yet, and none of the others", async () => {
    using place = placeWith();
    expect(await place.done("generate", "--algorithm", "ES512")).toMatch(
      /^ES512 key [\w-]{43} is made, and published for a configuration to come\n$/,
    );
    expect(place.ring().keys.map(({ algorithm }) => algorithm)).toEqual(["ES512"]);
    expect(await place.done("generate", "--algorithm", "ES512")).toBe("every key that is needed is there\n");
  });

  test("encrypts the directory with issuer.keys.passphrase", async () => {
    using place = placeWith("issuer: {keys: {passphrase: $env(PASSPHRASE)}}\n");
    await place.done("generate");
    expect(place.ring().keys[0]?.privateKey).toMatch(/^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
    expect((await place.list())[0]?.state).toBe("active");
  });

  test("--output writes a private key for its owner alone, and needs no configuration", async () => {
    using folder = temporaryFolder();
    const { code, stdout, stderr } = await runHere(["keys", "generate", "--output", "my.pem"], {
      cwd: folder.path,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const file = join(folder.path, "my.pem");
    expect(stdout).toMatch(/^EdDSA key [\w-]{43} is in my\.pem\n$/);
    expect(readFileSync(file, "utf8")).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
    expect((statSync(file).mode & 0o777).toString(8)).toBe("600");
    expect(readdirSync(folder.path)).toEqual(["my.pem"]);
  });

  test("--output never overwrites a file", async () => {
    using place = placeWith();
    place.write("my.pem", "precious");
    expect(await place.refused("generate", "--output", "my.pem")).toBe(
      "my.pem: this file exists, and a key is never overwritten",
    );
    expect(readFileSync(join(place.path, "my.pem"), "utf8")).toBe("precious");
  });

  test("--output into a folder that does not exist is refused", async () => {
    using place = placeWith();
    expect(await place.refused("generate", "--output", "none/my.pem")).toMatch(
      /^none\/my\.pem: it cannot be written: ENOENT: no such file or directory/,
    );
  });

  test("--passphrase-env encrypts what --output writes, so that it can be imported", async () => {
    using place = placeWith();
    const made = await place.done(
      ...["generate", "--output", "my.pem", "--algorithm", "ES256", "--passphrase-env", "PASSPHRASE"],
    );
    expect(readFileSync(join(place.path, "my.pem"), "utf8")).toMatch(
      /^-----BEGIN ENCRYPTED PRIVATE KEY-----/,
    );
    const kid = /key (\S+) is in/.exec(made)?.[1];
    expect(
      await place.done("import", "my.pem", "--algorithm", "ES256", "--passphrase-env", "PASSPHRASE"),
    ).toBe(`ES256 key ${kid} is made, and signs from now on\n`);
  });

  test.each([
    [
      ["--passphrase-env", "PASSPHRASE"],
      "--passphrase-env: only with --output; the directory has issuer.keys.passphrase",
    ],
    [
      ["--output", "my.pem", "--passphrase-env", "COUNTERSIGN_TEST_NOT_SET"],
      "--passphrase-env: the environment variable COUNTERSIGN_TEST_NOT_SET is not set",
    ],
    [
      ["--output", "my.pem", "--passphrase-env", "EMPTY"],
      "--passphrase-env: the environment variable EMPTY is empty",
    ],
    [
      ["--algorithm", "HS256"],
      "option '--algorithm <alg>' argument 'HS256' is invalid. Allowed choices are EdDSA, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512.",
    ],
  ])("%j is wrong usage", async (arguments_, message) => {
    using place = placeWith();
    expect(await place.refused("generate", ...arguments_)).toBe(message);
    expect(readdirSync(place.path)).toEqual(["sidecar.yaml"]);
  });
});

describe("rotate", () => {
  test("makes a successor, which waits, and says when it signs", async () => {
    using place = placeWith("issuer: {keys: {overlap: 1h}}\n");
    await place.done("generate");
    const stdout = await place.done("rotate");
    const [old, successor] = place.ring().keys;
    expect(stdout).toBe(
      `EdDSA key ${successor?.kid} is made. It signs 61 minutes after a sidecar has published it; until then key ${old?.kid} goes on\n`,
    );
    expect(successor).toMatchObject({ activatesAt: null, retiresAt: null });
  });

  test("in a directory without keys makes the first, which signs at once", async () => {
    using place = placeWith();
    expect(await place.done("rotate")).toMatch(/^EdDSA key [\w-]{43} is made, and signs from now on\n$/);
  });

  test("waits for a rotation that is under way", async () => {
    using place = placeWith();
    await place.done("generate");
    await place.done("rotate");
    const kid = place.ring().keys[1]?.kid;
    expect(await place.refused("rotate")).toBe(
      `${place.path}/keys: a rotation of EdDSA is under way: key ${kid} is going to sign. Wait for it, or take it out: countersign keys retire ${kid}`,
    );
    expect(place.ring().keys).toHaveLength(2);
  });

  describe("of several keys", () => {
    const SEVERAL = `policies: [{name: a, token: {algorithm: ES256}}]\n${IDENTITY}`;

    test.each([
      [[], ["EdDSA token", "ES256 token", "ES256 identity"]],
      [["--algorithm", "EdDSA"], ["EdDSA token"]],
      [
        ["--algorithm", "ES256"],
        ["ES256 token", "ES256 identity"],
      ],
      [["--identity"], ["ES256 identity"]],
      [["--identity", "--algorithm", "ES256"], ["ES256 identity"]],
    ])("%j rotates %j", async (arguments_, rotated) => {
      using place = placeWith(SEVERAL);
      await place.done("generate");
      await place.done("rotate", ...arguments_);
      const waiting = place.ring().keys.filter(({ activatesAt }) => activatesAt === null);
      expect(waiting.map(({ algorithm, purpose }) => `${algorithm} ${purpose}`)).toEqual(rotated);
    });

    test("one that waits already leaves the others alone too", async () => {
      using place = placeWith(SEVERAL);
      await place.done("generate");
      await place.done("rotate", "--identity");
      expect(await place.refused("rotate")).toMatch(/a rotation of ES256 is under way/);
      expect(place.ring().keys).toHaveLength(4);
    });
  });

  test("--emergency withdraws every key of the algorithm at once, and says what follows", async () => {
    using place = placeWith("issuer: {jwksMaxAge: 10m}\n");
    await place.done("generate");
    await place.done("rotate");
    const kids = place.ring().keys.map(({ kid }) => kid);
    const { code, stdout, stderr } = await place.keys("rotate", "--emergency");
    const after = place.ring();
    const [made] = after.keys;

    expect(code).toBe(0);
    expect(stdout).toBe(
      [
        ...kids.map(
          (kid) =>
            `key ${kid} is withdrawn: what it signed is refused wherever the JWK Set is fetched from now on`,
        ),
        `EdDSA key ${made?.kid} signs from now on\n`,
      ].join("\n"),
    );
    expect(stderr).toMatch(
      /at the first unknown kid where it is well behaved, else after at most 10 minutes/,
    );
    expect(stderr).toMatch(
      /Find out how the key got\nout before you rely on the new one: it lies in the same place\.\n$/,
    );
    expect(after.keys).toHaveLength(1);
    expect(after.withdrawn).toEqual(kids);
    expect(made?.activatesAt).toBe(made?.createdAt);
  });

  test("--emergency --identity leaves the keys of requests alone", async () => {
    using place = placeWith(IDENTITY);
    await place.done("generate");
    const [token, identity] = place.ring().keys;
    await place.keys("rotate", "--emergency", "--identity");
    expect(place.ring()).toMatchObject({ keys: [{ kid: token?.kid }, {}], withdrawn: [identity?.kid] });
  });

  test.each([
    [["--identity"], "--identity: the configuration has no identity"],
    [
      ["--algorithm", "RS256"],
      "the configuration needs no such key; countersign keys list shows which there are",
    ],
    [
      ["--algorithm", "none"],
      /^option '--algorithm <alg>' argument 'none' is invalid\. Allowed choices are EdDSA,/,
    ],
    [["now"], "too many arguments for 'rotate'. Expected 0 arguments but got 1: now."],
  ])("%j is wrong usage", async (arguments_, message) => {
    using place = placeWith();
    await place.done("generate");
    const said = await place.refused("rotate", ...arguments_);
    if (typeof message === "string") expect(said).toBe(message);
    else expect(said).toMatch(message);
    expect(place.ring().keys).toHaveLength(1);
  });
});

describe("retire", () => {
  test("takes out a key that waits, and the one before it goes on", async () => {
    using place = placeWith();
    await place.done("generate");
    await place.done("rotate");
    letSidecarPublish(place);
    const [old, successor] = place.ring().keys;
    expect(old?.retiresAt).not.toBeNull();
    expect(await place.done("retire", "--", String(successor?.kid))).toBe(
      `EdDSA key ${successor?.kid} will not sign, and is published until its longest token would have ended\n`,
    );
    expect(place.ring()).toMatchObject({ keys: [{ kid: old?.kid, retiresAt: null }, {}], withdrawn: [] });
    expect((await place.list()).map(({ state }) => state)).toEqual(["active", "retiring"]);
    expect(await place.done("retire", "--now", "--", String(successor?.kid))).toBe(
      `EdDSA key ${successor?.kid} is taken out\n`,
    );
    expect(place.ring()).toMatchObject({ keys: [{ kid: old?.kid }], withdrawn: [successor?.kid] });
  });

  test("does not take out a key that signs: it is replaced", async () => {
    using place = placeWith();
    await place.done("generate");
    const kid = String(place.ring().keys[0]?.kid);
    for (const now of [[], ["--now"]])
      expect(await place.refused("retire", ...now, "--", kid)).toBe(
        `${place.path}/keys: key ${kid} signs; replace it: countersign keys rotate (or, where others know it: keys rotate --emergency)`,
      );
  });

  test("ends a key that the configuration does not need, and publishes it until its tokens have ended", async () => {
    using place = placeWith();
    await place.done("generate", "--algorithm", "ES256");
    const kid = String(place.ring().keys[0]?.kid);
    expect(await place.done("retire", "--", kid)).toBe(
      `ES256 key ${kid} signs no more, and is published until its longest token would have ended\n`,
    );
    expect((await place.list())[0]).toMatchObject({ state: "retiring", next: "gone in 3 hours" });
    expect(await place.refused("retire", "--", kid)).toBe(
      `${place.path}/keys: key ${kid} retires already, and is published until its longest token has ended; --now takes it out at once, and such tokens are refused`,
    );
    expect(await place.done("retire", "--now", "--", kid)).toBe(`ES256 key ${kid} is taken out\n`);
    expect(place.ring()).toMatchObject({ keys: [], withdrawn: [kid] });
  });

  test("--now takes a key that the configuration does not need out at once", async () => {
    using place = placeWith();
    await place.done("generate", "--algorithm", "ES256");
    const kid = String(place.ring().keys[0]?.kid);
    expect(await place.done("retire", "--now", "--", kid)).toBe(`ES256 key ${kid} is taken out\n`);
    expect(place.ring().keys).toEqual([]);
  });

  test("takes a kid that begins with a hyphen after --, and as much of it as is clear", async () => {
    using place = placeWith();
    await place.done("generate");
    // Not one that reads like an option that there is: -c, -h, -V.
    const { key, kid } = await keyWithKid(/^-[^chV]/);
    place.write("mine.pem", pem(key));
    await place.done("import", "mine.pem");
    expect(await place.refused("retire", kid)).toMatch(/^unknown option '-/);
    expect(place.ring().keys).toHaveLength(2);
    expect(await place.done("retire", "--", kid.slice(0, 6))).toBe(`EdDSA key ${kid} is taken out\n`);
  });

  test("takes no beginning that several keys have", async () => {
    using place = placeWith();
    const keys = [await keyWithKid(/^A/), await keyWithKid(/^A/)];
    for (const [index, { key }] of keys.entries()) {
      place.write(`${index}.pem`, pem(key));
      await place.done("import", `${index}.pem`);
    }
    expect(await place.refused("retire", "A")).toBe(
      `${place.path}/keys: 2 keys begin with A; give more of the kid`,
    );
    expect(await place.done("retire", keys[1]?.kid ?? "")).toBe(`EdDSA key ${keys[1]?.kid} is taken out\n`);
  });

  test("says that there is no such key", async () => {
    using place = placeWith();
    expect(await place.refused("retire", "nonsense")).toBe(
      `${place.path}/keys: there is no key nonsense; countersign keys list shows which there are`,
    );
  });

  test.each([
    [[""], "expected a kid"],
    [[], "missing required argument 'kid'"],
  ])("%j is wrong usage", async (arguments_, message) => {
    using place = placeWith();
    expect(await place.refused("retire", ...arguments_)).toBe(message);
  });
});

describe("import", () => {
  test("puts the first key into a directory, where it signs at once", async () => {
    using place = placeWith();
    const key = ed25519();
    place.write("mine.pem", pem(key));
    expect(await place.done("import", "mine.pem")).toBe(
      `EdDSA key ${await kidOf(key)} is made, and signs from now on\n`,
    );
    expect((await place.list()).map(({ kid, state }) => [kid, state])).toEqual([
      [await kidOf(key), "active"],
    ]);
  });

  test("makes it the successor of the one that signs", async () => {
    using place = placeWith();
    await place.done("generate");
    const key = ed25519();
    place.write("mine.pem", pem(key));
    const before = place.ring().keys[0]?.kid;
    expect(await place.done("import", "mine.pem")).toBe(
      `EdDSA key ${await kidOf(key)} is made. It signs 28 hours after a sidecar has published it; until then key ${before} goes on\n`,
    );
    expect((await place.list())[1]).toMatchObject({ kid: await kidOf(key), state: "pending" });
  });

  test("takes a JWK for the algorithm that it names", async () => {
    using place = placeWith();
    const jwk = { ...RSA.export({ format: "jwk" }), alg: "PS256", kid: "mine", use: "sig" };
    place.write("mine.jwk", JSON.stringify(jwk));
    // The kid is a thumbprint, whatever the JWK says.
    expect(await place.done("import", "mine.jwk")).toBe(
      `PS256 key ${await kidOf(RSA)} is made, and signs from now on\n`,
    );
    expect(await place.refused("import", "mine.jwk", "--algorithm", "RS256")).toBe(
      "--algorithm: the JWK says that it is for PS256",
    );
  });

  test.each([
    ["the passphrase of an encrypted PEM", ["--passphrase-env", "PASSPHRASE"], undefined],
    ["none", [], "mine.pem: this key is encrypted, and no passphrase is given for it"],
    [
      "a wrong one",
      ["--passphrase-env", "HOME"],
      "mine.pem: the passphrase does not open this key, or the PEM is truncated",
    ],
    [
      "that of a variable which is not set",
      ["--passphrase-env", "COUNTERSIGN_TEST_NOT_SET"],
      "--passphrase-env: the environment variable COUNTERSIGN_TEST_NOT_SET is not set",
    ],
  ])("is given %s", async (_what, arguments_, message) => {
    using place = placeWith();
    const key = ed25519();
    place.write("mine.pem", pem(key, "open sesame"));
    if (message === undefined) {
      expect(await place.done("import", "mine.pem", ...arguments_)).toContain(await kidOf(key));
      // In the directory it is as the configuration says.
      expect(place.ring().keys[0]?.privateKey).toMatch(/^-----BEGIN PRIVATE KEY-----/);
      return;
    }
    expect(await place.refused("import", "mine.pem", ...arguments_)).toBe(message);
    expect(existsSync(join(place.path, "keys"))).toBe(false);
  });

  test("without --algorithm is for the first configured algorithm that the key fits", async () => {
    using place = placeWith(
      "policies: [{name: es, match: {path: /es}, token: {algorithm: ES256}}, {name: rest}]\n",
    );
    place.write("mine.pem", pem(ec()));
    expect(await place.done("import", "mine.pem")).toMatch(/^ES256 key /);
  });

  test("--identity is for the tokens of identity, with their algorithm", async () => {
    using place = placeWith(IDENTITY);
    place.write("mine.pem", pem(ec()));
    expect(await place.done("import", "mine.pem", "--identity")).toMatch(/^ES256 key /);
    expect(
      place.ring().keys.map(({ purpose, longestLifetimeSeconds }) => [purpose, longestLifetimeSeconds]),
    ).toEqual([["identity", 36_000]]);
  });

  test("is refused where the key is there already, or was withdrawn", async () => {
    using place = placeWith();
    const key = ed25519();
    place.write("mine.pem", pem(key));
    await place.done("import", "mine.pem");
    const kid = await kidOf(key);
    expect(await place.refused("import", "mine.pem")).toBe(
      `${place.path}/keys: key ${kid} is in this ring already`,
    );
    await place.keys("rotate", "--emergency");
    expect(await place.refused("import", "mine.pem")).toBe(
      `${place.path}/keys: key ${kid} was withdrawn from this ring: others may know it. Use a new one`,
    );
  });

  test.each([
    [
      "a public key",
      pem(RSA).replaceAll("PRIVATE", "PUBLIC"),
      "this is no private key, and a certificate or public key cannot sign",
    ],
    ["a key for another algorithm", pem(RSA), "EdDSA needs an Ed25519 key, and this is an RSA key"],
    ["nothing", "", "empty; expected a private key in PEM or as a JWK"],
    ["something else", "hunter2", "this is neither PEM nor a JWK; expected a private key in one of them"],
    [
      "a JWK Set",
      JSON.stringify({ keys: [RSA.export({ format: "jwk" })] }),
      "this is a JWK Set; expected one private JWK, without a list around it",
    ],
  ])("refuses %s", async (_what, content, message) => {
    using place = placeWith();
    place.write("mine.pem", content);
    expect(await place.refused("import", "mine.pem")).toBe(`mine.pem: ${message}`);
    expect(existsSync(join(place.path, "keys"))).toBe(false);
  });

  test("refuses a file that is not there, and one that everybody can read", async () => {
    using place = placeWith();
    expect(await place.refused("import", "none.pem")).toMatch(
      /^none\.pem: this key file cannot be read: ENOENT/,
    );
    writeFileSync(join(place.path, "open.pem"), pem(ed25519()), { mode: 0o644 });
    expect(await place.refused("import", "open.pem")).toBe(
      "open.pem: this key file is open to other users (mode 0644); close it: chmod 640 open.pem",
    );
  });

  test.each([
    [["mine.pem", "--identity"], "--identity: the configuration has no identity"],
    [[], "missing required argument 'file'"],
  ])("%j is wrong usage", async (arguments_, message) => {
    using place = placeWith();
    place.write("mine.pem", pem(ed25519()));
    expect(await place.refused("import", ...arguments_)).toBe(message);
  });
});

test.each([
  ["{files: [a.pem]}", "files of your own"],
  ["{env: KEY}", "a variable"],
  ["{ephemeral: true}", "the memory of the sidecar"],
])("keys from %s are not changed by these commands", async (keys, where) => {
  using place = placeWith(`issuer: {keys: ${keys}}\n`);
  place.write("a.pem", pem(ed25519()));
  for (const command of [["generate"], ["rotate"], ["retire", "a"], ["import", "a.pem"]]) {
    const { code, stdout, stderr } = await place.keys(...command);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr.replace(/^warning: .*\n/, "")).toBe(
      `countersign: issuer.keys: these keys are in ${where}; this command is for issuer.keys.directory and issuer.keys.redis\n`,
    );
  }
});

test("nothing of a private key is ever printed", async () => {
  using place = placeWith(IDENTITY);
  const keys = [ed25519(), ec()];
  place.write("first.pem", pem(keys[0] as KeyObject));
  place.write("second.jwk", JSON.stringify({ ...keys[1]?.export({ format: "jwk" }), alg: "ES256" }));
  place.write("broken.jwk", JSON.stringify({ ...keys[1]?.export({ format: "jwk" }), x: "AAAA" }));
  place.write("broken.pem", pem(keys[0] as KeyObject).replace("-----END", "----END"));
  let printed = "";
  for (const command of [
    ["import", "first.pem"],
    ["import", "second.jwk"],
    ["import", "broken.jwk"],
    ["import", "broken.pem"],
    ["import", "first.pem"],
    ["generate"],
    ["generate", "--output", "third.pem"],
    ["list"],
    ["list", "--json"],
    ["rotate"],
    ["list", "--json"],
    ["rotate", "--emergency"],
  ]) {
    const { stdout, stderr } = await place.keys(...command);
    printed += stdout + stderr;
    for (const { privateKey } of existsSync(join(place.path, "keys")) ? place.ring().keys : []) {
      const [, ...lines] = String(privateKey).trim().split("\n").slice(0, -1);
      for (const line of lines) expect(printed).not.toContain(line);
    }
  }
  expect(printed).toContain("is withdrawn");
  expect(printed).not.toContain("PRIVATE KEY");
  for (const key of keys) expect(printed).not.toContain(key.export({ format: "jwk" }).d);
});

describe("a running sidecar", () => {
  const published = async (url: string) => {
    const response = await fetch(`${url}/__issuer/.well-known/jwks.json`);
    const { keys } = (await response.json()) as { keys: { kid: string; alg: string }[] };
    return keys.map(({ kid }) => kid);
  };
  const bounded = { timeout: 8000, interval: 25 };

  test("follows rotate, retire, import and an emergency, and says so", async () => {
    using place = placeWith("issuer: {keys: {overlap: 1h}}\n");
    await using sidecar = await startCommand(["serve", "--listen", "127.0.0.1:0"], { cwd: place.path });
    const said = () => sidecar.output().stderr;
    const eventually = (kids: readonly unknown[]) =>
      vi.waitFor(async () => expect(await published(sidecar.url)).toEqual(kids), bounded);
    const [first] = await published(sidecar.url);

    // As an operator does it: another process.
    const { code } = await runCommand(["keys", "rotate"], { cwd: place.path });
    expect(code).toBe(0);
    const waiting = String(place.ring().keys[1]?.kid);
    await eventually([first, waiting]);
    await vi.waitFor(
      () => expect(said()).toContain(`EdDSA key ${waiting} is published, and signs from 20`),
      bounded,
    );
    const [line] = said()
      .split("\n")
      .filter((text) => text.includes(waiting));
    expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z EdDSA key \S+ is published, and signs from \S+Z$/);
    const [from = "", until = ""] = line?.match(/\d{4}-\S+Z/g) ?? [];
    const waits = (Date.parse(until) - Date.parse(from)) / 1000;
    expect(waits).toBeGreaterThan(3655);
    expect(waits).toBeLessThanOrEqual(3660);

    await place.done("retire", "--", waiting);
    await vi.waitFor(
      () => expect(said()).toContain(`EdDSA key ${waiting} signs no more, and is published until 20`),
      bounded,
    );
    await place.done("retire", "--now", "--", waiting);
    await eventually([first]);
    await vi.waitFor(() => expect(said()).toContain(`EdDSA key ${waiting} is gone\n`), bounded);

    const mine = ed25519();
    place.write("mine.pem", pem(mine));
    await place.done("import", "mine.pem");
    await eventually([first, await kidOf(mine)]);

    await place.keys("rotate", "--emergency");
    const emergency = String(place.ring().keys[0]?.kid);
    await eventually([emergency]);
    await vi.waitFor(() => {
      expect(said()).toContain(`EdDSA key ${emergency} signs from now on\n`);
      expect(said()).toContain(`EdDSA key ${first} is gone\n`);
    }, bounded);
    expect(said()).not.toMatch(/ERR_|problem|PRIVATE/);
  });

  test("goes on with its keys where the directory cannot be read, and says when it can again", async () => {
    using place = placeWith();
    await using sidecar = await startCommand(["serve", "--listen", "127.0.0.1:0"], { cwd: place.path });
    const before = await published(sidecar.url);
    place.write("keys/stray.pem", pem(ed25519()));
    await vi.waitFor(
      () =>
        expect(sidecar.output().stderr).toContain(
          `ERR_KEY the keys cannot be read or written, and those in memory go on: ${place.path}/keys/stray.pem: this file is not part of the key ring in its directory`,
        ),
      bounded,
    );
    expect(await published(sidecar.url)).toEqual(before);

    rmSync(join(place.path, "keys/stray.pem"));
    await vi.waitFor(
      () => expect(sidecar.output().stderr).toContain("the keys can be read and written again\n"),
      bounded,
    );
  });
});

test("the executable prints what is listed here, and ends", async () => {
  using place = placeWith();
  await place.done("generate");
  const { code, stdout, stderr } = await runCommand(["keys", "list"], { cwd: place.path });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toContain(String(place.ring().keys[0]?.kid));
});
