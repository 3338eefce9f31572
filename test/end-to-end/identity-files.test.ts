import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import { expect, test, vi } from "vitest";
import { runHere } from "../cli/in-process.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { scrape } from "../support/metrics.ts";

/** Processes start, one after another, and each may take a second where others keep the machine busy. */
vi.setConfig({ testTimeout: 60_000 });

test("two workers keep a file with one token, which is another one soon after its key was withdrawn", async () => {
  using folder = temporaryFolder();
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    `upstream: http://127.0.0.1:9
listen: 127.0.0.1:0
admin: 127.0.0.1:0
workers: 2
timeouts: {drain: 1s, notReady: 1s}
issuer: {keys: {directory: keys}}
identity: {account: acme, algorithm: ES256, files: [{path: aws, audience: sts.amazonaws.com}]}
`,
  );
  await using sidecar = await startCommand(["serve"], { cwd: folder.path });
  const path = join(folder.path, "aws");
  const issuer = `${sidecar.url}/__issuer`;
  const keys = () => createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));
  const token = readFileSync(path, "utf8");
  await jwtVerify(token, keys(), { issuer, audience: "sts.amazonaws.com", subject: "acme" });
  expect((statSync(path).mode & 0o7777).toString(8)).toBe("600");
  const adminUrl = /operators +(\S+)/.exec(sidecar.output().stderr)?.[1] ?? "";
  const ready = await fetch(`${adminUrl}/readyz`);
  expect(await ready.json()).toMatchObject({ checks: { [`identity file ${path}`]: { ready: true } } });
  const metrics = await scrape(adminUrl);
  expect(metrics.values("countersign_identity_file_expiry_timestamp_seconds", "path")).toEqual([path]);
  const written = metrics.total("countersign_identity_file_writes_total", { outcome: "success" });
  expect([1, 2]).toContain(written);

  await runHere(["keys", "rotate", "--emergency", "--identity"], { cwd: folder.path });
  const kidBefore = decodeProtectedHeader(token).kid;
  const kid = () => decodeProtectedHeader(readFileSync(path, "utf8")).kid;
  await expect.poll(kid, { timeout: 30_000 }).not.toBe(kidBefore);
  await jwtVerify(readFileSync(path, "utf8"), keys(), { issuer, audience: "sts.amazonaws.com" });

  expect((await sidecar.stop()).code).toBe(0);
  expect(readdirSync(folder.path).toSorted()).toEqual(["aws", "keys", "sidecar.yaml"]);
});
