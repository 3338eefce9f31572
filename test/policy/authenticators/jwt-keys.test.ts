import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { JwtOptions } from "../../../src/policy/authenticators/options.ts";
import { callerWith, createTestClock, openTestJwt, type TestClock } from "../../support/caller.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import {
  DISCOVERY_PATH,
  generateTestKeyPair,
  JWKS_PATH,
  publicJwkOf,
  startIdentityProvider,
  type TestIdentityProvider,
} from "../../support/identity-provider.ts";

const MINUTE = 60;
const HOUR = 60 * MINUTE;

let clock: TestClock;
let provider: TestIdentityProvider;

beforeEach(async () => {
  clock = createTestClock();
  provider = await startIdentityProvider({ now: clock.now });
});
afterEach(() => provider[Symbol.asyncDispose]());

const open = (options?: Partial<JwtOptions>) => openTestJwt(provider.url, clock, options);

const UNAVAILABLE = { kind: "unavailable", reason: "the keys of the token's issuer cannot be fetched" };
const UNKNOWN_KEY = {
  kind: "invalid",
  reason: "the token is signed with a key that the issuer does not have",
};

/** How often the keys were fetched. */
const fetches = () => provider.requests.filter((path) => path === JWKS_PATH).length;

/** Keys that are fetched beside the requests come when they come. */
const settled = (condition: () => boolean) => vi.waitFor(() => expect(condition()).toBe(true));

describe("where the keys are", () => {
  test("the discovery of the issuer says it", async () => {
    using login = await open();
    expect(await login.ask(await provider.sign())).toMatchObject({ kind: "user" });
    expect(provider.requests).toEqual([DISCOVERY_PATH, JWKS_PATH]);
  });

  test.each(["/tenants/acme", "/tenants/acme/", "/"])("an issuer may have the path %s", async (path) => {
    await using tenant = await startIdentityProvider({ now: clock.now, path });
    using login = await openTestJwt(tenant.url, clock);
    expect(await login.ask(await tenant.sign())).toMatchObject({ kind: "user" });
    expect(tenant.requests[0]).toBe(`${path.replace(/\/$/, "")}${DISCOVERY_PATH}`);
  });

  test("where there is no OpenID discovery, the metadata of RFC 8414 says it", async () => {
    await using tenant = await startIdentityProvider({ now: clock.now, path: "/tenants/acme" });
    tenant.answer(`/tenants/acme${DISCOVERY_PATH}`, (_request, response) => response.writeHead(404).end());
    tenant.answer("/.well-known/oauth-authorization-server/tenants/acme", (_request, response) =>
      response.end(JSON.stringify({ issuer: tenant.url, jwks_uri: new URL(JWKS_PATH, tenant.url) })),
    );
    using login = await openTestJwt(tenant.url, clock);
    expect(await login.ask(await tenant.sign())).toMatchObject({ kind: "user" });
  });

  test("jwksUri says it without discovery, for an issuer that is no URL", async () => {
    using login = await openTestJwt("login", clock, {
      keys: { kind: "jwksUri", url: `${provider.url}${JWKS_PATH}` },
    });
    expect(await login.ask(await provider.sign({ iss: "login" }))).toMatchObject({ kind: "user" });
    expect(provider.requests).toEqual([JWKS_PATH]);
  });
});

