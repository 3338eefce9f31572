import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import bcrypt from "bcrypt";
import { describe, expect, test, vi } from "vitest";
import type { Authenticator } from "../../../src/policy/authenticators/authenticator.ts";
import { openBasic } from "../../../src/policy/authenticators/basic.ts";
import { readHtpasswd } from "../../../src/policy/authenticators/htpasswd.ts";
import type { BasicUser } from "../../../src/policy/authenticators/options.ts";
import { verifyPassword } from "../../../src/policy/authenticators/password-hash.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { requestWith, surroundings } from "./support.ts";

/** As `htpasswd -nbB alice "correct horse"` of Apache 2.4 printed it. */
const ALICE = "alice:$2y$05$9y/PfwezazO0PjA7cc/muuLpKxF2RAbQ2Id.iYtvOYVFx7tI53/5K";

/** A line as htpasswd -B writes it. */
async function lineOf(username: string, password: string): Promise<string> {
  return `${username}:${(await bcrypt.hash(password, 4)).replace(/^\$2b/, "$2y")}`;
}

const signIn = (basic: Authenticator, username: string, password: string) =>
  basic.authenticate(
    requestWith(["authorization", `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`]),
  );

/** A folder with the file, and an authenticator of it that counts what it checks. */
async function open(text: string, users: readonly BasicUser[] = []) {
  const folder = temporaryFolder();
  const path = join(folder.path, "users.htpasswd");
  writeFileSync(path, text);
  const { events, ...given } = surroundings();
  const verify = vi.fn(verifyPassword);
  try {
    const options = { type: "basic", users, htpasswd: path, forwardCredential: false } as const;
    const basic = await openBasic("ops", options, given, verify);
    return {
      ...{ basic, path, events, verify },
      save: (newText: string) => {
        writeFileSync(`${path}.new`, newText);
        renameSync(`${path}.new`, path);
      },
      [Symbol.dispose]() {
        basic.close();
        folder[Symbol.dispose]();
      },
    };
  } catch (error) {
    folder[Symbol.dispose]();
    throw error;
  }
}

describe("the users of an htpasswd file", () => {
  test("are known by what the real htpasswd wrote", async () => {
    using opened = await open(`${ALICE}\n`);
    expect(await signIn(opened.basic, "alice", "correct horse")).toEqual({
      kind: "user",
      user: { sub: "alice", claims: {} },
    });
    expect(await signIn(opened.basic, "alice", "wrong")).toMatchObject({ kind: "invalid" });
  });

  test("stand beside those of the configuration", async () => {
    const passwordHash = await bcrypt.hash("pw", 4);
    using opened = await open(ALICE, [{ username: "ops", passwordHash, claims: { a: 1 }, disabled: false }]);
    expect(await signIn(opened.basic, "ops", "pw")).toMatchObject({ user: { claims: { a: 1 } } });
    expect(await signIn(opened.basic, "alice", "correct horse")).toMatchObject({ user: { sub: "alice" } });
  });

  test("are none where the file is empty", async () => {
    using opened = await open("\n# nobody yet\n");
    expect(await signIn(opened.basic, "alice", "x")).toMatchObject({ kind: "invalid" });
  });
});

describe("a change of the file", () => {
  test("by rename is noticed: who was removed is refused at once, though the password was right before", async () => {
    using opened = await open(`${ALICE}\n${await lineOf("bob", "pw")}\n`);
    const { basic, events } = opened;
    await signIn(basic, "bob", "pw");
    expect(signIn(basic, "bob", "pw")).toMatchObject({ kind: "user" });

    opened.save(`${ALICE}\n${await lineOf("carol", "new")}\n`);
    await vi.waitFor(() => expect(events).toHaveLength(1));

    expect(events).toEqual([
      { authenticator: "ops", kind: "reloaded", message: `${opened.path} was read again` },
    ]);
    expect(await signIn(basic, "bob", "pw")).toMatchObject({ kind: "invalid" });
    expect(await signIn(basic, "carol", "new")).toMatchObject({ kind: "user" });
  });

  test("of a password refuses the old one at once", async () => {
    using opened = await open(await lineOf("bob", "old"));
    await signIn(opened.basic, "bob", "old");
    opened.save(await lineOf("bob", "new"));
    await vi.waitFor(() => expect(opened.events).toHaveLength(1));
    expect(await signIn(opened.basic, "bob", "old")).toMatchObject({ kind: "invalid" });
    expect(await signIn(opened.basic, "bob", "new")).toMatchObject({ kind: "user" });
  });

  test("does not make the passwords of the other users be checked again", async () => {
    using opened = await open(`${ALICE}\n`);
    await signIn(opened.basic, "alice", "correct horse");
    opened.save(`${await lineOf("bob", "pw")}\n${ALICE}\n`);
    await vi.waitFor(() => expect(opened.events).toHaveLength(1));
    expect(signIn(opened.basic, "alice", "correct horse")).toMatchObject({ kind: "user" });
    expect(opened.verify).toHaveBeenCalledTimes(1);
  });

  test("that breaks it is told, and the users from before go on until it is mended", async () => {
    using opened = await open(`${ALICE}\n`);
    const { basic, events, path } = opened;
    opened.save(`${ALICE}\nbob:{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=\n`);
    await vi.waitFor(() => expect(events).toHaveLength(1));
    expect(events[0]).toEqual({
      authenticator: "ops",
      kind: "problem",
      message: `${path} cannot be used, and what it said before goes on: ${path}:2: only bcrypt hashes are taken; make it anew with htpasswd -B`,
    });
    expect(await signIn(basic, "alice", "correct horse")).toMatchObject({ kind: "user" });

    opened.save(`${await lineOf("bob", "pw")}\n`);
    await vi.waitFor(() => expect(events.map(({ kind }) => kind)).toContain("recovered"));
    expect(await signIn(basic, "bob", "pw")).toMatchObject({ kind: "user" });
    expect(await signIn(basic, "alice", "correct horse")).toMatchObject({ kind: "invalid" });
  });
});

