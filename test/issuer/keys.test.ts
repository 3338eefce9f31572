import { execFileSync } from "node:child_process";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { createLocalJWKSet, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from "jose";
import { describe, expect, test } from "vitest";
import { KeyError } from "../../src/index.ts";
import { SIGNING_ALGORITHMS, type SigningAlgorithm } from "../../src/issuer/algorithms.ts";
import { createIssuer } from "../../src/issuer/issuer.ts";
import { type KeySource, openKeys, readKeys } from "../../src/issuer/key-source.ts";
import { createSigningKey, parsePrivateKey, type SigningKeys } from "../../src/issuer/signing-key.ts";
import { runCommand, temporaryFolder } from "../support/command-line.ts";
import { startSidecar } from "../support/sidecar.ts";
import { RFC_ED25519_KEY, RFC_ED25519_THUMBPRINT, RFC_RSA_KEY, RFC_RSA_THUMBPRINT } from "./rfc-keys.ts";

const PKCS8 = { type: "pkcs8", format: "pem" } as const;
const pemOf = (key: KeyObject) => key.export(PKCS8) as string;
const ed25519 = generateKeyPairSync("ed25519");
const ed448 = generateKeyPairSync("ed448");
const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
const p521 = generateKeyPairSync("ec", { namedCurve: "P-521" });
const secp256k1 = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const rsa1024 = generateKeyPairSync("rsa", { modulusLength: 1024 });
const rsaPss = generateKeyPairSync("rsa-pss", { modulusLength: 2048 });

/** A private key that fits the algorithm. */
function keyFor(algorithm: SigningAlgorithm): KeyObject {
  if (algorithm === "EdDSA") return ed25519.privateKey;
  if (algorithm === "ES256") return p256.privateKey;
  if (algorithm === "ES384") return p384.privateKey;
  if (algorithm === "ES512") return p521.privateKey;
  return rsa.privateKey;
}

function issuerOf(keys: SigningKeys) {
  return createIssuer({ url: "http://a", keys, jwksMaxAgeSeconds: 300 });
}

/** Opens the key in `$KEY`. */
const openVariable = (KEY: string | undefined, algorithm: SigningAlgorithm = "EdDSA") =>
  openKeys({ kind: "env", variable: "KEY" }, algorithm, { KEY });

/** What is said of keys that cannot be opened. */
async function refusalOf(keys: Promise<unknown>): Promise<string> {
  const error: unknown = await keys.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(KeyError);
  expect(error).toMatchObject({ code: "ERR_KEY" });
  return (error as KeyError).message;
}

/** A key directory as an operator may have left it: closed, with these files. */
function keyDirectory(folder: { path: string }, files: Record<string, string | Buffer> = {}): string {
  const directory = join(folder.path, "keys");
  mkdirSync(directory, { mode: 0o700 });
  for (const [name, content] of Object.entries(files))
    writeFileSync(join(directory, name), content, { mode: 0o600 });
  return directory;
}

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);
const inDirectory = (directory: string): KeySource => ({ kind: "directory", directory });

const PUBLIC_MEMBERS: Record<string, readonly string[]> = {
  EdDSA: ["kty", "crv", "x", "kid", "use", "alg"],
  ES256: ["kty", "crv", "x", "y", "kid", "use", "alg"],
  ES384: ["kty", "crv", "x", "y", "kid", "use", "alg"],
  ES512: ["kty", "crv", "x", "y", "kid", "use", "alg"],
};
const RSA_MEMBERS = ["kty", "n", "e", "kid", "use", "alg"];

