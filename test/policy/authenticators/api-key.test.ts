import { createHash } from "node:crypto";
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { readApiKeys } from "../../../src/config/authenticators/api-key.ts";
import { openApiKey } from "../../../src/policy/authenticators/api-key.ts";
import { createApiKey } from "../../../src/policy/authenticators/api-key-text.ts";
import type { CredentialSource } from "../../../src/policy/authenticators/credential-source.ts";
import type { ApiKey, ApiKeyOptions } from "../../../src/policy/authenticators/options.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { requestWith, surroundings } from "./support.ts";

const BEARER: CredentialSource = { kind: "header", name: "authorization", scheme: "Bearer" };
const BARE: CredentialSource = { kind: "header", name: "x-api-key", scheme: undefined };
const KEY = createApiKey("csk");
const UNKNOWN = { kind: "invalid", reason: "the API key is not known" };
const TWICE = { kind: "invalid", reason: "there is more than one credential" };
const EMPTY = { kind: "invalid", reason: "the credential is empty" };
const ACME = { kind: "user", user: { sub: "acme", claims: { plan: "gold" } } };

const sha256Of = (key: string) => createHash("sha256").update(key).digest("hex");
const entry = (key: string, others: Partial<ApiKey> = {}): ApiKey => ({
  subject: "acme",
  sha256: sha256Of(key),
  claims: { plan: "gold" },
  expiresAt: undefined,
  disabled: false,
  ...others,
});

/** An authenticator that knows these keys, and its clock and events. */
async function open(keys: readonly ApiKey[], options: Partial<ApiKeyOptions> = {}) {
  const { clock, events, ...given } = surroundings();
  const all = {
    ...({ type: "apiKey", source: BEARER, keys } as const),
    ...{ keysFile: undefined, forwardCredential: false, ...options },
  };
  return { authenticator: await openApiKey("partners", all, given, readApiKeys), clock, events };
}

test("the whole hash of a key counts, and not only its start", async () => {
  const start = sha256Of(KEY).slice(0, 60);
  const nearly = [`${start}0000`, `${start}ffff`].filter((digest) => digest !== sha256Of(KEY));
  const others = nearly.map((sha256, index) => entry("", { subject: `other-${index}`, sha256 }));
  const ask = async (keys: readonly ApiKey[]) =>
    (await open(keys)).authenticator.authenticate(requestWith(["Authorization", `Bearer ${KEY}`]));
  expect(await ask(others)).toEqual(UNKNOWN);
  expect(await ask([...others, entry(KEY)])).toEqual(ACME);
});

describe("a key in a field with a scheme", () => {
  test.each([
    ["is known by its hash", `Bearer ${KEY}`, ACME],
    ["has its scheme in any case", `bEARER ${KEY}`, ACME],
    ["that is not listed is refused", `Bearer ${createApiKey("csk")}`, UNKNOWN],
    ["that is the hash itself is refused", `Bearer ${sha256Of(KEY)}`, UNKNOWN],
    [
      "that is mistyped is told so",
      `Bearer ${KEY.slice(0, -1)}${KEY.endsWith("0") ? "1" : "0"}`,
      { kind: "invalid", reason: "the API key is mistyped: its checksum is wrong" },
    ],
    ["that is empty is refused", "Bearer ", EMPTY],
    [
      "of another scheme is for somebody else",
      "Basic YTpi",
      { kind: "not-mine", reason: "the credential is not of the scheme Bearer" },
    ],
    [
      "without the scheme is for somebody else",
      KEY,
      { kind: "not-mine", reason: "the credential is not of the scheme Bearer" },
    ],
  ])("%s", async (_what, value, outcome) => {
    const { authenticator } = await open([entry(KEY)]);
    expect(authenticator.authenticate(requestWith(["Authorization", value]))).toEqual(outcome);
  });

  test("that is absent is for somebody else", async () => {
    const { authenticator } = await open([entry(KEY)]);
    expect(authenticator.authenticate(requestWith([]))).toEqual({
      kind: "not-mine",
      reason: "the request has no such credential",
    });
  });

  test("beside another field of the name is refused, whichever scheme that has", async () => {
    const { authenticator } = await open([entry(KEY)]);
    for (const other of [`Bearer ${KEY}`, "Basic YTpi", ""])
      expect(
        authenticator.authenticate(requestWith(["Authorization", `Bearer ${KEY}`, "authorization", other])),
      ).toEqual(TWICE);
  });
});

describe("a key in a field of its own", () => {
  test.each([
    ["is known, in any case of the name", ["X-API-KEY", KEY], ACME],
    ["is the whole value: a scheme is part of it", ["x-api-key", `Bearer ${KEY}`], UNKNOWN],
    ["that is empty is refused", ["x-api-key", ""], EMPTY],
    ["that stands there twice is refused", ["x-api-key", KEY, "X-Api-Key", KEY], TWICE],
    [
      "is not one in a field of another spelling",
      ["x_api_key", KEY],
      { kind: "not-mine", reason: "the request has no such credential" },
    ],
  ])("%s", async (_what, fields, outcome) => {
    const { authenticator } = await open([entry(KEY)], { source: BARE });
    expect(authenticator.authenticate(requestWith(fields))).toEqual(outcome);
  });
});