describe("a file that cannot be used keeps the authenticator from opening", () => {
  test("one that does not exist", async () => {
    const options = {
      type: "basic",
      users: [],
      htpasswd: "/nowhere/users",
      forwardCredential: false,
    } as const;
    await expect(openBasic("ops", options, surroundings())).rejects.toThrow(
      "/nowhere/users: this file does not exist",
    );
  });

  test("one with a user whom the configuration has too", async () => {
    const passwordHash = await bcrypt.hash("pw", 4);
    await expect(
      open(`\n${ALICE}`, [{ username: "alice", passwordHash, claims: {}, disabled: false }]),
    ).rejects.toThrow(/users\.htpasswd:2: this user also stands under users; keep one$/);
  });
});

describe("a line", () => {
  const HASH = ALICE.slice("alice:".length);

  test.each([
    ["blank ones and comments are left out", `\n  \n# a comment\n${ALICE}\n`, 4],
    ["lines may end as on Windows", `#\r\n${ALICE}\r\n`, 2],
    ["a byte order mark is no part of a name", `\uFEFF${ALICE}`, 1],
    ["spaces at its end do not count", `${ALICE}  \n`, 1],
  ])("%s", (_what, text, line) => {
    expect(readHtpasswd(text, "users")).toEqual([{ username: "alice", passwordHash: HASH, line }]);
  });

  test("may have a name with spaces and other letters", () => {
    expect(readHtpasswd(`Zoë Q:${HASH}`, "users")).toMatchObject([{ username: "Zoë Q" }]);
  });

  const ONLY_BCRYPT = "only bcrypt hashes are taken; make it anew with htpasswd -B";
  test.each([
    ["alice:$apr1$ZE1XS7oK$leN4WRVly4KToonqyJtVf0", ONLY_BCRYPT],
    ["alice:{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=", ONLY_BCRYPT],
    ["alice:QLAv4F4Ly9w8Q", ONLY_BCRYPT],
    ["alice:hunter2", ONLY_BCRYPT],
    ["alice:", ONLY_BCRYPT],
    ["alice:$5$salt$hash", ONLY_BCRYPT],
    [`alice:x:${HASH}`, ONLY_BCRYPT],
    ["alice", "expected a line such as user:hash"],
    [`:${HASH}`, "expected a line such as user:hash"],
    [`al\u0007ice:${HASH}`, "expected a user name without control characters"],
    [
      `alice:${HASH.slice(0, -1)}`,
      "expected a whole bcrypt hash: $2b$, $2a$ or $2y$, the cost, and 53 characters; htpasswd -B makes one",
    ],
    [
      `alice:${HASH.replace("$05$", "$17$")}`,
      "expected a bcrypt hash that costs less to check: at most 15; htpasswd -B makes one",
    ],
  ])("that cannot be used is refused by its number, without the hash: %j", (line, problem) => {
    expect(() => readHtpasswd(`# users\n${line}\n`, "users")).toThrow(new Error(`users:2: ${problem}`));
  });

  test("with a user who has one already is refused", () => {
    expect(() => readHtpasswd(`${ALICE}\nbob:${HASH}\n${ALICE}\n`, "users")).toThrow(
      new Error("users:3: line 1 has this user already; keep one"),
    );
  });

  test("is not the only one that is told of, and there are not too many", () => {
    expect(() => readHtpasswd("a\n".repeat(7), "users")).toThrow(
      new Error(
        `${[1, 2, 3, 4, 5].map((line) => `users:${line}: expected a line such as user:hash`).join("; ")}; and 2 lines more`,
      ),
    );
  });
});
