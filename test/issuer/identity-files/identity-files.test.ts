import { execFileSync } from "node:child_process";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from "jose";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { IdentityFiles } from "../../../src/issuer/identity-files/identity-files.ts";
import { type FileKeeping, ISSUER, LIFETIME_SECONDS, startKeeping } from "./files.ts";

const read = ({ file }: FileKeeping) => readFileSync(file().path, "utf8");
const modeOf = (path: string) => (statSync(path).mode & 0o7777).toString(8);
const writesOf = (files: IdentityFiles) => files.writes().map(({ success, failure }) => [success, failure]);
/** Groups that a file may be given to: root may give it to any. */
const groupsOfOne = () =>
  process.getuid?.() === 0 ? [65_533, 65_532] : (process.getgroups?.() ?? []).toSorted((a, b) => b - a);
const kidOf = (token: string) => decodeProtectedHeader(token).kid;

/** One file that has been written. */
async function startWritten(...[changes]: Parameters<FileKeeping["file"]>): Promise<FileKeeping> {
  const keeping = await startKeeping();
  await keeping.files.adapt([keeping.file(changes)]);
  return keeping;
}

describe("a file that is not there", () => {
  test("gets a token, and nothing else: no line end, nothing beside it", async () => {
    const keeping = await startWritten();
    const keys = createLocalJWKSet({ keys: keeping.keys.current().published } as unknown as JSONWebKeySet);
    const { payload } = await jwtVerify(read(keeping), keys, { currentDate: new Date(keeping.now()) });
    const iat = keeping.now() / 1000;
    expect(payload).toEqual({
      ...{ iss: ISSUER, sub: "acme/shop", aud: "sts.amazonaws.com", iat, exp: iat + LIFETIME_SECONDS },
      ...{ account: "acme", project: "shop" },
    });
    expect(readdirSync(keeping.folder)).toEqual(["token"]);
    expect(keeping.events).toEqual([]);
  });

  test("is its owner's alone, whatever the umask", async () => {
    const before = process.umask(0);
    try {
      expect(modeOf((await startWritten()).file().path)).toBe("600");
    } finally {
      process.umask(before);
    }
  });

  test("is a group's to read where it is named, by number or in a variable", async () => {
    const [gid = 0] = groupsOfOne();
    for (const group of [gid, String(gid)]) {
      const { path } = (await startWritten({ group })).file();
      expect([modeOf(path), statSync(path).gid]).toEqual(["640", gid]);
    }
  });

  test("is a group's to read where it is named, by name", async () => {
    const gid = process.getgid?.() ?? 0;
    const [, name = ""] =
      new RegExp(`^([^:]+):[^:]*:${gid}:`, "m").exec(readFileSync("/etc/group", "utf8")) ?? [];
    const { path } = (await startWritten({ group: name === "" ? gid : name })).file();
    expect([modeOf(path), statSync(path).gid]).toEqual(["640", gid]);
  });

  test("is not written for a group that there is not: the problem names it", async () => {
    const keeping = await startWritten({ group: "no-such-group" });
    expect(readdirSync(keeping.folder)).toEqual([]);
    expect(keeping.events).toMatchObject([
      {
        kind: "problem",
        message: `${keeping.file().path} cannot be written, and what it holds stays: there is no group no-such-group in /etc/group; make it, or name it by its number`,
      },
    ]);
  });
});