describe("how often keys are fetched", () => {
  test("requests that come at once wait for one fetch", async () => {
    using login = await open();
    const tokens = await Promise.all(
      Array.from({ length: 50 }, (_, i) => provider.sign({ sub: `user-${i}` })),
    );
    const outcomes = await Promise.all(tokens.map(login.ask));
    expect(new Set(outcomes.map(({ kind }) => kind))).toEqual(new Set(["user"]));
    expect(fetches()).toBe(1);
  });

  test("not within ten minutes, then beside the requests, which do not wait", async () => {
    using login = await open();
    await login.ask(await provider.sign());
    clock.pass(10 * MINUTE - 1);
    await login.ask(await provider.sign());
    expect(fetches()).toBe(1);

    clock.pass(1);
    provider.answer(JWKS_PATH, () => {}); // never answers
    expect(await login.ask(await provider.sign())).toMatchObject({ kind: "user" });
    await settled(() => fetches() === 2);
    expect(await login.ask(await provider.sign({ sub: "another" }))).toMatchObject({ kind: "user" });
    expect(fetches()).toBe(2);
  });

  test("at once for a new key, when the last fetch is half a minute ago", async () => {
    using login = await open();
    await login.ask(await provider.sign());
    provider.rotate();
    expect(await login.ask(await provider.sign())).toEqual(UNKNOWN_KEY);
    expect(fetches()).toBe(1);

    clock.pass(30);
    expect(await login.ask(await provider.sign())).toMatchObject({ kind: "user" });
    expect(fetches()).toBe(2);
  });

  test("random kids cause one fetch in half a minute", async () => {
    using login = await open();
    await login.ask(await provider.sign());
    for (let second = 1; second <= 90; second++) {
      clock.pass(1);
      expect(await login.ask(await provider.sign({}, { kid: `random-${second}` }))).toEqual(UNKNOWN_KEY);
    }
    expect(fetches()).toBe(4);
  });

  test("not more often beside the requests, where that fails", async () => {
    using login = await open();
    await login.ask(await provider.sign());
    provider.answer(JWKS_PATH, (_request, response) => response.writeHead(500).end());
    clock.pass(10 * MINUTE);
    await login.ask(await provider.sign());
    await settled(() => login.events.length === 1);
    for (let second = 1; second < 30; second++) {
      clock.pass(1);
      expect(await login.ask(await provider.sign())).toMatchObject({ kind: "user" });
    }
    expect(fetches()).toBe(2);
    clock.pass(1);
    await login.ask(await provider.sign());
    await settled(() => fetches() === 3);
  });

  test("at once for a token without a kid that no key has signed: that may be a new key too", async () => {
    const withoutKid = async () => {
      const { kid: _kid, ...jwk } = await publicJwkOf(provider.key());
      provider.publish([jwk]);
    };
    await withoutKid();
    using login = await open();
    await login.ask(await provider.sign({}, { kid: undefined }));
    provider.rotate();
    await withoutKid();
    clock.pass(30);
    expect(await login.ask(await provider.sign({}, { kid: undefined }))).toMatchObject({ kind: "user" });
    expect(fetches()).toBe(2);
  });

  test("without keys, one in five seconds", async () => {
    provider.answer(JWKS_PATH, (_request, response) => response.writeHead(500).end());
    using login = await open();
    for (let second = 0; second < 20; second++) {
      expect(await login.ask(await provider.sign())).toMatchObject(UNAVAILABLE);
      clock.pass(1);
    }
    expect(fetches()).toBe(4);
  });

  test("a clock that is set back does not stop it", async () => {
    using login = await open();
    await login.ask(await provider.sign());
    clock.pass(-10 * HOUR);
    await login.ask(await provider.sign());
    provider.rotate();
    clock.pass(30);
    expect(await login.ask(await provider.sign())).toMatchObject({ kind: "user" });
  });
});

describe("keys that change", () => {
  test("a token whose key was withdrawn is refused after the next fetch, also where it was seen before", async () => {
    using login = await open();
    const withdrawn = await provider.sign({ exp: clock.now() / 1000 + HOUR });
    expect(await login.ask(withdrawn)).toMatchObject({ kind: "user" });

    provider.rotate({ withdraw: true });
    clock.pass(30);
    expect(await login.ask(await provider.sign())).toMatchObject({ kind: "user" });

    expect(await login.ask(withdrawn)).toEqual(UNKNOWN_KEY);
  });

  test("a new key under an old kid replaces it", async () => {
    using login = await open();
    const old = await provider.sign({ exp: clock.now() / 1000 + HOUR });
    await login.ask(old);
    const { kid } = provider.key();
    const successor = generateTestKeyPair(kid, "ES256");
    provider.publish([await publicJwkOf(successor)]);
    clock.pass(10 * MINUTE);
    await login.ask(old);
    await settled(() => fetches() === 2);

    await vi.waitFor(async () => expect(await login.ask(old)).toMatchObject({ kind: "invalid" }));
    expect(await login.ask(await provider.sign({}, {}, successor))).toMatchObject({ kind: "user" });
  });

  test("a set without a key that fits is told, and every token refused", async () => {
    provider.publish([await publicJwkOf(generateTestKeyPair("ed", "EdDSA"))]);
    using login = await open();
    expect(await login.ask(await provider.sign())).toEqual(UNKNOWN_KEY);
    expect(login.events).toMatchObject([
      {
        kind: "problem",
        message: expect.stringMatching(/no public key in it that verifies RS256 or ES256$/),
      },
    ]);
  });
});

