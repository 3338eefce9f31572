import { describe, expect, test } from "vitest";
import { createBoundedQueue } from "../../../src/bounded-queue.ts";
import type { Authenticator } from "../../../src/policy/authenticators/authenticator.ts";
import { openBasic } from "../../../src/policy/authenticators/basic.ts";
import { createPasswordChecks } from "../../../src/policy/authenticators/password-checks.ts";
import type { PasswordHash } from "../../../src/policy/authenticators/password-hash.ts";
import { requestWith, surroundings } from "./support.ts";

const HASHES = [
  "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
  "$scrypt$ln=14,r=8,p=5$/+Ol7myt/SchnMwyuhxf6A$r8gU2qy8bInBfl22bmNf5X5L3NcA8vBA+WEs/guWBWw",
] as const;

/** Checks that are done by hand: a password that begins with "good" is right. */
function manualVerifier() {
  const calls: { hash: PasswordHash; password: string; end(error?: Error): void }[] = [];
  const verify = (hash: PasswordHash, password: string) =>
    new Promise<boolean>((resolve, reject) => {
      calls.push({
        hash,
        password,
        end: (error) => (error ? reject(error) : resolve(password.startsWith("good"))),
      });
    });
  return { calls, verify };
}

/** Checks that end at once. */
function quickVerifier() {
  const calls: { hash: PasswordHash; password: string }[] = [];
  return {
    calls,
    verify: async (hash: PasswordHash, password: string) => {
      calls.push({ hash, password });
      return password.startsWith("good");
    },
  };
}

const signIn = (basic: Authenticator, username: string, password: string) =>
  basic.authenticate(
    requestWith(["authorization", `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`]),
  );

/** An authenticator of the users "ops" and "dev", who have hashes of two kinds. */
function openWith(verify: (hash: PasswordHash, password: string) => Promise<boolean>) {
  const users = [
    { username: "ops", passwordHash: HASHES[0], claims: {}, disabled: false },
    { username: "dev", passwordHash: HASHES[1], claims: {}, disabled: false },
  ];
  return openBasic(
    "ops",
    { type: "basic", users, htpasswd: undefined, forwardCredential: false },
    surroundings(),
    verify,
  );
}

describe("a stranger's password is checked as a user's is", () => {
  test("once, against a hash that is no user's", async () => {
    const { calls, verify } = quickVerifier();
    const basic = await openWith(verify);
    for (const username of ["ops", "nobody"]) {
      expect(await signIn(basic, username, "bad")).toMatchObject({ kind: "invalid" });
      expect(calls).toHaveLength(1);
      calls.length = 0;
    }
    await signIn(basic, "ops", "bad");
    await signIn(basic, "nobody", "bad");
    expect(calls[1]?.hash).not.toEqual(calls[0]?.hash);
  });

  test("at the cost of the users: where they differ, each is some strangers', and always the same", async () => {
    const { calls, verify } = quickVerifier();
    const basic = await openWith(verify);
    const kinds = new Map<string, Set<string | undefined>>();
    for (let round = 0; round < 2; round++)
      for (let i = 0; i < 100; i++) {
        await signIn(basic, `nobody${i}`, "bad");
        kinds.set(`nobody${i}`, (kinds.get(`nobody${i}`) ?? new Set()).add(calls.at(-1)?.hash.kind));
      }
    const each = [...kinds.values()].map((kind) => [...kind].join());
    expect(new Set(each)).toEqual(new Set(["bcrypt", "scrypt"]));
  });

  test("and a verification that says yes, which none does, lets nobody in", async () => {
    const { calls, verify } = quickVerifier();
    const basic = await openWith(verify);
    const refused = { kind: "invalid", reason: "the user name or the password is wrong" };
    expect(await signIn(basic, "nobody", "good")).toEqual(refused);
    expect(await signIn(basic, "nobody", "good")).toEqual(refused);
    expect(calls.length).toBeGreaterThan(0);
  });

  test("also where it comes many times at once", async () => {
    const { calls, verify } = manualVerifier();
    const basic = await openWith(verify);
    for (const username of ["ops", "nobody"]) {
      const outcomes = [1, 2, 3].map(() => signIn(basic, username, "bad"));
      expect(calls).toHaveLength(1);
      calls.pop()?.end();
      for (const outcome of outcomes) expect(await outcome).toMatchObject({ kind: "invalid" });
    }
  });
});

/** Checks with a clock, and one user. */
function checksWith(verify: (hash: PasswordHash, password: string) => Promise<boolean>) {
  const { now, clock } = surroundings();
  const holder = { hash: { kind: "bcrypt", text: HASHES[0] } as const };
  return { checks: createPasswordChecks(now, verify), clock, holder };
}

const MINUTES = 60_000;
const GOOD = { username: "ops", password: "good" };

