import { generateKeyPairSync } from "node:crypto";
import { expect, test } from "vitest";
import { type KeySet, keySetOf } from "../../../src/issuer/keys/key-set.ts";
import { createSigningKey, type LocalSigningKey } from "../../../src/issuer/keys/signing-key.ts";
import { signJws } from "../../../src/issuer/sign.ts";
import type { JwtOptions } from "../../../src/policy/authenticators/options.ts";
import { createTestClock, openTestJwt } from "../../support/caller.ts";
import { TEST_AUDIENCE } from "../../support/identity-provider.ts";

/** Nobody listens there. */
const URL_OF_ISSUER = "http://127.0.0.1:1/__issuer";

const newKey = () => createSigningKey(generateKeyPairSync("ed25519").privateKey, "EdDSA", "a test");

/** The keys of an issuer whose first key signs. */
function setOf(key: LocalSigningKey, ...others: readonly LocalSigningKey[]): KeySet {
  return keySetOf([{ key, purpose: "token", longestLifetimeSeconds: 300 }], others);
}

/** An authenticator in a process whose own issuer has the keys that `keys.set` says. */
async function openOwn(keys: { set: KeySet }, options: Partial<JwtOptions> = {}) {
  const clock = createTestClock();
  const own = { url: URL_OF_ISSUER, keys: { current: () => keys.set } };
  const login = await openTestJwt(URL_OF_ISSUER, clock, { algorithms: ["EdDSA"], ...options }, {}, own);
  const iat = Math.floor(clock.now() / 1000);
  const claims = { iss: URL_OF_ISSUER, sub: "alice", aud: TEST_AUDIENCE, iat, exp: iat + 300 };
  const sign = (key: LocalSigningKey) => String(signJws(key, JSON.stringify(claims)));
  return { login, sign };
}

test("a token of the issuer here is known by the keys that are here", async () => {
  const key = await newKey();
  const { login, sign } = await openOwn({ set: setOf(key) });
  expect(await login.ask(sign(key))).toMatchObject({ kind: "user", user: { sub: "alice" } });
  expect(await login.authenticator.checkToken?.(sign(key))).toMatchObject({ kind: "user" });
  expect(login.events).toEqual([]);
});

test("a token that another key signed is not", async () => {
  const { login, sign } = await openOwn({ set: setOf(await newKey()) });
  expect(await login.ask(sign(await newKey()))).toMatchObject({ kind: "invalid" });
});

test("a new key counts at once, one that is published goes on, and one that was withdrawn does not", async () => {
  const [first, second] = [await newKey(), await newKey()];
  const keys = { set: setOf(first) };
  const { login, sign } = await openOwn(keys);
  await login.ask(sign(first));

  keys.set = setOf(second, first);
  for (const key of [first, second]) expect(await login.ask(sign(key))).toMatchObject({ kind: "user" });

  keys.set = setOf(second);
  expect(await login.ask(sign(first))).toMatchObject({ kind: "invalid" });
  expect(await login.ask(sign(second))).toMatchObject({ kind: "user" });
});

test("where jwksUri says it, the keys are fetched all the same", async () => {
  const key = await newKey();
  const jwksUri = { kind: "jwksUri", url: `${URL_OF_ISSUER}/jwks` } as const;
  const { login, sign } = await openOwn({ set: setOf(key) }, { keys: jwksUri });
  expect(await login.ask(sign(key))).toMatchObject({ kind: "unavailable" });
});
