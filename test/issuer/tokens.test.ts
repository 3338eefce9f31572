import { generateKeyPairSync } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import { describe, expect, test } from "vitest";
import type { SigningAlgorithm } from "../../src/issuer/algorithms.ts";
import type { Claims, TokenRequest } from "../../src/issuer/claims-set.ts";
import { type IssuerKeys, keySetOf } from "../../src/issuer/keys/key-set.ts";
import { replaceKeys, rotateKeys } from "../../src/issuer/keys/manage.ts";
import { openManagedKeys } from "../../src/issuer/keys/managed-keys.ts";
import type { KeyNeed } from "../../src/issuer/keys/ring.ts";
import { createSigningKey, type LocalSigningKey } from "../../src/issuer/keys/signing-key.ts";
import { createMemoryStore } from "../../src/issuer/keys/store.ts";
import { createTokens } from "../../src/issuer/tokens.ts";

/** 2026-01-01T00:00:00Z, in milliseconds. */
const START = 1_767_225_600_000;
const DAY = 86_400_000;
const ISSUER = "http://issuer.example";

const REQUEST: TokenRequest = {
  subject: "alice",
  audience: "orders",
  lifetimeSeconds: 300,
  additionalClaims: {},
  notBefore: false,
  tokenId: false,
  reuse: true,
  algorithm: "EdDSA",
  purpose: "token",
};

/** Tokens over a ring in memory, and the clock that they go by. */
async function openTokens(...algorithms: SigningAlgorithm[]) {
  const needs = (algorithms.length > 0 ? algorithms : (["EdDSA"] as const)).map(
    (algorithm): KeyNeed => ({ purpose: "token", algorithm, longestLifetimeSeconds: 3600 }),
  );
  const clock = { now: START };
  const now = () => clock.now;
  const store = createMemoryStore();
  const rotation = { everySeconds: undefined, overlapSeconds: 300 };
  const keys = await openManagedKeys({ store, rotation, needs, now, onEvent: () => {} });
  const { tokenFor } = createTokens({ url: ISSUER, keys, now });
  return {
    clock,
    keys,
    tokenFor,
    /** A whole rotation: another key signs when it is done. */
    async rotate() {
      await rotateKeys(store, needs, now());
      await keys.refresh();
      clock.now += DAY;
    },
    async replaceAtOnce() {
      await replaceKeys(store, needs, now());
      await keys.refresh();
    },
    [Symbol.asyncDispose]: () => keys.close(),
  };
}

/** Tokens over two keys of which the second can take the place of the first at any moment. */
async function openSwitchable(algorithm: "EdDSA" | "RS256") {
  const pair = () =>
    algorithm === "EdDSA"
      ? generateKeyPairSync("ed25519")
      : generateKeyPairSync("rsa", { modulusLength: 2048 });
  const create = () => createSigningKey(pair().privateKey, algorithm, "a test's key");
  const [oldKey, newKey] = [await create(), await create()];
  const active = (key: LocalSigningKey) => [{ purpose: "token", key, longestLifetimeSeconds: 3600 } as const];
  let keySet = keySetOf(active(oldKey), [newKey]);
  const keys: IssuerKeys = {
    current: () => keySet,
    keepFor: async () => {},
    refresh: async () => {},
    close: async () => {},
  };
  return {
    ...createTokens({ url: ISSUER, keys, now: () => START }),
    kids: { old: oldKey.kid, new: newKey.kid },
    switchTo(theOldOne: "published before" | "withdrawn before") {
      keySet = keySetOf(active(newKey), theOldOne === "published before" ? [oldKey] : []);
    },
  };
}

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