describe("a token", () => {
  test("is replaced when 80 % of its life have passed, and not before", async () => {
    const keeping = await startWritten();
    const first = read(keeping);
    await keeping.pass(LIFETIME_SECONDS * 0.8 - 1);
    expect(read(keeping)).toBe(first);
    await keeping.pass(1);
    expect(decodeJwt(read(keeping)).iat).toBe(keeping.now() / 1000);
    expect(writesOf(keeping.files)).toEqual([[2, 0]]);
  });

  test("is replaced when another key signs, although the old one is still published", async () => {
    const keeping = await startWritten();
    const first = kidOf(read(keeping));
    await keeping.rotate();
    await keeping.files.refresh();
    expect(kidOf(read(keeping))).not.toBe(first);
    expect(keeping.keys.current().published.map(({ kid }) => kid)).toContain(first);
    expect(kidOf(read(keeping))).toBe(keeping.keys.current().activeKey("identity", "ES256")?.key.kid);
  });

  test("is replaced when its key was withdrawn", async () => {
    const keeping = await startWritten();
    const first = kidOf(read(keeping));
    await keeping.withdraw();
    await keeping.files.refresh();
    expect(keeping.keys.current().published.map(({ kid }) => kid)).toEqual([kidOf(read(keeping))]);
    expect(kidOf(read(keeping))).not.toBe(first);
  });

  test("is no good one from when its key was withdrawn, where the next cannot be written", async () => {
    const keeping = await startWritten();
    await keeping.files.adapt([keeping.file({ group: "no-such-group" })]);
    for (let tries = 0; tries < 5; tries++) await keeping.pass(30);
    expect(keeping.files.status()).toMatchObject([{ expiresAt: expect.any(Number) }]);
    // Also where it has failed before, and the next try is not due yet.
    await keeping.withdraw();
    await keeping.files.refresh();
    expect(keeping.files.status()).toMatchObject([
      { expiresAt: undefined, problem: expect.stringContaining("no-such-group") },
    ]);
  });

  test.each([
    ["another audience", { audience: "api://AzureADTokenExchange" }],
    ["another subject", { subject: "acme" }],
    ["other claims", { claims: { account: "acme" } }],
    ["another lifetime", { lifetimeSeconds: 60 }],
  ])("is replaced at once for %s in another configuration", async (_what, changes) => {
    const keeping = await startWritten();
    const first = read(keeping);
    await keeping.files.adapt([keeping.file(changes)]);
    expect(read(keeping)).not.toBe(first);
    expect(decodeJwt(read(keeping))).not.toEqual(decodeJwt(first));
  });

  test("that comes from the future, as the clock was set back, is replaced", async () => {
    const keeping = await startWritten();
    await keeping.pass(-100);
    expect(decodeJwt(read(keeping)).iat).toBe(keeping.now() / 1000);
  });
});

describe("a file that holds what is wanted is left alone", () => {
  test("by a process that starts", async () => {
    const keeping = await startWritten();
    const written = lstatSync(keeping.file().path);
    const next = keeping.another();
    await next.adapt([keeping.file()]);
    expect(writesOf(next)).toEqual([[0, 0]]);
    expect(next.status()).toEqual(keeping.files.status());
    expect(lstatSync(keeping.file().path).ino).toBe(written.ino);
  });

  test("by all but one of several processes, also when it is due", async () => {
    const keeping = await startWritten();
    const others = [keeping.another(), keeping.another()];
    for (const other of others) await other.adapt([keeping.file()]);
    for (let round = 0; round < 3; round++) {
      await keeping.pass(LIFETIME_SECONDS * 0.8);
      for (const other of others) await other.refresh();
    }
    expect(writesOf(keeping.files)).toEqual([[4, 0]]);
    expect(others.map(writesOf)).toEqual([[[0, 0]], [[0, 0]]]);
  });

  test("by a reload that changes nothing about it", async () => {
    const keeping = await startWritten();
    await keeping.files.adapt([keeping.file(), keeping.file({ path: join(keeping.folder, "second") })]);
    await keeping.files.adapt([keeping.file()]);
    expect(writesOf(keeping.files)).toEqual([
      [1, 0],
      [1, 0],
    ]);
  });
});

