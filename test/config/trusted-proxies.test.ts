import { describe, expect, test } from "vitest";
import { ConfigError, formatProblem } from "../../src/config/problems.ts";
import { parseConfig } from "../../src/index.ts";

const parse = (yaml: string) =>
  parseConfig(`upstream: http://127.0.0.1:9000\n${yaml}\n`, { file: "sidecar.yaml", env: {} });

/** The problems of a configuration that cannot be used, a line each. */
function problemsOf(yaml: string): string[] {
  try {
    parse(yaml);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(formatProblem);
    throw error;
  }
  return [];
}

test("nobody is trusted unless it is said", () => {
  expect(parse("").config.trustedProxies).toEqual([]);
  expect(parse("trustedProxies: []").config.trustedProxies).toEqual([]);
});

test("ranges of addresses, single ones and unix are taken as they are", () => {
  const { config, warnings } = parse('trustedProxies: [10.0.0.0/8, 192.0.2.7, "2001:db8::/32", "::1", unix]');

  expect(config.trustedProxies).toEqual(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "unix"]);
  expect(warnings).toEqual([]);
});

describe("what is neither is refused, with its place", () => {
  const EXPECTED = 'expected a range of addresses such as "10.0.0.0/8", or one address, or unix';
  const LIST = 'a list of address ranges such as "10.0.0.0/8", or unix';

  test.each([
    ["[10.0.0.0/33]", `2:18 trustedProxies[0]: ${EXPECTED}`],
    ["[10.0.0.1, proxy.internal]", `2:28 trustedProxies[1]: ${EXPECTED}`],
    ["['unix:']", `2:18 trustedProxies[0]: ${EXPECTED}`],
    ["[7]", `2:18 trustedProxies[0]: ${EXPECTED}`],
    ["10.0.0.0/8", `2:17 trustedProxies: expected ${LIST}`],
    ["", `2:17 trustedProxies: is empty; leave it out, or make it ${LIST}`],
  ])("%s", (value, problem) => {
    expect(problemsOf(`trustedProxies: ${value}`)).toEqual([`sidecar.yaml:${problem}`]);
  });
});

test.each(["0.0.0.0/0", "::/0"])("%s, which is everybody, is warned about", (range) => {
  const { warnings } = parse(`trustedProxies: [127.0.0.1, "${range}"]`);

  expect(warnings.map(formatProblem)).toEqual([
    "sidecar.yaml:2:29 trustedProxies[1]: whoever can reach the sidecar may say who the client is, and which host it asks for",
  ]);
});