describe("a token that comes again", () => {
  test("is answered at once, with what the first had", async () => {
    using login = await open();
    const token = await provider.sign();
    const first = await login.ask(token);
    const again = login.authenticator.authenticate(callerWith(token));
    expect(again).toBe(first);
  });

  test("is answered at once also after the same keys were fetched again", async () => {
    using login = await open();
    const token = await provider.sign({ exp: clock.now() / 1000 + HOUR });
    const first = await login.ask(token);
    clock.pass(30);
    await login.ask(await provider.sign({}, { kid: "unknown" }));
    expect(fetches()).toBe(2);
    expect(login.authenticator.authenticate(callerWith(token))).toBe(first);
  });

  test("is answered with its own caller, however callers and changes of keys are interleaved", async () => {
    using login = await open();
    const subjects = ["ada", "bob", "eve"];
    const tokenOf = (sub: string) => provider.sign({ sub, exp: clock.now() / 1000 + 10 * HOUR });
    const tokens = new Map(
      await Promise.all(subjects.map(async (sub) => [sub, await tokenOf(sub)] as const)),
    );
    let users = 0;
    const step = fc.record({ sub: fc.constantFrom(...subjects), rotates: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 30 }), async (steps) => {
        const asked = steps.map(async ({ sub, rotates }) => {
          if (rotates) {
            provider.rotate();
            clock.pass(30);
            tokens.set(sub, await tokenOf(sub));
          }
          return login.ask(tokens.get(sub) ?? "");
        });
        const outcomes = await Promise.all(asked);
        // A new key may not be known yet; what is said of a caller is never another caller.
        outcomes.forEach((outcome, i) => {
          if (outcome.kind !== "user") return;
          expect(outcome.user.sub).toBe(steps[i]?.sub);
          users += 1;
        });
      }),
      { numRuns: 30 },
    );
    // How long the lists are is left to chance.
    expect(users).toBeGreaterThan(30);
  });

  test("is refused when it has expired, and when the clock is before its time", async () => {
    using login = await open();
    const now = clock.now() / 1000;
    const token = await provider.sign({ nbf: now, exp: now + 300 });
    expect(await login.ask(token)).toMatchObject({ kind: "user" });
    clock.pass(300 + 59);
    expect(await login.ask(token)).toMatchObject({ kind: "user" });
    clock.pass(1);
    expect(await login.ask(token)).toEqual({ kind: "invalid", reason: "the token has expired" });
    clock.pass(-500);
    expect(await login.ask(token)).toEqual({ kind: "invalid", reason: "the token is not valid yet" });
  });

  test("cannot be changed by whoever used it before", async () => {
    using login = await open();
    const outcome = await login.ask(await provider.sign({ roles: { admin: false } }));
    const roles = outcome.kind === "user" && (outcome.user.claims.roles as { admin: boolean });
    expect(roles).toEqual({ admin: false });
    expect(() => {
      (roles as { admin: boolean }).admin = true;
    }).toThrow(TypeError);
  });
});

describe("keys in a file", () => {
  test("verify without any request, and are read again when the file changes", async () => {
    using folder = temporaryFolder();
    const path = join(folder.path, "jwks.json");
    await writeFile(path, JSON.stringify(await provider.jwks()));
    using login = await open({ keys: { kind: "file", path } });
    const old = await provider.sign();
    expect(await login.ask(old)).toMatchObject({ kind: "user" });

    provider.rotate({ withdraw: true });
    await writeFile(`${path}.new`, JSON.stringify(await provider.jwks()));
    await rename(`${path}.new`, path);

    await vi.waitFor(async () => expect(await login.ask(old)).toEqual(UNKNOWN_KEY), 5000);
    expect(await login.ask(await provider.sign())).toMatchObject({ kind: "user" });
    expect(provider.requests).toEqual([]);
  });

  test("go on where the file is broken, and that is told", async () => {
    using folder = temporaryFolder();
    const path = join(folder.path, "jwks.json");
    await writeFile(path, JSON.stringify(await provider.jwks()));
    using login = await open({ keys: { kind: "file", path } });
    await writeFile(path, (await readFile(path, "utf8")).slice(0, -3));
    await vi.waitFor(() => expect(login.events).toMatchObject([{ kind: "problem" }]), 5000);
    expect(await login.ask(await provider.sign())).toMatchObject({ kind: "user" });
  });

  test.each([
    ["that does not exist", undefined, /this file does not exist/],
    ["that is no JWK Set", "-----BEGIN PUBLIC KEY-----", /jwks\.json: it is not a JWK Set/],
    [
      "without a key that fits",
      '{"keys":[]}',
      /jwks\.json: there is no public key in it that verifies RS256/,
    ],
  ])("in a file %s cannot be opened", async (_what, text, message) => {
    using folder = temporaryFolder();
    const path = join(folder.path, "jwks.json");
    if (text !== undefined) await writeFile(path, text);
    await expect(open({ keys: { kind: "file", path } })).rejects.toThrow(message);
  });
});

test("what is closed fetches no more, and tells nothing", async () => {
  provider.answer(JWKS_PATH, () => {}); // never answers
  const login = await open();
  const waiting = login.ask(await provider.sign());
  await settled(() => fetches() === 1);
  login.authenticator.close();
  expect(await waiting).toMatchObject(UNAVAILABLE);
  expect(login.events).toEqual([]);
});
