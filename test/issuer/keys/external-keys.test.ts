import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { SigningAlgorithm } from "../../../src/issuer/algorithms.ts";
import { type ExternalKeysOptions, openExternalKeys } from "../../../src/issuer/keys/external-keys.ts";
import { checkAccess, MOUNTED_FILE } from "../../../src/issuer/keys/key-file.ts";
import type { KeyEvent } from "../../../src/issuer/keys/key-set.ts";
import type { KeyPurpose } from "../../../src/issuer/keys/ring.ts";
import { createSigningKey } from "../../../src/issuer/keys/signing-key.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import {
  errorOf,
  everythingIn,
  jwkOf,
  needFor,
  pemOf,
  privateKeyFor,
  refusalOf,
  secretsOf,
} from "./key-material.ts";

/** Private keys and their kids, made once: RSA keys take time. */
const KEYS = Object.fromEntries(
  await Promise.all(
    (
      [
        ["a", "EdDSA"],
        ["b", "EdDSA"],
        ["c", "EdDSA"],
        ["p256", "ES256"],
        ["rsa", "RS256"],
        ["rsa2", "RS256"],
      ] as const
    ).map(async ([name, algorithm]) => {
      const key = privateKeyFor(algorithm);
      const { kid } = await createSigningKey(key, algorithm, name);
      return [name, { key, kid, pem: pemOf(key) }] as const;
    }),
  ),
) as Record<
  "a" | "b" | "c" | "p256" | "rsa" | "rsa2",
  { key: ReturnType<typeof privateKeyFor>; kid: string; pem: string }
>;

/** The private JWK of a key, with an `alg`. */
const jwkFor = (name: keyof typeof KEYS, alg: string) => JSON.stringify({ ...jwkOf(KEYS[name].key), alg });

async function open(
  options: Omit<ExternalKeysOptions, "onEvent" | "needs" | "env"> & Partial<ExternalKeysOptions>,
) {
  const events: KeyEvent[] = [];
  const keys = await openExternalKeys({
    needs: [needFor()],
    env: {},
    onEvent: (event) => events.push(event),
    ...options,
  });
  return {
    keys,
    events,
    published: () => keys.current().published.map(({ kid }) => kid),
    /** What is published, as `kid alg`. */
    algorithms: () => keys.current().published.map(({ kid, alg }) => [kid, alg]),
    signing: (algorithm: SigningAlgorithm = "EdDSA", purpose: KeyPurpose = "token") =>
      keys.current().activeKey(purpose, algorithm)?.key.kid,
    [Symbol.asyncDispose]: () => keys.close(),
  };
}

/** Puts texts into files of their own: their paths, in order. */
function filesOf(folder: { readonly path: string }, ...texts: readonly string[]): string[] {
  return texts.map((text, index) => {
    const file = join(folder.path, `${index + 1}.key`);
    writeFileSync(file, text, { mode: 0o600 });
    return file;
  });
}

const inFiles = (files: readonly string[], passphrase?: string) => ({
  source: { kind: "files", files, passphrase } as const,
});
const inVariable = (KEY: string | undefined, passphrase?: string) => ({
  source: { kind: "env", variable: "KEY", passphrase } as const,
  env: { KEY },
});

