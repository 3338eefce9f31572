import { describe, expect, test } from "vitest";
import { adoptionOf } from "../../src/config/restart.ts";
import { ConfigError, parseConfig } from "../../src/index.ts";

const env = { HSM_PIN: "a PIN that nobody sees" };
const RIGHT = "library: /lib/p11.so, token: main, pin: $env(HSM_PIN), keys: [one]";
const parse = (section: string, more = "") =>
  parseConfig(`upstream: http://a\nissuer: {${more}keys: {pkcs11: {${section}}}}\n`, {
    file: "/etc/countersign/sidecar.yaml",
    env,
  });

function problemsIn(section: string): string[] {
  try {
    parse(section);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(({ key, message }) => `${key} ${message}`);
    throw error;
  }
  return [];
}

test("keys on a token are found by its label or slot, with a PIN or a file of it", () => {
  expect(parse(RIGHT, "jwksMaxAge: 2m, ").config.issuer.keys).toEqual({
    kind: "pkcs11",
    library: "/lib/p11.so",
    place: { kind: "label", label: "main" },
    pin: { kind: "text", text: env.HSM_PIN },
    listed: { labels: ["one"], jwksMaxAgeSeconds: 120 },
  });
  expect(parse("library: p11.so, slot: 0, pinFile: pin, keys: [one, two]").config.issuer.keys).toMatchObject({
    library: "/etc/countersign/p11.so",
    place: { kind: "slot", slot: 0 },
    pin: { kind: "file", file: "/etc/countersign/pin" },
    listed: { labels: ["one", "two"] },
  });
});

test("the PIN is hidden where the configuration is shown", () => {
  expect(parse(RIGHT).config.describe()).toMatchObject({ issuer: { keys: { pkcs11: { pin: "(hidden)" } } } });
});

describe("a section is refused", () => {
  const KEY = "issuer.keys.pkcs11";
  test.each([
    ["library: a, pin: b, keys: [c]", [`${KEY} expected one of the keys token and slot`]],
    ["library: a, token: b, keys: [c]", [`${KEY} expected one of the keys pin and pinFile`]],
    [`${RIGHT}, slot: 1`, [`${KEY}.slot expected only one of the keys token and slot`]],
    [`${RIGHT}, pinFile: a`, [`${KEY}.pinFile expected only one of the keys pin and pinFile`]],
    ["library: a, token: b, pin: c, keys: []", [`${KEY}.keys expected at least one label`]],
    ["library: a, token: b, pin: c, keys: [d, d]", [`${KEY}.keys[1] this label is listed already`]],
    ["library: a, slot: -1, pin: c, keys: [d]", [`${KEY}.slot expected at least 0`]],
  ])("%s", (section, problems) => {
    expect(problemsIn(section)).toEqual(problems);
  });

  test("beside another source of keys, and with settings of a directory", () => {
    const refusal = () =>
      parseConfig(`upstream: http://a\nissuer: {keys: {env: KEY, passphrase: a, pkcs11: {${RIGHT}}}}`, {
        file: "sidecar.yaml",
        env,
      });
    expect(refusal).toThrow(
      "expected only one of the keys directory, redis, files, env, pkcs11 and ephemeral",
    );
    expect(() =>
      parseConfig(
        `upstream: http://a\nissuer: {keys: {rotateEvery: 1d, passphrase: a, pkcs11: {${RIGHT}}}}`,
        {
          file: "sidecar.yaml",
          env,
        },
      ),
    ).toThrow(/only for a directory[\s\S]*not for keys on a token/);
  });
});

test("of the section the list of labels alone is taken without a restart", () => {
  const running = parse(RIGHT).config;
  const listed = parse(RIGHT.replace("[one]", "[two, one]"), "jwksMaxAge: 1m, ").config;
  expect(adoptionOf(listed, running)).toMatchObject({
    needsRestart: [],
    config: { issuer: { keys: { listed: { labels: ["two", "one"], jwksMaxAgeSeconds: 60 } } } },
  });
  for (const [from, to] of [
    ["main", "other"],
    ["p11.so", "p12.so"],
    ["$env(HSM_PIN)", "another"],
  ] as const)
    expect(adoptionOf(parse(RIGHT.replace(from, to)).config, running).needsRestart).toEqual(["issuer.keys"]);
});