describe("what else stands in the place of a token is replaced within half a minute:", () => {
  const good = (keeping: FileKeeping) => read(keeping);
  test.each<[string, (keeping: FileKeeping) => string | Buffer]>([
    ["nothing", () => ""],
    ["a text", () => "hello"],
    ["bytes", () => Buffer.from([0, 255, 254, 10, 0, 200])],
    ["dots", () => ".".repeat(1000)],
    ["a deep list", () => `${Buffer.from("[".repeat(100_000)).toString("base64url")}.e30.x`],
    ["more than a token can be", () => "a".repeat(3 * 1024 * 1024)],
    ["a token that was cut", (keeping) => good(keeping).slice(0, -3)],
    ["a token with a line end", (keeping) => `${good(keeping)}\n`],
    ["a token that nobody signed", () => "eyJhbGciOiJub25lIn0.eyJpc3MiOiJhIn0."],
    ["a token whose claims were changed", (keeping) => withOtherClaims(good(keeping))],
  ])("%s", async (_what, contentOf) => {
    const keeping = await startWritten();
    writeFileSync(keeping.file().path, contentOf(keeping));
    await keeping.pass(30);
    expect(decodeJwt(read(keeping)).iat).toBe(keeping.now() / 1000);
    expect(keeping.events).toEqual([]);
  });

  test("a file that others may read", async () => {
    const keeping = await startWritten();
    chmodSync(keeping.file().path, 0o644);
    await keeping.pass(30);
    expect(modeOf(keeping.file().path)).toBe("600");
  });

  test("a file of another group", async ({ skip }) => {
    const [first = 0, second] = groupsOfOne();
    if (second === undefined) return skip("a member of one group alone cannot give a file to another");
    const keeping = await startWritten({ group: first });
    await keeping.files.adapt([keeping.file({ group: second })]);
    expect(statSync(keeping.file().path).gid).toBe(second);
    expect(keeping.events).toEqual([]);
  });

  test("a link, which is not followed", async () => {
    const keeping = await startKeeping();
    const elsewhere = join(keeping.folder, "elsewhere");
    writeFileSync(elsewhere, "somebody else's");
    symlinkSync(elsewhere, keeping.file().path);
    await keeping.files.adapt([keeping.file()]);
    expect(lstatSync(keeping.file().path).isFile()).toBe(true);
    expect(readFileSync(elsewhere, "utf8")).toBe("somebody else's");
  });

  test("a link to a good token, which whoever owns the link could exchange for another", async () => {
    const keeping = await startWritten();
    const elsewhere = join(keeping.folder, "elsewhere");
    renameSync(keeping.file().path, elsewhere);
    symlinkSync(elsewhere, keeping.file().path);
    await keeping.pass(30);
    expect(lstatSync(keeping.file().path).isFile()).toBe(true);
  });

  test("a FIFO, which keeps nobody waiting", async () => {
    const keeping = await startKeeping();
    execFileSync("mkfifo", [keeping.file().path]);
    await keeping.files.adapt([keeping.file()]);
    expect(lstatSync(keeping.file().path).isFile()).toBe(true);
  });

  test("no file at all", async () => {
    const keeping = await startWritten();
    rmSync(keeping.file().path);
    await keeping.pass(30);
    expect(kidOf(read(keeping))).toEqual(expect.any(String));
  });
});