test.each([
  ["is known", `/a?x=1&key=${KEY}`, ACME],
  ["that is empty is refused", "/a?key=", EMPTY],
  ["that stands there twice is refused", `/a?key=${KEY}&key=${KEY}`, TWICE],
  [
    "is not one in the path",
    `/key=${KEY}`,
    { kind: "not-mine", reason: "the request has no such credential" },
  ],
])("a key in the query %s", async (_what, target, outcome) => {
  const { authenticator } = await open([entry(KEY)], { source: { kind: "query", name: "key" } });
  expect(authenticator.authenticate(requestWith([], target))).toEqual(outcome);
});

test.each([
  ["is known", ["Cookie", `a=b; key=${KEY}`], ACME],
  ["that is empty is refused", ["Cookie", "key="], EMPTY],
  ["that stands there twice is refused", ["Cookie", `key=${KEY}`, "cookie", `key=${KEY}`], TWICE],
])("a key in a cookie %s", async (_what, fields, outcome) => {
  const { authenticator } = await open([entry(KEY)], { source: { kind: "cookie", name: "key" } });
  expect(authenticator.authenticate(requestWith(fields))).toEqual(outcome);
});

describe("a key that is listed", () => {
  const request = requestWith(["authorization", `Bearer ${KEY}`]);

  test("is good until the instant it expires, and not at it", async () => {
    const expiresAt = Date.UTC(2027, 0, 31);
    const { authenticator, clock } = await open([entry(KEY, { expiresAt })]);
    clock.now = expiresAt - 1;
    expect(authenticator.authenticate(request)).toEqual(ACME);
    clock.now = expiresAt;
    const expired = { kind: "invalid", reason: "the API key has expired" };
    expect(authenticator.authenticate(request)).toEqual(expired);
    clock.now = expiresAt + 1;
    expect(authenticator.authenticate(request)).toEqual(expired);
  });

  test("and disabled is refused", async () => {
    const { authenticator } = await open([entry(KEY, { disabled: true })]);
    expect(authenticator.authenticate(request)).toEqual({
      kind: "invalid",
      reason: "the API key is disabled",
    });
  });

  test("is one of two of a subject while it is rotated", async () => {
    const next = createApiKey("csk");
    const { authenticator } = await open([entry(KEY), entry(next)]);
    for (const key of [KEY, next])
      expect(authenticator.authenticate(requestWith(["authorization", `Bearer ${key}`]))).toEqual(ACME);
  });

  test("is found among ten thousand in a file", async () => {
    using folder = temporaryFolder();
    const keys = Array.from({ length: 10_000 }, (_, i) => `secret-${i}`);
    const path = join(folder.path, "keys.yaml");
    const line = (key: string) => `- {subject: ${key}, sha256: ${sha256Of(key)}}\n`;
    writeFileSync(path, `keys:\n${keys.map(line).join("")}`);
    const { authenticator } = await open([], { keysFile: path });
    for (const key of keys)
      expect(authenticator.authenticate(requestWith(["authorization", `Bearer ${key}`]))).toMatchObject({
        user: { sub: key },
      });
    expect(authenticator.authenticate(requestWith(["authorization", "Bearer secret-10000"]))).toEqual(
      UNKNOWN,
    );
    authenticator.close();
  });
});

describe("the challenge", () => {
  test.each([
    [BEARER, undefined, 'Bearer realm="countersign"'],
    [BEARER, "wrong", 'Bearer realm="countersign", error="invalid_token"'],
    [BARE, "wrong", 'ApiKey realm="countersign"'],
    [{ kind: "header", name: "authorization", scheme: "Token" }, "wrong", 'Token realm="countersign"'],
    [{ kind: "query", name: "key" }, "wrong", 'ApiKey realm="countersign"'],
  ] as const)("of %j where the credential is %s", async (source, reason, challenge) => {
    const { authenticator } = await open([], { source });
    expect(authenticator.challenge(reason)).toBe(challenge);
  });
});

const OLD = `keys: [{subject: old, sha256: ${sha256Of("old-secret")}}]\n`;
const NEW = `keys: [{subject: new, sha256: ${sha256Of("new-secret")}}]\n`;
const bearing = (key: string) => requestWith(["authorization", `Bearer ${key}`]);

/** A keys file in a folder of its own, and an authenticator of it. */
async function openFile(text: string, keys: readonly ApiKey[] = []) {
  const folder = temporaryFolder();
  const path = join(folder.path, "keys.yaml");
  writeFileSync(path, text);
  const opened = await open(keys, { keysFile: path });
  return {
    ...{ ...opened, path },
    save: (newText: string) => {
      writeFileSync(`${path}.new`, newText);
      renameSync(`${path}.new`, path);
    },
    [Symbol.dispose]() {
      opened.authenticator.close();
      folder[Symbol.dispose]();
    },
  };
}

