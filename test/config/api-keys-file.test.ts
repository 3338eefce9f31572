import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { readApiKeys } from "../../src/config/authenticators/api-key.ts";
import { readKeysFile } from "../../src/config/authenticators/large-keys-file.ts";
import { ConfigError } from "../../src/index.ts";

const A = "a".repeat(64);
const B = "b".repeat(64);
const LIST = "a list of keys";

/** Everything that is said of a keys file which cannot be used, a line each. */
function refusalOf(text: string): string[] {
  try {
    readApiKeys(text, "keys.yaml");
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message.split("\n");
  }
  throw new Error("no problem was found");
}

test("a keys file is a list of keys, with what is known of whoever has them", () => {
  const text = `keys:
  - subject: acme
    sha256: ${A.toUpperCase()}
    claims: {plan: gold, limits: [1, 2], nothing: null}
    expires: 2027-01-31T12:00:00+02:00
  - {subject: globex, sha256: ${B}, expires: 2027-01-31, disabled: true}
`;
  expect(readApiKeys(text, "keys.yaml")).toEqual([
    {
      subject: "acme",
      sha256: A,
      claims: { plan: "gold", limits: [1, 2], nothing: null },
      expiresAt: Date.UTC(2027, 0, 31, 10),
      disabled: false,
    },
    {
      subject: "globex",
      sha256: B,
      claims: {},
      expiresAt: Date.UTC(2027, 0, 31),
      disabled: true,
    },
  ]);
});

test("a keys file may be JSON, and may have no keys", () => {
  expect(readApiKeys(JSON.stringify({ keys: [{ subject: "acme", sha256: A }] }), "keys.json")).toMatchObject([
    { subject: "acme", sha256: A },
  ]);
  expect(readApiKeys("keys: []\n", "keys.yaml")).toEqual([]);
});

test("a keys file is data: nothing in it is looked up in the environment", () => {
  expect(refusalOf(`keys: [{subject: $env(HOME), sha256: ${A}}]\n`)).toEqual([
    expect.stringMatching(/^keys\.yaml:1:18 keys\[0\]\.subject: .*HOME/),
  ]);
});

describe("a problem is told with its place", () => {
  const SHA256 = "expected a SHA-256 of 64 hexadecimal digits; countersign api-key create prints one";
  const TIME = 'expected a time such as "2027-01-31" or "2027-01-31T12:00:00Z"';

  test.each([
    ["", [`keys.yaml:1:1 keys: is missing; expected ${LIST}`]],
    ["keys:\n", [`keys.yaml:1:6 keys: is empty; leave it out, or make it ${LIST}`]],
    ["keys: {}\n", [`keys.yaml:1:7 keys: expected ${LIST}`]],
    ["- a\n", ["keys.yaml:1:1 expected a map with the keys keys"]],
    [
      `kys: []\n`,
      [
        `keys.yaml:1:1 keys: is missing; expected ${LIST}`,
        "keys.yaml:1:1 kys: unknown key `kys`; did you mean `keys`?",
      ],
    ],
    [
      `keys:\n- {subject: "", sha256: ${A}}\n- {sha256: ${B}}\n`,
      [
        "keys.yaml:2:13 keys[0].subject: expected a string that is not empty",
        "keys.yaml:3:3 keys[1].subject: is missing; expected a string",
      ],
    ],
    [`keys:\n- {subject: a, sha256: secret}\n`, [`keys.yaml:2:24 keys[0].sha256: ${SHA256}`]],
    [
      `keys:\n- {subject: a, sha256: ${A}, expires: 2027-02-30}\n`,
      [`keys.yaml:2:99 keys[0].expires: ${TIME}`],
    ],
    [
      `keys:\n- {subject: a, sha256: ${A}, expires: 2027-01-31 12:00}\n`,
      [`keys.yaml:2:99 keys[0].expires: ${TIME}`],
    ],
    [
      `keys:\n- {subject: a, sha256: ${A}, disabled: 1}\n`,
      ["keys.yaml:2:100 keys[0].disabled: expected true or false"],
    ],
    [
      `keys:\n- {subject: a, sha256: ${A}, clams: {}}\n`,
      ["keys.yaml:2:90 keys[0].clams: unknown key `clams`; did you mean `claims`?"],
    ],
    [
      `keys:\n- {subject: a, sha256: ${A}}\n- {subject: b, sha256: ${A.toUpperCase()}}\n`,
      ["keys.yaml:3:24 keys[1].sha256: this key stands here twice; keep one"],
    ],
    [
      "keys: [\n",
      [
        "keys.yaml:2:1 not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
      ],
    ],
  ])("%j", (text, problems) => {
    expect(refusalOf(text)).toEqual(problems);
  });

  test("and never with a secret that was put where its hash belongs", () => {
    expect(refusalOf("keys: [{subject: a, sha256: hunter2}]").join()).not.toContain("hunter2");
  });
});

describe("a large keys file", () => {
  const keysOf = (count: number) =>
    Array.from({ length: count }, (_, index) => ({
      subject: `partner-${index}`,
      sha256: index.toString(16).padStart(64, "0"),
      claims: { plan: "gold", limits: [1, null], "": { constructor: index } },
      expires: "2027-01-31",
    }));
  const problemsOf = async (read: () => unknown) => {
    try {
      await read();
    } catch (error) {
      return { isConfigError: error instanceof ConfigError, problems: (error as ConfigError).problems };
    }
    throw new Error("no problem was found");
  };

  test("is read as a small one is", async () => {
    const text = JSON.stringify({ keys: keysOf(1000) });
    expect(await readKeysFile(text, "keys.yaml")).toStrictEqual(readApiKeys(text, "keys.yaml"));
  });

  test.each([
    ["what is not valid", "keys: [{subject: a, sha256: 12, plan: gold}]\n"],
    ["what is not YAML", 'keys: "\n'],
  ])("is refused as a small one is: %s", async (_, broken) => {
    const text = `# ${"-".repeat(100_000)}\n${broken}`;
    const small = await problemsOf(() => readApiKeys(text, "keys.yaml"));
    expect(small.isConfigError).toBe(true);
    expect(small.problems.length).toBeGreaterThan(0);
    expect(await problemsOf(() => readKeysFile(text, "keys.yaml"))).toEqual(small);
  });

  test("holds up no request while it is read", async () => {
    const text = JSON.stringify({ keys: keysOf(5000) });
    const began = performance.now();
    readApiKeys(text, "keys.yaml");
    const whole = performance.now() - began;
    let last = performance.now();
    let longest = 0;
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    await readKeysFile(text, "keys.yaml");
    // The wait is seen when the timer runs again.
    await sleep(10);
    clearInterval(timer);
    expect(longest).toBeLessThan(whole / 2);
  });
});