describe("where a file cannot be written", () => {
  test("it is tried again after 1, 2, 4 … and at most 60 seconds", async () => {
    const keeping = await startKeeping();
    await keeping.files.adapt([keeping.file({ path: join(keeping.folder, "missing", "token") })]);
    const failures = () => keeping.files.writes()[0]?.failure;
    expect(failures()).toBe(1);
    for (const [index, pause] of [1, 2, 4, 8, 16, 32, 60, 60].entries()) {
      await keeping.pass(pause - 0.001);
      expect(failures()).toBe(index + 1);
      await keeping.pass(0.001);
      expect(failures()).toBe(index + 2);
    }
  });

  test("the folder may appear later; problem and recovery are told once", async () => {
    const keeping = await startKeeping();
    const folder = join(keeping.folder, "later");
    const path = join(folder, "token");
    await keeping.files.adapt([keeping.file({ path })]);
    for (let tries = 0; tries < 3; tries++) await keeping.pass(60);
    expect(keeping.files.status()).toEqual([
      { path, expiresAt: undefined, problem: `there is no folder ${folder}; make it, or mount it` },
    ]);
    mkdirSync(folder);
    await keeping.pass(60);
    expect(keeping.files.status()).toEqual([
      { path, expiresAt: keeping.now() + LIFETIME_SECONDS * 1000, problem: undefined },
    ]);
    expect(keeping.events).toEqual([
      {
        path,
        kind: "problem",
        message: `${path} cannot be written, and what it holds stays: there is no folder ${folder}; make it, or mount it`,
      },
      { path, kind: "recovered", message: `${path} holds a fresh token again` },
    ]);
    await keeping.pass(1);
    expect(writesOf(keeping.files)).toEqual([[1, 4]]);
  });

  test("the token in it is good until it ends, and nothing is left beside it", async () => {
    const keeping = await startWritten();
    const token = read(keeping);
    const expiresAt = keeping.now() + LIFETIME_SECONDS * 1000;
    // A folder in the place of the file, or none around it, would take the token away too.
    await keeping.files.adapt([keeping.file({ group: "no-such-group" })]);
    await keeping.pass(LIFETIME_SECONDS - 1);
    expect(read(keeping)).toBe(token);
    expect(keeping.files.status()).toMatchObject([{ expiresAt, problem: expect.stringContaining("group") }]);
    await keeping.pass(60);
    expect(keeping.files.status()).toMatchObject([{ expiresAt: undefined }]);
  });

  test("a folder in its place is a problem, what was written aside is removed, and it recovers", async () => {
    const keeping = await startKeeping();
    mkdirSync(keeping.file().path);
    await keeping.files.adapt([keeping.file()]);
    expect(readdirSync(keeping.folder)).toEqual(["token"]);
    const [event] = keeping.events;
    expect(event?.message).toMatch(/EISDIR: .*\/\.token\.\*\.tmp'/);
    await keeping.pass(1);
    // The same words each time, or it would be news.
    expect(keeping.events).toHaveLength(1);
    rmdirSync(keeping.file().path);
    await keeping.pass(2);
    expect(keeping.events.map(({ kind }) => kind)).toEqual(["problem", "recovered"]);
    expect(keeping.files.status()[0]?.problem).toBeUndefined();
  });

  test("a file that is somebody else's however often it is written is a problem", async () => {
    const keeping = await startWritten();
    const geteuid = vi.spyOn(process, "geteuid").mockReturnValue(65_534);
    onTestFinished(() => geteuid.mockRestore());
    await keeping.pass(30);
    expect(keeping.events.map(({ message }) => message)).toEqual([
      expect.stringContaining("what was written is not what stands there"),
    ]);
    expect(writesOf(keeping.files)).toEqual([[1, 1]]);
    geteuid.mockRestore();
    await keeping.pass(1);
    expect(keeping.events.map(({ kind }) => kind)).toEqual(["problem", "recovered"]);
  });

  test("the others are kept all the same", async () => {
    const keeping = await startKeeping();
    const bad = keeping.file({ path: join(keeping.folder, "missing", "token") });
    await keeping.files.adapt([bad, keeping.file()]);
    expect(keeping.files.status().map(({ problem }) => problem === undefined)).toEqual([false, true]);
  });
});

test("what a process left that was killed while it wrote is removed at the next write; a younger one is not", async () => {
  const keeping = await startKeeping();
  const left = `.token.${"0".repeat(8)}-0000-4000-8000-${"0".repeat(12)}.tmp`;
  const young = left.replaceAll("0000", "1111");
  const others = [".token.notes.tmp", `.other${left}`];
  for (const name of [left, young, ...others]) writeFileSync(join(keeping.folder, name), "");
  const old = Date.now() / 1000 - 61;
  for (const name of [left, ...others]) utimesSync(join(keeping.folder, name), old, old);
  await keeping.files.adapt([keeping.file()]);
  expect(readdirSync(keeping.folder).toSorted()).toEqual([...others, young, "token"].toSorted());
});

test("whoever reads a file while it is written again and again sees a whole token each time", async () => {
  const keeping = await startWritten();
  const { path } = keeping.file();
  const seen = new Set<string>();
  let isOver = false;
  const reading = (async () => {
    while (!isOver) seen.add(await readFile(path, "utf8"));
  })();
  for (let round = 0; round < 60; round++) await keeping.pass(LIFETIME_SECONDS * 0.8);
  isOver = true;
  await reading;
  expect(writesOf(keeping.files)).toEqual([[61, 0]]);
  expect(seen.size).toBeGreaterThan(20);
  const keys = createLocalJWKSet({ keys: keeping.keys.current().published } as unknown as JSONWebKeySet);
  for (const token of seen) {
    const { iat = 0 } = decodeJwt(token);
    await jwtVerify(token, keys, { issuer: ISSUER, currentDate: new Date(iat * 1000) });
  }
});

test("a file that the configuration no longer has stays, and is not replaced any more", async () => {
  const keeping = await startWritten();
  const token = read(keeping);
  await keeping.files.adapt([]);
  await keeping.pass(LIFETIME_SECONDS);
  expect(read(keeping)).toBe(token);
  expect(keeping.files.status()).toEqual([]);
  expect(writesOf(keeping.files)).toEqual([[1, 0]]);
});

test("after the end the files stay, and nothing is written any more", async () => {
  const keeping = await startWritten();
  const token = read(keeping);
  await keeping.files.close();
  await keeping.files.adapt([keeping.file({ path: join(keeping.folder, "second") })]);
  expect(readdirSync(keeping.folder)).toEqual(["token"]);
  expect(read(keeping)).toBe(token);
});

test("without a call it is looked at every second", async () => {
  const keeping = await startWritten();
  rmSync(keeping.file().path);
  await keeping.withdraw();
  await expect.poll(() => readdirSync(keeping.folder), { timeout: 5000 }).toEqual(["token"]);
});

function withOtherClaims(token: string): string {
  const [header, , signature] = token.split(".");
  const claims = Buffer.from(JSON.stringify({ ...decodeJwt(token), account: "other" })).toString("base64url");
  return `${header}.${claims}.${signature}`;
}