describe("a token is used again", () => {
  test("for the same claims, without a promise", async () => {
    await using issuer = await openTokens("PS256");
    const first = await issuer.tokenFor({ ...REQUEST, algorithm: "PS256" });
    expect(issuer.tokenFor({ ...REQUEST, algorithm: "PS256" })).toBe(first);
  });

  test.each([1, 2, 3, 60, 300, 3600])(
    "until half of its %i seconds are left, and not for a millisecond longer",
    async (lifetimeSeconds) => {
      await using issuer = await openTokens();
      const request = { ...REQUEST, lifetimeSeconds };
      // In the middle of a second: what counts is iat, which is the second's beginning.
      issuer.clock.now += 400;
      const first = issuer.tokenFor(request);
      issuer.clock.now = START + lifetimeSeconds * 500 - 1;
      expect(issuer.tokenFor(request)).toBe(first);
      // What was renewed beside the request does not count here.
      issuer.clock.now += 1;
      const { iat } = decodeJwt(await issuer.tokenFor(request));
      expect(iat).toBe(Math.floor(issuer.clock.now / 1000));
    },
  );

  test("but not as one of another type, nor where its end is fixed", async () => {
    await using issuer = await openTokens();
    const first = issuer.tokenFor(REQUEST);
    const accessToken = String(issuer.tokenFor({ ...REQUEST, type: "at+jwt" }));
    expect(decodeProtectedHeader(accessToken).typ).toBe("at+jwt");
    const expiresBy = START / 1000 + 7;
    const ending = String(issuer.tokenFor({ ...REQUEST, expiresBy }));
    expect(decodeJwt(ending).exp).toBe(expiresBy);
    expect(issuer.tokenFor(REQUEST)).toBe(first);
  });

  test("but not before its own time, when the clock was set back", async () => {
    await using issuer = await openTokens();
    issuer.tokenFor(REQUEST);
    issuer.clock.now -= 3_600_000;
    expect(decodeJwt(await issuer.tokenFor(REQUEST)).iat).toBe(START / 1000 - 3600);
  });

  test.each([
    ["reuse is off", { reuse: false }],
    ["each has an id", { tokenId: true }],
  ])("but not where %s", async (_, setting) => {
    await using issuer = await openTokens("ES256");
    const request: TokenRequest = { ...REQUEST, ...setting, algorithm: "ES256" };
    expect(await issuer.tokenFor(request)).not.toBe(await issuer.tokenFor(request));
  });

  test("but not after its key has been rotated", async () => {
    const issuer = await openSwitchable("EdDSA");
    const before = await issuer.tokenFor(REQUEST);
    issuer.switchTo("published before");
    const after = await issuer.tokenFor(REQUEST);
    expect(decodeProtectedHeader(before).kid).toBe(issuer.kids.old);
    expect(decodeProtectedHeader(after).kid).toBe(issuer.kids.new);
    expect(issuer.tokenFor(REQUEST)).toBe(after);
  });

  test("unless newer ones have taken its room", async () => {
    await using issuer = await openTokens("ES256");
    const requestFor = (audience: string): TokenRequest => ({ ...REQUEST, audience, algorithm: "ES256" });
    const first = issuer.tokenFor(requestFor("0"));
    for (let i = 1; i <= 10_000; i++) issuer.tokenFor(requestFor(String(i)));
    const last = issuer.tokenFor(requestFor("10000"));
    expect(issuer.tokenFor(requestFor("10000"))).toBe(last);
    // An ES256 signature is never the same twice.
    expect(issuer.tokenFor(requestFor("0"))).not.toBe(first);
  });
});

describe("a new token is made ahead of need", () => {
  test.each(["EdDSA", "PS256"] as const)("%s: no request waits for it", async (algorithm) => {
    await using issuer = await openTokens(algorithm);
    const request: TokenRequest = { ...REQUEST, algorithm };
    const first = await issuer.tokenFor(request);

    issuer.clock.now = START + 112_499;
    expect(issuer.tokenFor(request)).toBe(first);
    await nextTurn();
    expect(issuer.tokenFor(request), "too early").toBe(first);

    issuer.clock.now = START + 112_500;
    expect(issuer.tokenFor(request), "this request gets the old one").toBe(first);
    await expect.poll(() => issuer.tokenFor(request)).not.toBe(first);
    issuer.clock.now = START + 200_000;
    expect(decodeJwt(issuer.tokenFor(request) as string).iat).toBe(START / 1000 + 112);
  });

  test("once, however many requests there are", async () => {
    await using issuer = await openTokens("PS256");
    const request: TokenRequest = { ...REQUEST, algorithm: "PS256" };
    await issuer.tokenFor(request);
    issuer.clock.now = START + 120_000;
    const seen = new Set<string | Promise<string>>();
    await expect
      .poll(() => {
        for (let i = 0; i < 100; i++) seen.add(issuer.tokenFor(request));
        return seen.size;
      })
      .toBe(2);
    await nextTurn();
    seen.add(issuer.tokenFor(request));
    expect(seen.size).toBe(2);
  });
});

test("concurrent requests for the same claims wait for one signature", async () => {
  await using issuer = await openTokens("PS256");
  const request: TokenRequest = { ...REQUEST, algorithm: "PS256" };
  // A PS256 signature is never the same twice (RFC 8017 §8.1: its salt is random).
  const tokens = await Promise.all(Array.from({ length: 100 }, () => issuer.tokenFor({ ...request })));
  expect(new Set(tokens).size).toBe(1);
  const other = await issuer.tokenFor({ ...request, subject: "bob" });
  expect(decodeJwt(other).sub).toBe("bob");
});

describe("while a token is being signed its key", () => {
  const request: TokenRequest = { ...REQUEST, algorithm: "RS256" };

  test("retires: the token is good, and is not used again", async () => {
    const issuer = await openSwitchable("RS256");
    const token = issuer.tokenFor(request);
    issuer.switchTo("published before");
    expect(decodeProtectedHeader(await token).kid).toBe(issuer.kids.old);
    expect(decodeProtectedHeader(await issuer.tokenFor(request)).kid).toBe(issuer.kids.new);
  });

  test("is withdrawn: the key in its place signs it again", async () => {
    const issuer = await openSwitchable("RS256");
    const token = issuer.tokenFor(request);
    issuer.switchTo("withdrawn before");
    expect(decodeProtectedHeader(await token).kid).toBe(issuer.kids.new);
  });
});