describe("a keys file", () => {
  test("that is replaced by rename is read again: the old keys are refused, the new ones good", async () => {
    using opened = await openFile(OLD, [entry(KEY)]);
    const { authenticator, events, path } = opened;
    expect(authenticator.authenticate(bearing("old-secret"))).toMatchObject({ kind: "user" });

    opened.save(NEW);
    await vi.waitFor(() => expect(events).toHaveLength(1));

    expect(events).toEqual([
      { authenticator: "partners", kind: "reloaded", message: `${path} was read again` },
    ]);
    expect(authenticator.authenticate(bearing("old-secret"))).toEqual(UNKNOWN);
    expect(authenticator.authenticate(bearing("new-secret"))).toMatchObject({ user: { sub: "new" } });
    expect(authenticator.authenticate(bearing(KEY))).toEqual(ACME);
  });

  test("that is written in place is read again", async () => {
    using opened = await openFile(OLD);
    writeFileSync(opened.path, NEW);
    await vi.waitFor(() =>
      expect(opened.authenticator.authenticate(bearing("new-secret"))).toMatchObject({ kind: "user" }),
    );
  });

  test("in a Kubernetes volume, where a link to a folder is changed, is read again", async () => {
    using folder = temporaryFolder();
    const at = (...names: string[]) => join(folder.path, ...names);
    for (const [name, text] of [
      ["..1", OLD],
      ["..2", NEW],
    ] as const) {
      mkdirSync(at(name));
      writeFileSync(at(name, "keys.yaml"), text);
    }
    symlinkSync("..1", at("..data"));
    symlinkSync(join("..data", "keys.yaml"), at("keys.yaml"));
    const { authenticator } = await open([], { keysFile: at("keys.yaml") });

    symlinkSync("..2", at("..data_tmp"));
    renameSync(at("..data_tmp"), at("..data"));

    await vi.waitFor(() =>
      expect(authenticator.authenticate(bearing("new-secret"))).toMatchObject({ kind: "user" }),
    );
    expect(authenticator.authenticate(bearing("old-secret"))).toEqual(UNKNOWN);
    authenticator.close();
  });

  test("that is broken is told with its place; the keys from before go on until it is mended", async () => {
    using opened = await openFile(OLD);
    const { authenticator, events, path } = opened;
    opened.save("keys:\n- {subject: new, sha256: abc}\n");
    await vi.waitFor(() => expect(events).toHaveLength(1));
    expect(events).toEqual([
      {
        authenticator: "partners",
        kind: "problem",
        message: `${path} cannot be used, and what it said before goes on: ${path}:2:26 keys[0].sha256: expected a SHA-256 of 64 hexadecimal digits; countersign api-key create prints one`,
      },
    ]);
    expect(authenticator.authenticate(bearing("old-secret"))).toMatchObject({ kind: "user" });

    opened.save(NEW);
    await vi.waitFor(() => expect(events.map(({ kind }) => kind)).toContain("recovered"));
    expect(authenticator.authenticate(bearing("old-secret"))).toEqual(UNKNOWN);
    expect(authenticator.authenticate(bearing("new-secret"))).toMatchObject({ kind: "user" });
  });

  test("that is cut off while it is saved does not count: half a file, or none of it", async () => {
    using opened = await openFile(OLD);
    for (const text of ["", OLD.slice(0, -30), "keys:\n"]) {
      const { length } = opened.events;
      opened.save(text);
      await vi.waitFor(() => expect(opened.events.length).toBeGreaterThan(length));
      expect(opened.events.at(-1)?.kind).toBe("problem");
      expect(opened.authenticator.authenticate(bearing("old-secret"))).toMatchObject({ kind: "user" });
    }
  });

  test("that is closed is not read any more", async () => {
    using opened = await openFile(OLD);
    opened.authenticator.close();
    opened.save(NEW);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(opened.authenticator.authenticate(bearing("old-secret"))).toMatchObject({ kind: "user" });
  });

  test("that does not exist keeps the authenticator from opening", async () => {
    await expect(open([], { keysFile: "/nowhere/keys.yaml" })).rejects.toThrow(
      "/nowhere/keys.yaml: this file does not exist",
    );
  });

  test("with a key that the configuration has too is refused: one of the two may be disabled", async () => {
    using folder = temporaryFolder();
    const path = join(folder.path, "keys.yaml");
    writeFileSync(path, `keys: [{subject: acme, disabled: true, sha256: ${sha256Of(KEY)}}]\n`);
    await expect(open([entry(KEY)], { keysFile: path })).rejects.toThrow(
      `${path}: a key of "acme" stands under keys too; keep one`,
    );
  });
});