describe.each(SIGNING_ALGORITHMS)("%s", (algorithm) => {
  test.each(["directory", "PEM in a variable", "JWK in a variable", "ephemeral"] as const)(
    "a key from this source signs, verifies, and shows its public members alone: %s",
    async (source) => {
      using folder = temporaryFolder();
      const key = keyFor(algorithm);
      const privateJwk = {
        ...key.export({ format: "jwk" }),
        kid: "mine",
        use: "enc",
        key_ops: ["sign"],
        x5c: [],
      };
      const directory = keyDirectory(folder, { [`${algorithm}.pem`]: pemOf(key) });
      const keys = await {
        directory: () => openKeys(inDirectory(directory), algorithm, {}),
        "PEM in a variable": () => openVariable(pemOf(key), algorithm),
        "JWK in a variable": () => openVariable(JSON.stringify(privateJwk), algorithm),
        ephemeral: () => openKeys({ kind: "ephemeral" }, algorithm, {}),
      }[source]();
      const issuer = issuerOf(keys);

      const token = await issuer.signJwt({ subject: "me", lifetimeSeconds: 60 });
      const jwks = JSON.parse(JSON.stringify(issuer.jwks())) as JSONWebKeySet;
      const { protectedHeader } = await jwtVerify(token, createLocalJWKSet(jwks), {
        algorithms: [algorithm],
      });

      expect(jwks).toEqual({ keys: [expect.objectContaining({ use: "sig", alg: algorithm })] });
      expect(Object.keys(jwks.keys[0] ?? {})).toEqual(PUBLIC_MEMBERS[algorithm] ?? RSA_MEMBERS);
      expect(protectedHeader).toEqual({ alg: algorithm, kid: jwks.keys[0]?.kid, typ: "JWT" });
      expect(issuer.metadata().id_token_signing_alg_values_supported).toEqual([algorithm]);
    },
  );
});

test("the kid is the thumbprint of RFC 7638 §3.1", async () => {
  const [key] = await openVariable(JSON.stringify(RFC_RSA_KEY), "RS256");
  expect(key?.kid).toBe(RFC_RSA_THUMBPRINT);
  expect(key?.publicJwk).toEqual({
    kty: "RSA",
    n: RFC_RSA_KEY.n,
    e: "AQAB",
    kid: RFC_RSA_THUMBPRINT,
    use: "sig",
    alg: "RS256",
  });
});

test("the kid is the thumbprint of RFC 8037 §A.3", async () => {
  const [key] = await openVariable(JSON.stringify(RFC_ED25519_KEY));
  expect(key?.kid).toBe(RFC_ED25519_THUMBPRINT);
  expect(key?.publicJwk).toEqual({
    kty: "OKP",
    crv: "Ed25519",
    x: RFC_ED25519_KEY.x,
    kid: RFC_ED25519_THUMBPRINT,
    use: "sig",
    alg: "EdDSA",
  });
});