describe("two requests get the same token only if every claim but iat, exp and jti is equal", () => {
  const jsonValue = fc.oneof(
    fc.constantFrom<Claims[string]>("a", "b", "", 0, 1, true, null, [], {}, "1", "null", '"', '","'),
    fc.array(fc.constantFrom("a", "b"), { maxLength: 2 }),
  );
  /** Texts that could be taken for the end of one and the beginning of another. */
  const trickyText = fc.string({ unit: fc.constantFrom("1", ":", " ", "a", "["), maxLength: 3 });
  const request = fc.record({
    subject: fc.oneof(trickyText, fc.constantFrom("alice", "bob", 'alice","aud":"orders', "a")),
    audience: fc.oneof(
      trickyText,
      fc.constantFrom(
        undefined,
        "undefined",
        "orders",
        "billing",
        ["orders"],
        ["orders", "billing"],
        '["orders"]',
      ),
    ),
    lifetimeSeconds: fc.constantFrom(1, 60, 300),
    additionalClaims: fc.dictionary(fc.constantFrom("role", "tenant", "iss", "a", '"'), jsonValue, {
      maxKeys: 3,
    }),
    notBefore: fc.boolean(),
    tokenId: fc.boolean(),
    reuse: fc.constantFrom(true, true, true, false),
    algorithm: fc.constantFrom<SigningAlgorithm>("EdDSA", "ES256"),
    purpose: fc.constant("token" as const),
  });
  const step = fc.oneof(
    { weight: 20, arbitrary: fc.record({ kind: fc.constant("request" as const), request }) },
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant("wait" as const),
        milliseconds: fc.integer({ min: -3_600_000, max: 200_000 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constantFrom("rotate" as const, "replaceAtOnce" as const) }),
    },
  );

  test("whatever users, policies, clocks and rotations there are, in whatever order", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 80 }), async (steps) => {
        await using issuer = await openTokens("EdDSA", "ES256");
        const given = new Map<string, { claims: object; header: object }>();
        for (const one of steps) {
          if (one.kind === "wait") issuer.clock.now += one.milliseconds;
          else if (one.kind !== "request") await issuer[one.kind]();
          else {
            const token = await issuer.tokenFor(one.request);
            check(token, one.request, issuer, given);
          }
          await nextTurn();
        }
      }),
      { numRuns: 150 },
    );
  });

  function check(
    token: string,
    wanted: TokenRequest,
    { clock, keys }: Awaited<ReturnType<typeof openTokens>>,
    given: Map<string, { claims: object; header: object }>,
  ) {
    const { iat = 0, exp = 0, nbf, jti, ...claims } = decodeJwt(token);
    const header = decodeProtectedHeader(token);
    const aud = wanted.audience === undefined ? {} : { aud: wanted.audience };
    // What a fresh token would say.
    expect({ ...claims }).toEqual(
      JSON.parse(JSON.stringify({ iss: ISSUER, sub: wanted.subject, ...aud, ...wanted.additionalClaims })),
    );
    expect(nbf).toBe(wanted.notBefore ? iat : undefined);
    expect(jti === undefined).toBe(!wanted.tokenId);
    // By the key that signs now, with at least half its life left.
    const active = keys.current().activeKey("token", wanted.algorithm);
    expect(header).toEqual({ alg: wanted.algorithm, kid: active?.key.kid, typ: "JWT" });
    expect(exp - iat).toBe(wanted.lifetimeSeconds);
    const age = clock.now - iat * 1000;
    expect(age).toBeGreaterThanOrEqual(0);
    expect(age < 1000 || age < wanted.lifetimeSeconds * 500, `the token is ${age} ms old`).toBe(true);
    // And never to a request for other claims.
    const same = given.get(token);
    if (same) expect(isDeepStrictEqual(same, { claims, header })).toBe(true);
    given.set(token, { claims, header });
  }
});

test("a lifetime that the key was not kept for is stored with it before it signs", async () => {
  await using issuer = await openTokens();
  const week = 7 * 86_400;
  const token = issuer.tokenFor({ ...REQUEST, lifetimeSeconds: week });
  expect(token).toBeInstanceOf(Promise);
  const jwt = await token;
  expect(issuer.keys.current().activeKey("token", "EdDSA")?.longestLifetimeSeconds).toBe(week);
  await issuer.rotate();
  // A day later the old key is still there, and for the rest of the week.
  issuer.clock.now += 5 * DAY;
  await issuer.keys.refresh();
  const keySet = createLocalJWKSet({ keys: [...issuer.keys.current().published] });
  await jwtVerify(jwt, keySet, { currentDate: new Date(issuer.clock.now) });
});

test("an algorithm without a key is refused by its name", async () => {
  await using issuer = await openTokens();
  expect(() => issuer.tokenFor({ ...REQUEST, algorithm: "ES512" })).toThrow(
    "the issuer: there is no key that signs with ES512",
  );
});
