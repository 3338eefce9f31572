import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/index.ts";
import { createCa, issueForServer, writeTlsFiles } from "../support/certificates.ts";
import { runCommand, temporaryFolder } from "../support/command-line.ts";

function parse(text: string) {
  return parseConfig(text, { file: "sidecar.yaml", baseDirectory: "/etc/countersign", env: {} }).config;
}

test("an upstream that is a URL has every default", () => {
  expect(parse("upstream: http://127.0.0.1:9000").upstream).toEqual({
    origin: "http://127.0.0.1:9000",
    socketPath: undefined,
    preserveHost: true,
    http2: false,
    tls: { ca: undefined, cert: undefined, key: undefined, serverName: undefined, skipVerification: false },
    connections: 128,
    pending: 1024,
    timeouts: { connectSeconds: 5, headersSeconds: 60, bodySeconds: 300, pendingSeconds: 10 },
    healthCheck: undefined,
  });
});

test("an upstream says all that it may, and its files start from the folder of the file", () => {
  const text = `
upstream:
  url: https://backend.internal
  preserveHost: false
  http2: true
  tls: {ca: ca.crt, cert: c.crt, key: /c.key, serverName: other.internal}
  connections: 8
  pending: 0
  timeouts: {connect: 1s, headers: 2s, body: 3s, pending: 4s}
  healthCheck: {path: /healthz, interval: 5s, timeout: 6s}
`;
  expect(parse(text).upstream).toEqual({
    origin: "https://backend.internal",
    socketPath: undefined,
    preserveHost: false,
    http2: true,
    tls: {
      ca: "/etc/countersign/ca.crt",
      cert: "/etc/countersign/c.crt",
      key: "/c.key",
      serverName: "other.internal",
      skipVerification: false,
    },
    connections: 8,
    pending: 0,
    timeouts: { connectSeconds: 1, headersSeconds: 2, bodySeconds: 3, pendingSeconds: 4 },
    healthCheck: { path: "/healthz", intervalSeconds: 5, timeoutSeconds: 6 },
  });
});

test("a Unix socket starts from the folder of the file", () => {
  expect(parse("upstream: unix:app.sock").upstream).toMatchObject({
    origin: "http://localhost",
    socketPath: "/etc/countersign/app.sock",
  });
});

describe("countersign validate reads the files of every upstream", () => {
  test("and says which key names one that cannot be used", async () => {
    using folder = temporaryFolder();
    const ca = await createCa();
    writeTlsFiles(folder.path, await issueForServer(ca), ca);
    const text = `upstream: {url: "https://127.0.0.1", tls: {ca: none.crt}}
policies:
  - {name: a}
`;
    writeFileSync(join(folder.path, "sidecar.yaml"), text);

    const { code, stderr } = await runCommand(["validate"], { cwd: folder.path });

    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^sidecar\.yaml:1:48 upstream\.tls\.ca: \S*none\.crt: this file does not exist; expected the certificates of/,
    );
  });

  test("also that of a policy, and is content where they are good", async () => {
    using folder = temporaryFolder();
    const ca = await createCa();
    writeTlsFiles(folder.path, await issueForServer(ca), ca);
    const configurationWith = (key: string) => `upstream: http://127.0.0.1:9
policies:
  - {name: a, upstream: {url: "https://127.0.0.1", tls: {ca: ca.crt, cert: tls.crt, key: ${key}}}}
`;
    writeFileSync(join(folder.path, "good.yaml"), configurationWith("tls.key"));
    writeFileSync(join(folder.path, "bad.yaml"), configurationWith("ca.key"));

    const good = await runCommand(["validate", "-c", "good.yaml"], { cwd: folder.path });
    const bad = await runCommand(["validate", "-c", "bad.yaml"], { cwd: folder.path });

    expect(good).toMatchObject({ code: 0, stderr: "" });
    expect(bad.stderr).toMatch(/^bad\.yaml:3:\d+ policies\[0\]\.upstream\.tls\.key: \S*ca\.key: .*ENOENT/);
  });
});