describe("a managed directory", () => {
  test("is made with its key on first start, closed to other users", async () => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "deep", "keys");
    await openKeys(inDirectory(directory), "EdDSA", {});

    expect(readdirSync(directory)).toEqual(["EdDSA.pem"]);
    expect(modeOf(directory)).toBe("700");
    expect(modeOf(join(directory, "EdDSA.pem"))).toBe("600");
    expect(readFileSync(join(directory, "EdDSA.pem"), "utf8")).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
  });

  test("gives the same key after a restart, and old tokens go on verifying", async () => {
    using folder = temporaryFolder();
    const yaml = `issuer: {url: "http://a/__issuer", keys: {directory: "${join(folder.path, "keys")}"}}`;
    const before = await startSidecar("http://127.0.0.1:9", { yaml });
    const token = await before.issuer.signJwt({ subject: "me", lifetimeSeconds: 60 });
    await before.close();
    const file = readFileSync(join(folder.path, "keys", "EdDSA.pem"), "utf8");

    await using after = await startSidecar("http://127.0.0.1:9", { yaml });
    const response = await fetch(`${after.url}/__issuer/.well-known/jwks.json`);
    await jwtVerify(token, createLocalJWKSet((await response.json()) as JSONWebKeySet));
    expect(after.issuer.jwks()).toEqual(before.issuer.jwks());
    expect(readFileSync(join(folder.path, "keys", "EdDSA.pem"), "utf8")).toBe(file);
  });

  test("publishes the keys of every algorithm in it, the one that signs first, and never a private member", async () => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder, {
      "EdDSA.pem": pemOf(ed25519.privateKey),
      "RS256.pem": pemOf(rsa.privateKey),
      "ES384.pem": pemOf(p384.privateKey),
      "notes.txt": "not a key",
    });
    await using sidecar = await startSidecar("http://127.0.0.1:9", {
      yaml: `issuer: {algorithm: ES384, keys: {directory: "${directory}"}}`,
    });

    const response = await fetch(`${sidecar.url}/__issuer/.well-known/jwks.json`);
    const { keys } = (await response.json()) as JSONWebKeySet;
    expect(keys.map(({ alg }) => alg)).toEqual(["ES384", "EdDSA", "RS256"]);
    expect(keys.map((key) => Object.keys(key))).toEqual([
      PUBLIC_MEMBERS.ES384,
      PUBLIC_MEMBERS.EdDSA,
      RSA_MEMBERS,
    ]);
    const token = await sidecar.issuer.signJwt({ subject: "me", lifetimeSeconds: 60 });
    expect(decodeProtectedHeader(token)).toMatchObject({ alg: "ES384", kid: keys[0]?.kid });
  });

  test("gets a second key beside the first when the algorithm changes", async () => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "keys");
    const [first] = await openKeys(inDirectory(directory), "EdDSA", {});
    const keys = await openKeys(inDirectory(directory), "ES256", {});
    expect(keys.map(({ algorithm }) => algorithm)).toEqual(["ES256", "EdDSA"]);
    expect(keys[1]?.kid).toBe(first?.kid);
    expect(readdirSync(directory).sort()).toEqual(["ES256.pem", "EdDSA.pem"]);
  });

  test("gets RSA keys of 3072 bits", async () => {
    using folder = temporaryFolder();
    const [key] = await openKeys(inDirectory(join(folder.path, "keys")), "PS256", {});
    expect(Buffer.from(key?.publicJwk.n ?? "", "base64url")).toHaveLength(3072 / 8);
  });

  test("ends up with one key when several start at once", async () => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "keys");
    const opened = await Promise.all(
      Array.from({ length: 16 }, () => openKeys(inDirectory(directory), "EdDSA", {})),
    );
    expect(new Set(opened.map(([key]) => key?.kid)).size).toBe(1);
    expect(readdirSync(directory)).toEqual(["EdDSA.pem"]);
  });

  test("ends up with one key when several processes start at once", async () => {
    using folder = temporaryFolder();
    writeFileSync(join(folder.path, "sidecar.yaml"), "upstream: http://127.0.0.1:9\n");
    const minted = await Promise.all(
      Array.from({ length: 4 }, () => runCommand(["mint"], { cwd: folder.path })),
    );
    expect(minted.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
      Array(4).fill({ code: 0, stderr: "" }),
    );
    expect(new Set(minted.map(({ stdout }) => decodeProtectedHeader(stdout.trim()).kid)).size).toBe(1);
    expect(readdirSync(join(folder.path, "keys"))).toEqual(["EdDSA.pem"]);
  });

  test("loses what a process that was killed while writing has left, but nothing that may be in use", async () => {
    using folder = temporaryFolder();
    const name = (digit: string) => `.EdDSA.${digit.repeat(8)}-0000-4000-8000-000000000000.tmp`;
    const directory = keyDirectory(folder, { [name("1")]: "old", [name("2")]: "new", ".mine.tmp": "other" });
    const hourAgo = Date.now() / 1000 - 3600;
    for (const old of [name("1"), ".mine.tmp"]) utimesSync(join(directory, old), hourAgo, hourAgo);
    const directoryEntries = () => readdirSync(directory).sort();

    await readKeys(inDirectory(directory), "EdDSA", {});
    expect(directoryEntries()).toEqual([name("1"), name("2"), ".mine.tmp"]);
    await openKeys(inDirectory(directory), "EdDSA", {});
    expect(directoryEntries()).toEqual([name("2"), ".mine.tmp", "EdDSA.pem"]);
  });

  test("is not made by reading it", async () => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "keys");
    expect(await readKeys(inDirectory(directory), "EdDSA", {})).toEqual([]);
    expect(existsSync(directory)).toBe(false);
  });
});