describe("a right password", () => {
  test("is not checked again, and the answer is there at once", async () => {
    const { calls, verify } = quickVerifier();
    const { checks, holder } = checksWith(verify);
    expect(await checks.check(GOOD, holder)).toEqual({ kind: "right" });
    expect(checks.check(GOOD, holder)).toEqual({ kind: "right" });
    expect(calls).toHaveLength(1);
  });

  test("is checked again after five minutes, also where the clock was set back", async () => {
    const { calls, verify } = quickVerifier();
    const { checks, holder, clock } = checksWith(verify);
    await checks.check(GOOD, holder);
    clock.now += 5 * MINUTES - 1;
    expect(checks.check(GOOD, holder)).toEqual({ kind: "right" });
    clock.now += 1;
    expect(checks.check(GOOD, holder)).toBeInstanceOf(Promise);
    await new Promise(setImmediate);
    clock.now -= 60 * MINUTES;
    await checks.check(GOOD, holder);
    expect(calls).toHaveLength(3);
  });

  test("is right for the entry it was checked for, and not for the one that takes its place", async () => {
    const { calls, verify } = quickVerifier();
    const { checks, holder } = checksWith(verify);
    await checks.check(GOOD, holder);
    await checks.check(GOOD, { ...holder });
    expect(calls).toHaveLength(2);
  });

  test("is checked anew for an entry that takes the place of another while that is being checked", async () => {
    const { calls, verify } = manualVerifier();
    const { checks, holder } = checksWith(verify);
    const next = { ...holder };
    const [first, second] = [checks.check(GOOD, holder), checks.check(GOOD, next)];
    expect(calls).toHaveLength(2);
    calls[0]?.end();
    expect(await first).toEqual({ kind: "right" });
    expect(checks.check(GOOD, next)).toBe(second);
    calls[1]?.end();
    expect(await second).toEqual({ kind: "right" });
    expect(checks.check(GOOD, next)).toEqual({ kind: "right" });
  });

  test("is not that of another user, however the two are put together", async () => {
    const { calls, verify } = quickVerifier();
    const { checks, holder } = checksWith(verify);
    await checks.check({ username: "a", password: "good:c" }, holder);
    await checks.check({ username: "a:good", password: "c" }, holder);
    await checks.check({ username: "", password: "good" }, holder);
    await checks.check({ username: "good", password: "" }, holder);
    expect(calls).toHaveLength(4);
  });

  test("is forgotten for others after a thousand", async () => {
    const { calls, verify } = quickVerifier();
    const { checks, holder } = checksWith(verify);
    for (let i = 0; i <= 1000; i++) await checks.check({ username: "ops", password: `good${i}` }, holder);
    expect(checks.check({ username: "ops", password: "good1" }, holder)).toEqual({ kind: "right" });
    await checks.check({ username: "ops", password: "good0" }, holder);
    expect(calls).toHaveLength(1002);
  });
});

test("a wrong password is checked every time", async () => {
  const { calls, verify } = quickVerifier();
  const { checks, holder } = checksWith(verify);
  for (let i = 0; i < 3; i++)
    expect(await checks.check({ username: "ops", password: "bad" }, holder)).toEqual({ kind: "wrong" });
  expect(calls).toHaveLength(3);
});

test("a check that fails is no answer, and is not remembered", async () => {
  const { calls, verify } = manualVerifier();
  const { checks, holder } = checksWith(verify);
  const failing = checks.check(GOOD, holder);
  calls[0]?.end(new Error("no memory"));
  expect(await failing).toEqual({ kind: "failed", cause: "no memory" });
  const next = checks.check(GOOD, holder);
  calls[1]?.end();
  expect(await next).toEqual({ kind: "right" });
});

describe("passwords that come together", () => {
  test("are checked two at a time; a hundred wait, and the next is told so", async () => {
    const { calls, verify } = manualVerifier();
    const basic = await openWith(verify);
    const outcomes = Array.from({ length: 102 }, (_, i) => signIn(basic, "ops", `good${i}`));
    expect(calls).toHaveLength(2);
    expect(signIn(basic, "ops", "good102")).toEqual({
      kind: "unavailable",
      reason: "too many passwords are being checked",
      cause: "the queue of passwords to be checked is full",
    });

    for (let i = 0; i < 102; i++) {
      expect(calls.length).toBeLessThanOrEqual(i + 2);
      calls[i]?.end();
      expect(await outcomes[i]).toMatchObject({ kind: "user" });
      await new Promise(setImmediate);
    }
    expect(calls).toHaveLength(102);
    const later = signIn(basic, "ops", "good102");
    calls[102]?.end();
    expect(await later).toMatchObject({ kind: "user" });
  });

  test("do not hold up those that have been found right before", async () => {
    const { calls, verify } = manualVerifier();
    const basic = await openWith(verify);
    const first = signIn(basic, "ops", "good");
    calls[0]?.end();
    await first;
    for (let i = 0; i < 200; i++) void signIn(basic, "ops", `bad${i}`);
    expect(signIn(basic, "ops", "good")).toMatchObject({ kind: "user" });
    for (let i = 1; i <= 102; i++) {
      calls[i]?.end();
      await new Promise(setImmediate);
    }
  });

  test("a check that fails is not the caller's fault, and makes room", async () => {
    const { calls, verify } = manualVerifier();
    const basic = await openWith(verify);
    const outcomes = ["a", "b", "c"].map((password) => signIn(basic, "ops", password));
    calls[0]?.end(new Error("no memory"));
    expect(await outcomes[0]).toEqual({
      kind: "unavailable",
      reason: "the password cannot be checked now",
      cause: "no memory",
    });
    await new Promise(setImmediate);
    expect(calls).toHaveLength(3);
    for (const call of calls.slice(1)) call.end();
  });
});

test("a bounded queue runs jobs in the order they came", async () => {
  const queue = createBoundedQueue({ atOnce: 1, waiting: 10 });
  const order: number[] = [];
  await Promise.all([1, 2, 3].map((job) => queue.run(async () => order.push(job))));
  expect(order).toEqual([1, 2, 3]);
});
