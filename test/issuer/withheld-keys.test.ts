import { expect, test } from "vitest";
import { issuerOver } from "../../src/issuer/issuer.ts";
import { KeyError } from "../../src/issuer/keys/key-error.ts";
import { type IssuerKeys, keySetOf, withheldKeys } from "../../src/issuer/keys/key-set.ts";
import { createTokens } from "../../src/issuer/tokens.ts";
import { openOwnKeys } from "../../src/policy/authenticators/own-keys.ts";
import { NOW, signingKey } from "./keys/key-material.ts";

const URL = "https://issuer.example";
const WITHHELD = withheldKeys("the ring was not read for too long");

/** Keys that can be asked for so many times before they are withheld. */
async function keysFor(questions: { left: number }): Promise<IssuerKeys> {
  const good = keySetOf([], [await signingKey()]);
  return {
    current: () => (questions.left-- > 0 ? good : WITHHELD),
    keepFor: async () => {},
    refresh: async () => {},
    close: async () => {},
  };
}

test("keys that are withheld the moment after are published whole, and not as an empty JWK Set", async () => {
  const questions = { left: 10 };
  const keys = await keysFor(questions);
  const issuer = issuerOver(URL, keys, createTokens({ url: URL, keys, now: () => NOW }), {
    ...{ algorithm: "EdDSA", expiresInSeconds: 60, jwksMaxAgeSeconds: 60, identity: undefined },
  });
  questions.left = 1;
  expect(issuer.jwks().keys).toHaveLength(1);
  expect(() => issuer.jwks()).toThrow(KeyError);
});

test("a token that comes back is verified with the keys that were there, and refused for no lack of others", async () => {
  const questions = { left: 1 };
  const own = openOwnKeys({ url: URL, keys: await keysFor(questions) }, ["EdDSA"]);
  expect(await own.newerThan([])).toMatchObject({ kind: "keys", keySet: [{}] });
  expect(await own.newerThan([])).toMatchObject({ kind: "unavailable" });
});