describe("a key file that cannot be used is refused, and stays as it is", () => {
  const PEM = "cannot be read as a private key in PEM; it may be truncated";
  const NEITHER = "this is neither PEM nor a JWK; expected a private key in one of them";
  const PUBLIC = "this is no private key, and a certificate or public key cannot sign";
  const ENCRYPTED = "this key is encrypted, which is not supported yet; decrypt it first";
  const EMPTY = "empty; expected a private key in PEM or as a JWK";
  const cipher = { cipher: "aes-256-cbc", passphrase: "secret" } as const;
  const certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

  /** Opening and reading both refuse it; the directory is byte for byte as it was. */
  async function expectRefusal(
    directory: string,
    message: string,
    algorithm: SigningAlgorithm = "EdDSA",
  ): Promise<void> {
    const state = () =>
      readdirSync(directory).map((name) => {
        const path = join(directory, name);
        return [name, modeOf(path), statSync(path).isFile() ? readFileSync(path, "base64") : ""];
      });
    const before = state();
    expect(await refusalOf(openKeys(inDirectory(directory), algorithm, {}))).toBe(message);
    expect(await refusalOf(readKeys(inDirectory(directory), algorithm, {}))).toBe(message);
    expect(state()).toEqual(before);
  }

  test.each([
    ["an empty file", "EdDSA", "", EMPTY],
    ["a file of spaces", "EdDSA", " \n\n", EMPTY],
    ["garbage", "EdDSA", "hello", NEITHER],
    ["binary garbage", "EdDSA", Buffer.from([0, 255, 254, 10, 0]), NEITHER],
    [
      "a PEM with another body",
      "EdDSA",
      "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
      PEM,
    ],
    ["a public key", "EdDSA", ed25519.publicKey.export({ type: "spki", format: "pem" }), PUBLIC],
    ["a public key in PKCS#1", "RS256", rsa.publicKey.export({ type: "pkcs1", format: "pem" }), PUBLIC],
    ["a certificate", "EdDSA", certificate, PUBLIC],
    ["an encrypted key", "EdDSA", ed25519.privateKey.export({ ...PKCS8, ...cipher }), ENCRYPTED],
    [
      "an encrypted key in PKCS#1",
      "RS256",
      rsa.privateKey.export({ ...PKCS8, type: "pkcs1", ...cipher }),
      ENCRYPTED,
    ],
    [
      "an encrypted key in SEC 1",
      "ES256",
      p256.privateKey.export({ ...PKCS8, type: "sec1", ...cipher }),
      ENCRYPTED,
    ],
    ["an RSA key", "EdDSA", pemOf(rsa.privateKey), "EdDSA needs an Ed25519 key, and this is an RSA key"],
    [
      "an Ed448 key",
      "EdDSA",
      pemOf(ed448.privateKey),
      "EdDSA needs an Ed25519 key, and this is a key of the type ed448",
    ],
    [
      "an Ed25519 key",
      "RS256",
      pemOf(ed25519.privateKey),
      "RS256 needs an RSA key, and this is an Ed25519 key",
    ],
    [
      "an RSA-PSS key",
      "PS256",
      pemOf(rsaPss.privateKey),
      "PS256 needs an RSA key, and this is a key of the type rsa-pss",
    ],
    ["an EC key", "PS512", pemOf(p256.privateKey), "PS512 needs an RSA key, and this is an EC key on P-256"],
    [
      "another curve",
      "ES256",
      pemOf(p384.privateKey),
      "ES256 needs an EC key on P-256, and this is an EC key on P-384",
    ],
    [
      "another curve",
      "ES384",
      pemOf(p521.privateKey),
      "ES384 needs an EC key on P-384, and this is an EC key on P-521",
    ],
    [
      "another curve",
      "ES512",
      pemOf(p256.privateKey),
      "ES512 needs an EC key on P-521, and this is an EC key on P-256",
    ],
    [
      "an unusual curve",
      "ES256",
      pemOf(secp256k1.privateKey),
      "ES256 needs an EC key on P-256, and this is an EC key on secp256k1",
    ],
    [
      "1024 bits",
      "RS256",
      pemOf(rsa1024.privateKey),
      "an RSA key needs at least 2048 bits, and this one has 1024",
    ],
  ] as const)("%s for %s", async (_what, algorithm, content, message) => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder, { [`${algorithm}.pem`]: content });
    await expectRefusal(directory, `${join(directory, `${algorithm}.pem`)}: ${message}`, algorithm);
  });

  test("a key truncated at any byte", async () => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder);
    const file = join(directory, "EdDSA.pem");
    const pem = pemOf(ed25519.privateKey);
    // The last byte is the line end, which a key can do without.
    for (let length = 0; length < pem.length - 1; length++) {
      writeFileSync(file, pem.slice(0, length), { mode: 0o600 });
      await expectRefusal(
        directory,
        `${file}: ${length === 0 ? EMPTY : length < "-----BEGIN".length ? NEITHER : PEM}`,
      );
    }
  });

  // RSA keys differ in length by a few bytes; a negative number counts from the end, where the last byte is the line end.
  test.each([20, 100, 1000, 1600, -2])("an RSA key cut off at byte %i", async (end) => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder, { "RS256.pem": pemOf(rsa.privateKey).slice(0, end) });
    await expectRefusal(directory, `${join(directory, "RS256.pem")}: ${PEM}`, "RS256");
  });

  test("a key that is not the one that signs", async () => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder, { "EdDSA.pem": pemOf(ed25519.privateKey), "RS256.pem": "" });
    await expectRefusal(directory, `${join(directory, "RS256.pem")}: ${EMPTY}`);
  });

  test.each([0o644, 0o640, 0o604, 0o620, 0o602, 0o777])("a key with the mode %o", async (mode) => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder, { "EdDSA.pem": pemOf(ed25519.privateKey) });
    const file = join(directory, "EdDSA.pem");
    chmodSync(file, mode);
    await expectRefusal(
      directory,
      `${file}: this key file is open to other users (mode 0${mode.toString(8)}); close it: chmod 600 ${file}`,
    );
  });

  test.each([0o755, 0o750, 0o701, 0o770])(
    "a directory with the mode %o, with a key or without",
    async (mode) => {
      using folder = temporaryFolder();
      const directory = keyDirectory(folder);
      chmodSync(directory, mode);
      const message = `${directory}: this key directory is open to other users (mode 0${mode.toString(8)}); close it: chmod 700 ${directory}`;
      await expectRefusal(directory, message);
      writeFileSync(join(directory, "EdDSA.pem"), pemOf(ed25519.privateKey), { mode: 0o600 });
      await expectRefusal(directory, message);
    },
  );

  test("a directory in the place of the file", async () => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder);
    const file = join(directory, "EdDSA.pem");
    mkdirSync(file, { mode: 0o700 });
    await expectRefusal(directory, `${file}: this is not a file; expected a private key in PEM`);
  });

  // Opening a FIFO waits for a writer, in a thread that nothing can stop.
  test("a FIFO in the place of the file", { timeout: 5000 }, async () => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder);
    const file = join(directory, "EdDSA.pem");
    execFileSync("mkfifo", ["-m", "600", file]);
    await expectRefusal(directory, `${file}: this is not a file; expected a private key in PEM`);
  });

  test("a link that leads nowhere", async () => {
    using folder = temporaryFolder();
    const directory = keyDirectory(folder);
    const file = join(directory, "EdDSA.pem");
    symlinkSync(join(folder.path, "none.pem"), file);
    expect(await refusalOf(openKeys(inDirectory(directory), "EdDSA", {}))).toBe(
      `${file}: this key file cannot be read: ENOENT: no such file or directory, open '${file}'`,
    );
    expect(readdirSync(directory)).toEqual(["EdDSA.pem"]);
  });

  test("a file in the place of the directory", async () => {
    using folder = temporaryFolder();
    const path = join(folder.path, "keys");
    writeFileSync(path, "mine");
    expect(await refusalOf(openKeys(inDirectory(path), "EdDSA", {}))).toBe(
      `${path}: the key directory cannot be created: EEXIST: file already exists, mkdir '${path}'`,
    );
    expect(await refusalOf(readKeys(inDirectory(path), "EdDSA", {}))).toBe(
      `${path}: the key directory cannot be read: ENOTDIR: not a directory, scandir '${path}'`,
    );
    expect(readFileSync(path, "utf8")).toBe("mine");
  });
});