describe("of the keys that are listed", () => {
  test("the first of an algorithm signs, and all are published, those that sign first", async () => {
    using folder = temporaryFolder();
    const { a, b, p256, rsa } = KEYS;
    const files = filesOf(folder, a.pem, rsa.pem, b.pem, p256.pem);
    await using open1 = await open({ ...inFiles(files), needs: [needFor("ES256"), needFor("EdDSA")] });
    expect([open1.signing("ES256"), open1.signing("EdDSA"), open1.signing("RS256")]).toEqual([
      p256.kid,
      a.kid,
      undefined,
    ]);
    expect(open1.algorithms()).toEqual([
      [p256.kid, "ES256"],
      [a.kid, "EdDSA"],
      [rsa.kid, "RS256"],
      [b.kid, "EdDSA"],
    ]);
    expect(open1.keys.current().activeKey("token", "EdDSA")?.longestLifetimeSeconds).toBe(
      Number.POSITIVE_INFINITY,
    );
    await open1.keys.keepFor("token", "EdDSA", 1e9);
    expect(open1.events).toEqual([]);
  });

  test("a PEM is for the needed algorithm that has no key yet, then for the first that is needed", async () => {
    using folder = temporaryFolder();
    const { rsa, rsa2 } = KEYS;
    const needs = [needFor("PS256"), needFor("RS384")];
    await using two = await open({ ...inFiles(filesOf(folder, rsa.pem, rsa2.pem)), needs });
    expect(two.algorithms()).toEqual([
      [rsa.kid, "PS256"],
      [rsa2.kid, "RS384"],
    ]);
    const third = privateKeyFor("RS256");
    const { kid } = await createSigningKey(third, "RS256", "third");
    await using three = await open({ ...inFiles(filesOf(folder, rsa.pem, rsa2.pem, pemOf(third))), needs });
    expect(three.algorithms()).toEqual([
      [rsa.kid, "PS256"],
      [rsa2.kid, "RS384"],
      [kid, "PS256"],
    ]);
  });

  test("a JWK is for what it says, whatever is needed", async () => {
    using folder = temporaryFolder();
    const { rsa, rsa2, a } = KEYS;
    const texts = [jwkFor("rsa", "RS512"), jwkFor("rsa2", "PS256"), jwkFor("a", "Ed25519")];
    const needs = [needFor("PS256"), needFor("EdDSA")];
    await using opened = await open({ ...inFiles(filesOf(folder, ...texts)), needs });
    expect(opened.algorithms()).toEqual([
      [rsa2.kid, "PS256"],
      [a.kid, "EdDSA"],
      [rsa.kid, "RS512"],
    ]);
  });

  test("one signs for every purpose that needs its algorithm", async () => {
    const needs = [needFor("EdDSA"), needFor("EdDSA", { purpose: "identity" })];
    await using opened = await open({ ...inVariable(KEYS.a.pem), needs });
    expect([opened.signing(), opened.signing("EdDSA", "identity")]).toEqual([KEYS.a.kid, KEYS.a.kid]);
    expect(opened.published()).toEqual([KEYS.a.kid]);
  });

  test.each([
    [
      "token",
      "there is no key for ES256; add one, or name an algorithm that the keys are for in issuer.algorithm; a JWK says with alg what it is for",
    ],
    [
      "identity",
      "there is no key for ES256; add one, or set identity.algorithm to one that the keys are for",
    ],
  ] as const)("one that is lacking for the purpose %s is named", async (purpose, problem) => {
    using folder = temporaryFolder();
    const needs = [needFor(), needFor("ES256", { purpose })];
    const files = filesOf(folder, KEYS.a.pem, KEYS.b.pem);
    expect(await refusalOf(open({ ...inFiles(files), needs }))).toBe(`${files.join(", ")}: ${problem}`);
    expect(await refusalOf(open({ ...inVariable(KEYS.a.pem), needs }))).toBe(
      `the environment variable KEY: ${problem}`,
    );
  });

  test("none is listed twice, not in another form either", async () => {
    using folder = temporaryFolder();
    const files = filesOf(folder, KEYS.a.pem, KEYS.b.pem, jwkFor("a", "EdDSA"));
    expect(await refusalOf(open(inFiles(files)))).toBe(`${files[2]}: this key is listed twice`);
  });

  test("a first one that fits nothing says what is needed; a further one is published for what it fits", async () => {
    using folder = temporaryFolder();
    const [rsaFirst = "", second = ""] = filesOf(folder, KEYS.rsa.pem, KEYS.a.pem);
    expect(await refusalOf(open(inFiles([rsaFirst, second])))).toBe(
      `${rsaFirst}: EdDSA needs an Ed25519 key, and this is an RSA key`,
    );
    await using opened = await open(inFiles([second, rsaFirst]));
    expect(opened.algorithms()).toEqual([
      [KEYS.a.kid, "EdDSA"],
      [KEYS.rsa.kid, "RS256"],
    ]);
  });
});

