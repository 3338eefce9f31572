import { describe, expect, test } from "vitest";
import { formatProblem } from "../../src/config/problems.ts";
import { ConfigError, parseConfig } from "../../src/index.ts";

const FILE = "sidecar.yaml";

/** The problems and warnings of a file with this text below its upstream. */
function remarksOn(text: string): string[] {
  try {
    return parseConfig(`upstream: http://a\n${text}\n`, { file: FILE, env: {} }).warnings.map(formatProblem);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(formatProblem);
    throw error;
  }
}

const SOURCES = "issuer: {url: http://b/__issuer}";

describe("a listener is refused where it cannot be:", () => {
  test.each([
    ["listen: []", "2:9 listen: expected at least one address"],
    ["listen: 'unix:'", "2:9 listen: expected an address such as"],
    ["listen: unix:/run/c.sock", "1:1 issuer: needs the key url: the first listener has no URL"],
    ["listen: systemd", "1:1 issuer: needs the key url: the first listener has no URL"],
    [`listen: unix:/${"a".repeat(107)}\n${SOURCES}`, "2:9 listen: expected a path of at most 107 bytes"],
    [`listen: "unix:a\\0b"\n${SOURCES}`, "2:9 listen: expected a path without NUL"],
    [
      `listen: {address: "unix:/a", mode: 660}\n${SOURCES}`,
      '2:36 listen.mode: expected permissions such as "0660", in quotes',
    ],
    [
      `listen: {address: "unix:/a", mode: "0888"}\n${SOURCES}`,
      '2:36 listen.mode: expected permissions such as "0660"',
    ],
    ['listen: {address: ":1", mode: "0600"}', "2:31 listen.mode: has no effect: this is no Unix socket"],
    ['listen: [":1", ":1"]', "2:16 listen[1]: another listener has this address"],
    [
      'listen: ":1"\nadmin: ":1"',
      "3:8 admin: another listener has this address, *:1; choose another, or false for none",
    ],
    [
      "listen: 127.0.0.1:8081",
      "1:1 admin: another listener has this address, 127.0.0.1:8081; choose another, or false for none",
    ],
    ["listen: {address: ':1', http2: 2}", "2:32 listen.http2: expected true or false"],
    ["listen: [':1', {address: 5}]", "2:26 listen[1].address: expected an address"],
    ["listen: [':1', {address: ':2', tls: {cert: a}}]", "2:37 listen[1].tls.key: is missing"],
    ["admin: {address: ':2', tls: {cert: a}}", "2:29 admin.tls.key: is missing"],
    ["workers: 0", "2:10 workers: expected at least 1"],
    ["workers: some", '2:10 workers: expected a number of processes, or "auto" for one a core'],
    [
      "workers: 2\nissuer: {keys: {ephemeral: true}}",
      "2:10 workers: cannot be used with issuer.keys.ephemeral: each process would have a key of its own",
    ],
    ["limits: {headerBytes: 16}", "2:23 limits.headerBytes: expected at least 1024 bytes"],
    [
      "limits: {headerBytes: 16 pages}",
      '2:23 limits.headerBytes: expected a number of bytes, or a size such as "16KiB"',
    ],
    [
      "limits: {headerBytes: 1100.5}",
      '2:23 limits.headerBytes: expected a number of bytes, or a size such as "16KiB"',
    ],
    [
      "limits: {bodyBytes: many}",
      '2:21 limits.bodyBytes: expected a number of bytes, a size such as "10MiB", or "unlimited"',
    ],
    ["limits: {connections: 0}", "2:23 limits.connections: expected at least 1"],
    [
      "limits: {header: 1}",
      "2:10 limits.header: unknown key `header`; the keys here are headerBytes, headerCount, bodyBytes, connections, streams",
    ],
  ])("%s", (text, problem) => {
    const [first = "", ...others] = remarksOn(text);
    expect(first).toContain(`${FILE}:${problem}`);
    expect(others).toEqual([]);
  });
});

describe("what cannot collide is accepted:", () => {
  test.each([
    'listen: [":0", ":0"]',
    'listen: ["127.0.0.1:1", "127.0.0.2:1"]',
    `listen: ["unix:/a", "unix:/b"]\n${SOURCES}`,
    'listen: [":1", "unix:/b"]',
  ])("%s", (text) => {
    expect(remarksOn(text).filter((remark) => !remark.includes("issuer.url is not set"))).toEqual([]);
  });
});

test("an admin listener on a Unix socket is not open to other machines", () => {
  const identity = "identity: {account: a}";
  expect(remarksOn(`admin: unix:/run/admin.sock\n${identity}`)).toEqual([]);
  expect(remarksOn(`admin: ":1"\n${identity}`)).toEqual([expect.stringContaining("can be reached")]);
});
