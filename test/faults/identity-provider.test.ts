import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { JwtOptions } from "../../src/policy/authenticators/options.ts";
import { createTestClock, openTestJwt, type TestClock } from "../support/caller.ts";
import {
  DISCOVERY_PATH,
  generateTestKeyPair,
  JWKS_PATH,
  startIdentityProvider,
  type TestIdentityProvider,
} from "../support/identity-provider.ts";

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

/** How often the keys were fetched. */
const fetches = () => provider.requests.filter((path) => path === JWKS_PATH).length;

/** Keys that are fetched beside the requests come when they come. */
const settled = (condition: () => boolean) => vi.waitFor(() => expect(condition()).toBe(true));

describe("metadata that cannot be believed", () => {
  const cases: [string, () => object, RegExp][] = [
    ["of another issuer", () => ({ issuer: `${provider.url}/` }), /is of another issuer/],
    ["without an issuer", () => ({ issuer: undefined }), /is of another issuer/],
    ["without a jwks_uri", () => ({ jwks_uri: undefined }), /has no jwks_uri/],
    ["whose jwks_uri is a file", () => ({ jwks_uri: "file:///etc/passwd" }), /has no jwks_uri/],
    ["whose jwks_uri is data", () => ({ jwks_uri: 'data:,{"keys":[]}' }), /has no jwks_uri/],
    ["whose jwks_uri is relative", () => ({ jwks_uri: JWKS_PATH }), /has no jwks_uri/],
  ];
  test.each(cases)("metadata %s is not used", async (_what, change, message) => {
    const metadata = {
      issuer: provider.url,
      jwks_uri: `${provider.url}${JWKS_PATH}`,
      ...change(),
    };
    provider.answer(DISCOVERY_PATH, (_request, response) => response.end(JSON.stringify(metadata)));
    using login = await open();
    const outcome = await login.ask(await provider.sign());
    expect(outcome).toMatchObject(UNAVAILABLE);
    expect((outcome as { cause: string }).cause).toMatch(message);
    expect(fetches()).toBe(0);
  });
});

describe("an answer that is no JWK Set", () => {
  const cases: [string, (response: ServerResponse) => void, RegExp][] = [
    ["status 500", (response) => response.writeHead(500).end("{}"), /status 500/],
    ["status 201", (response) => response.writeHead(201).end('{"keys":[]}'), /status 201/],
    ["HTML", (response) => response.end("<html>"), /not a JWK Set/],
    ["nothing", (response) => response.end(), /not a JWK Set/],
    ["a list", (response) => response.end("[]"), /not a JWK Set/],
    ["keys that are no list", (response) => response.end('{"keys":{}}'), /not a JWK Set/],
    ["more than 1 MiB", (response) => response.end(`{"keys":[]}${" ".repeat(2 ** 20)}`), /larger than 1 MiB/],
    ["more than 1 MiB, of unknown length", (response) => drip(response), /larger than 1 MiB/],
    ["an end too early", (response) => cut(response), /jwks: /],
  ];
  test.each(cases)(
    "%s makes the authenticator unavailable, and no token invalid",
    async (_what, answer, message) => {
      provider.answer(JWKS_PATH, (_request, response) => answer(response));
      using login = await open();
      const outcome = await login.ask(await provider.sign());
      expect(outcome).toMatchObject(UNAVAILABLE);
      expect((outcome as { cause: string }).cause).toMatch(message);
    },
  );

  test("a redirect is not followed", async () => {
    await using other = await startIdentityProvider({ now: clock.now });
    provider.answer(JWKS_PATH, (_request, response) =>
      response.writeHead(302, { location: `${other.url}${JWKS_PATH}` }).end(),
    );
    using login = await open();
    expect(await login.ask(await provider.sign({}, {}, other.key()))).toMatchObject({
      ...UNAVAILABLE,
      cause: `${provider.url}${JWKS_PATH}: the answer has the status 302`,
    });
    expect(other.requests).toEqual([]);
  });

  test.each([DISCOVERY_PATH, JWKS_PATH])(
    "an answer that does not come is not waited for: %s",
    async (path) => {
      provider.answer(path, (_request, response) => response.write("{"));
      // Long enough for what does come, also where the machine is busy.
      using login = await openTestJwt(provider.url, clock, {}, { fetchTimeoutMilliseconds: 1000 });
      expect(await login.ask(await provider.sign())).toMatchObject({
        ...UNAVAILABLE,
        cause: `${provider.url}${path}: there was no whole answer in time`,
      });
    },
  );
});