describe("a variable", () => {
  test.each([
    ["a PEM", KEYS.a.pem],
    ["a PEM with line ends written as \\n", KEYS.a.pem.replaceAll("\n", "\\n")],
    ["a PEM with line ends written as \\n, without the last", KEYS.a.pem.trimEnd().replaceAll("\n", "\\n")],
    ["a JWK", jwkFor("a", "EdDSA")],
    ["a JWK over several lines", JSON.stringify(jwkOf(KEYS.a.key), undefined, 2)],
  ])("may hold %s", async (_form, text) => {
    await using opened = await open(inVariable(text));
    expect([opened.signing(), opened.published()]).toEqual([KEYS.a.kid, [KEYS.a.kid]]);
  });

  test.each([
    ["is not set", undefined, "not set; expected a private key in PEM or as a JWK"],
    ["is empty", "", "empty; expected a private key in PEM or as a JWK"],
    ["holds other words", "hello", "this is neither PEM nor a JWK; expected a private key in one of them"],
    [
      "holds a PEM that is cut",
      KEYS.a.pem.slice(0, 60),
      "cannot be read as a private key in PEM; it may be truncated",
    ],
    [
      "holds another kind of key",
      KEYS.p256.pem,
      "EdDSA needs an Ed25519 key, and this is an EC key on P-256",
    ],
  ])("that %s is refused, and never quoted", async (_what, text, problem) => {
    const error = await errorOf(open(inVariable(text)));
    expect(error.message).toBe(`the environment variable KEY: ${problem}`);
    for (const secret of [...secretsOf(KEYS.a.pem), ...secretsOf(KEYS.p256.pem)])
      expect(everythingIn(error)).not.toContain(secret);
  });

  test("may hold an encrypted key", async () => {
    const pem = KEYS.a.key.export({
      type: "pkcs8",
      format: "pem",
      cipher: "aes-256-cbc",
      passphrase: "pass",
    });
    await using opened = await open(inVariable(pem.toString(), "pass"));
    expect(opened.signing()).toBe(KEYS.a.kid);
    expect(await refusalOf(open(inVariable(pem.toString())))).toBe(
      "the environment variable KEY: this key is encrypted, and no passphrase is given for it",
    );
  });
});

describe("a file", () => {
  afterEach(() => vi.restoreAllMocks());

  test.each([0o644, 0o604, 0o660, 0o620, 0o641, 0o602])("with the mode %o is refused", async (mode) => {
    using folder = temporaryFolder();
    const [file = ""] = filesOf(folder, KEYS.a.pem);
    chmodSync(file, mode);
    expect(await refusalOf(open(inFiles([file])))).toBe(
      `${file}: this key file is open to other users (mode 0${mode.toString(8)}); close it: chmod 640 ${file}`,
    );
  });

  test.each([0o640, 0o600, 0o440, 0o400])("with the mode %o is accepted", async (mode) => {
    using folder = temporaryFolder();
    const [file = ""] = filesOf(folder, KEYS.a.pem);
    chmodSync(file, mode);
    await using opened = await open(inFiles([file]));
    expect(opened.signing()).toBe(KEYS.a.kid);
  });

  test("of root's is accepted, and one of somebody else's is not", async () => {
    using folder = temporaryFolder();
    const [file = ""] = filesOf(folder, KEYS.a.pem);
    const self = process.getuid?.() ?? 0;
    // Whoever is not root cannot give a file away, but can be taken for somebody else.
    if (self === 0) chownSync(file, 65_533, 65_533);
    const owner = self === 0 ? 65_533 : self;
    vi.spyOn(process, "getuid").mockReturnValue(65_534);
    expect(await refusalOf(open(inFiles([file])))).toBe(
      `${file}: this key file belongs to uid ${owner}, and Countersign runs as uid 65534; change one`,
    );
    expect(checkAccess(file, "file", { mode: 0o100_640, uid: 0 }, MOUNTED_FILE)).toBeUndefined();
  });

  test("that is missing, or no file, is named", async () => {
    using folder = temporaryFolder();
    const [there = ""] = filesOf(folder, KEYS.a.pem);
    const missing = join(folder.path, "none.key");
    expect(await refusalOf(open(inFiles([there, missing])))).toBe(
      `${missing}: this key file cannot be read: ENOENT: no such file or directory, open '${missing}'`,
    );
    expect(await refusalOf(open(inFiles([folder.path])))).toBe(
      `${folder.path}: this is not a file; expected a private key`,
    );
  });
});