describe("a key in a variable", () => {
  const pem = pemOf(ed25519.privateKey);
  const jwk = ed25519.privateKey.export({ format: "jwk" });

  test.each([
    ["PEM", pem],
    ["PEM with line ends written as \\n", pem.replaceAll("\n", "\\n")],
    ["PEM with Windows line ends", pem.replaceAll("\n", "\r\n")],
    ["PEM amid spaces", `\n  ${pem}\n\n`],
    ["PEM without the last line end", pem.trimEnd()],
    ["a JWK", JSON.stringify(jwk)],
    ["a JWK over several lines", JSON.stringify(jwk, undefined, 2)],
  ])("may be %s", async (_form, value) => {
    const [key] = await openVariable(value);
    expect(key?.publicJwk.x).toBe(jwk.x);
  });

  test.each([
    ["SEC 1", "ES256", p256.privateKey.export({ type: "sec1", format: "pem" })],
    ["PKCS#1", "RS256", rsa.privateKey.export({ type: "pkcs1", format: "pem" })],
  ] as const)("may be PEM in %s", async (_form, algorithm, value) => {
    const [key] = await openVariable(value.toString(), algorithm);
    expect(key?.algorithm).toBe(algorithm);
  });

  test.each([
    ["that is not set", undefined, "not set; expected a private key in PEM or as a JWK"],
    ["that is empty", "", "empty; expected a private key in PEM or as a JWK"],
    [
      "that holds something else",
      "hello",
      "this is neither PEM nor a JWK; expected a private key in one of them",
    ],
    ["that is cut", pem.slice(0, 60), "cannot be read as a private key in PEM; it may be truncated"],
    [
      "with a cut JWK",
      JSON.stringify(jwk).slice(0, 60),
      "not valid JSON; expected a private key in PEM or as a JWK",
    ],
    [
      "with a public JWK",
      JSON.stringify({ ...jwk, d: undefined }),
      "this is a public JWK; a private one has the member d",
    ],
    ["with an empty JWK", "{}", "this is a public JWK; a private one has the member d"],
    [
      "with a symmetric JWK",
      JSON.stringify({ kty: "oct", k: "c2VjcmV0" }),
      "this is a symmetric key, which cannot be published in a JWK Set",
    ],
    [
      "with a JWK of an unknown type",
      JSON.stringify({ kty: jwk.d, d: jwk.d }),
      "cannot be read as a private JWK; a member is missing or wrong",
    ],
    [
      "with a JWK that lacks a member",
      JSON.stringify({ ...RFC_RSA_KEY, qi: undefined }),
      "cannot be read as a private JWK; a member is missing or wrong",
    ],
    [
      "with a key of another kind",
      pemOf(p256.privateKey),
      "EdDSA needs an Ed25519 key, and this is an EC key on P-256",
    ],
  ])("%s is refused, and never quoted", async (_what, value, message) => {
    const error = await openVariable(value).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "ERR_KEY", message: `the environment variable KEY: ${message}` });
    // Not in a cause either, where a log might find it.
    const everything = inspect(error, { depth: 10, showHidden: true });
    for (const secret of [jwk.d, pem.split("\n")[1]?.slice(-20), RFC_RSA_KEY.d, "c2VjcmV0"])
      expect(everything).not.toContain(secret);
  });
});

describe("a JWK whose parts belong to two keys is refused", () => {
  const MESSAGES = [
    "the private and the public part of this key do not belong together",
    // Node.js itself compares the parts of some types.
    "cannot be read as a private JWK; a member is missing or wrong",
  ];

  test.each([
    // Not EdDSA: Node.js 24 makes x from d, whatever x says, and 26 refuses the key.
    ["ES256", p256.privateKey, generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey, ["x", "y"]],
    ["RS256", rsa.privateKey, generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey, ["n"]],
  ] as const)("%s", async (algorithm, privateKey, otherKey, members) => {
    const jwk: Record<string, unknown> = { ...privateKey.export({ format: "jwk" }) };
    const other: Record<string, unknown> = { ...otherKey.export({ format: "jwk" }) };
    for (const member of members) jwk[member] = other[member];

    const open = async () => createSigningKey(parsePrivateKey(JSON.stringify(jwk), "k"), algorithm, "k");

    const error = await open().catch((reason: unknown) => reason);

    expect(error).toBeInstanceOf(KeyError);
    expect(MESSAGES).toContain((error as KeyError).message.replace("k: ", ""));
  });
});