describe("a provider that is down", () => {
  test("at the start is no failure of the start, and tokens are good when it is there", async () => {
    await provider.takeDown();
    using login = await open();
    const token = await provider.sign();
    expect(await login.ask(token)).toMatchObject(UNAVAILABLE);

    await provider.bringUp();
    expect(await login.ask(token)).toMatchObject(UNAVAILABLE);
    clock.pass(5);

    expect(await login.ask(token)).toMatchObject({ kind: "user" });
    expect(login.events.map(({ kind }) => kind)).toEqual(["problem", "recovered"]);
  });

  test("is told once, and not at every request", async () => {
    await provider.takeDown();
    using login = await open();
    for (let i = 0; i < 5; i++) {
      await login.ask(await provider.sign());
      clock.pass(5);
    }
    expect(login.events).toEqual([
      {
        authenticator: "login",
        kind: "problem",
        message: expect.stringMatching(/^the keys of the issuer cannot be had: http:.*ECONNREFUSED/),
      },
    ]);
  });

  test("leaves the keys for an hour, and then nobody is refused: the answer is not known", async () => {
    using login = await open();
    expect(await login.ask(await provider.sign())).toMatchObject({ kind: "user" });
    await provider.takeDown();

    clock.pass(HOUR - 1);
    expect(await login.ask(await provider.sign())).toMatchObject({ kind: "user" });
    await settled(() => login.events.length === 1);
    clock.pass(1);
    const token = await provider.sign();
    expect(await login.ask(token)).toMatchObject(UNAVAILABLE);

    await provider.bringUp();
    clock.pass(30);
    expect(await login.ask(token)).toMatchObject({ kind: "user" });
    expect(login.events.map(({ kind }) => kind)).toEqual(["problem", "recovered"]);
  });

  test("a token that was seen before is no exception after the hour", async () => {
    using login = await open();
    const token = await provider.sign({ exp: clock.now() / 1000 + 2 * HOUR });
    expect(await login.ask(token)).toMatchObject({ kind: "user" });
    await provider.takeDown();
    clock.pass(HOUR);
    expect(await login.ask(token)).toMatchObject(UNAVAILABLE);
  });

  test("makes no token with an unknown key invalid: it may be a new key", async () => {
    using login = await open();
    await login.ask(await provider.sign());
    provider.rotate();
    await provider.takeDown();
    clock.pass(30);

    expect(await login.ask(await provider.sign())).toMatchObject(UNAVAILABLE);
    expect(await login.ask(await provider.sign({ sub: "again" }))).toMatchObject(UNAVAILABLE);
  });

  test("still lets expired tokens and forged ones be refused", async () => {
    using login = await open();
    await login.ask(await provider.sign());
    await provider.takeDown();
    clock.pass(30 * MINUTE);
    expect(await login.ask(await provider.sign({ exp: 1 }))).toMatchObject({ kind: "invalid" });
    const attacker = generateTestKeyPair(provider.key().kid, "ES256");
    expect(await login.ask(await provider.sign({}, {}, attacker))).toMatchObject({ kind: "invalid" });
  });
});

/** More than 1 MiB in pieces. */
function drip(response: ServerResponse): void {
  const piece = " ".repeat(2 ** 18);
  for (let i = 0; i < 6; i++) response.write(piece);
  response.end('{"keys":[]}');
}

/** Says that there is more than there is. */
function cut(response: ServerResponse): void {
  response.writeHead(200, { "content-length": "100" });
  response.write('{"keys":[', () => response.destroy());
}