describe("a change of the files", () => {
  const SIGNS = { kind: "key", algorithm: "EdDSA", purpose: "token", state: "active", until: undefined };
  const warning = (kid: string) => ({
    kind: "warning",
    message: `key ${kid} signs and was not published before: verifiers refuse its tokens until they fetch the JWK Set again; list a new key in the second place first`,
  });

  /** Puts a text in the place of a file in one step. */
  function replace(file: string, text: string): void {
    writeFileSync(`${file}.new`, text, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }

  test("by a rename is noticed", async () => {
    using folder = temporaryFolder();
    const [file = ""] = filesOf(folder, KEYS.a.pem);
    await using opened = await open(inFiles([file]));
    replace(file, KEYS.b.pem);
    await vi.waitFor(() => expect(opened.published()).toEqual([KEYS.b.kid]), 5000);
    expect(opened.signing()).toBe(KEYS.b.kid);
    expect(opened.events).toEqual([{ ...SIGNS, kid: KEYS.b.kid }, warning(KEYS.b.kid)]);
  });

  test("in the order of two steps rotates without a warning", async () => {
    using folder = temporaryFolder();
    const [first = "", second = ""] = filesOf(folder, KEYS.a.pem, KEYS.b.pem);
    await using opened = await open(inFiles([first, second]));
    expect(opened.published()).toEqual([KEYS.a.kid, KEYS.b.kid]);
    replace(second, KEYS.c.pem);
    await opened.keys.refresh();
    expect([opened.published(), opened.events]).toEqual([[KEYS.a.kid, KEYS.c.kid], []]);

    replace(first, KEYS.c.pem);
    replace(second, KEYS.a.pem);
    await opened.keys.refresh();
    expect(opened.published()).toEqual([KEYS.c.kid, KEYS.a.kid]);
    expect(opened.events.filter(({ kind }) => kind !== "problem" && kind !== "recovered")).toEqual([
      { ...SIGNS, kid: KEYS.c.kid },
    ]);
  });

  test("that is none leaves the same keys", async () => {
    using folder = temporaryFolder();
    const [file = ""] = filesOf(folder, KEYS.a.pem);
    await using opened = await open(inFiles([file]));
    const before = opened.keys.current();
    replace(file, jwkFor("a", "EdDSA"));
    await opened.keys.refresh();
    expect(opened.keys.current()).toBe(before);
    expect(opened.events).toEqual([]);
  });

  test.each([
    ["PEM", KEYS.rsa.pem],
    ["a JWK", jwkFor("rsa", "RS256")],
  ])("of %s that is written in place is taken when it is whole", async (_form, text) => {
    using folder = temporaryFolder();
    const needs = [needFor("RS256")];
    const [file = ""] = filesOf(folder, KEYS.rsa2.pem);
    await using opened = await open({ ...inFiles([file]), needs });
    const before = opened.keys.current();

    truncateSync(file);
    for (const part of ["", text.slice(0, 10), text.slice(0, 700), text.slice(0, -2)]) {
      writeFileSync(file, part);
      await opened.keys.refresh();
      expect(opened.keys.current()).toBe(before);
    }
    const problems = opened.events.map((event) => event.kind === "problem" && event.message);
    expect(opened.events.every(({ kind }) => kind === "problem")).toBe(true);
    expect(problems[0]).toBe(`${file}: empty; expected a private key in PEM or as a JWK`);
    // The same problem is told once.
    expect(new Set(problems).size).toBe(problems.length);

    writeFileSync(file, text);
    await opened.keys.refresh();
    expect(opened.published()).toEqual([KEYS.rsa.kid]);
    expect(opened.events.slice(problems.length)).toEqual([
      { ...SIGNS, algorithm: "RS256", kid: KEYS.rsa.kid },
      warning(KEYS.rsa.kid),
      { kind: "recovered" },
    ]);
    await opened.keys.refresh();
    expect(opened.events).toHaveLength(problems.length + 3);
  });

  test("by a link to another folder, as Kubernetes does it, is noticed, and a missing file is not", async () => {
    using folder = temporaryFolder();
    const version = (name: string, text: string) => {
      mkdirSync(join(folder.path, name));
      writeFileSync(join(folder.path, name, "tls.key"), text, { mode: 0o640 });
    };
    const linkTo = (name: string) => {
      symlinkSync(name, join(folder.path, "..data_tmp"));
      renameSync(join(folder.path, "..data_tmp"), join(folder.path, "..data"));
    };
    version("..2030_01_01", KEYS.a.pem);
    linkTo("..2030_01_01");
    const file = join(folder.path, "tls.key");
    symlinkSync(join("..data", "tls.key"), file);
    await using opened = await open(inFiles([file]));

    version("..2030_01_02", KEYS.b.pem);
    expect(opened.signing()).toBe(KEYS.a.kid);
    linkTo("..2030_01_02");
    rmSync(join(folder.path, "..2030_01_01"), { recursive: true });
    await vi.waitFor(() => expect(opened.signing()).toBe(KEYS.b.kid), 5000);
    expect(readFileSync(file, "utf8")).toBe(KEYS.b.pem);

    // A folder that lacks the file: the last good one stays, until the next is whole.
    mkdirSync(join(folder.path, "..2030_01_03"));
    linkTo("..2030_01_03");
    await vi.waitFor(() => expect(opened.events.at(-1)?.kind).toBe("problem"), 5000);
    expect(opened.signing()).toBe(KEYS.b.kid);
    version("..2030_01_04", KEYS.c.pem);
    linkTo("..2030_01_04");
    await vi.waitFor(() => expect(opened.events.at(-1)?.kind).toBe("recovered"), 5000);
    expect([opened.signing(), opened.published()]).toEqual([KEYS.c.kid, [KEYS.c.kid]]);
  });

  test.each([
    ["a mode that others can read", (file: string) => chmodSync(file, 0o644), "is open to other users"],
    ["nothing in its place", (file: string) => rmSync(file), "ENOENT"],
    ["another kind of key", (file: string) => replace(file, KEYS.rsa.pem), "EdDSA needs an Ed25519 key"],
  ])("to %s leaves the last good keys", async (_what, change, problem) => {
    using folder = temporaryFolder();
    const [file = ""] = filesOf(folder, KEYS.a.pem);
    await using opened = await open(inFiles([file]));
    change(file);
    for (let times = 0; times < 2; times++) await opened.keys.refresh();
    expect([opened.signing(), opened.published()]).toEqual([KEYS.a.kid, [KEYS.a.kid]]);
    expect(opened.events).toEqual([{ kind: "problem", message: expect.stringContaining(problem) }]);
    expect(opened.events).toEqual([{ kind: "problem", message: expect.stringContaining(file) }]);

    replace(file, KEYS.a.pem);
    await opened.keys.refresh();
    expect(opened.events.slice(1)).toEqual([{ kind: "recovered" }]);
  });

  test("is noticed in every folder", async () => {
    using folder = temporaryFolder();
    const files = ["one/1.key", "other/2.key"].map((name) => join(folder.path, name));
    for (const [index, file] of files.entries()) {
      mkdirSync(dirname(file));
      writeFileSync(file, [KEYS.a.pem, KEYS.b.pem][index] ?? "", { mode: 0o600 });
    }
    await using opened = await open(inFiles(files));
    replace(String(files[1]), KEYS.c.pem);
    await vi.waitFor(() => expect(opened.published()).toEqual([KEYS.a.kid, KEYS.c.kid]), 5000);
  });
});
