import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRemoteJWKSet, decodeJwt, jwtVerify } from "jose";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { identityFilesReadiness } from "../../src/admin/readiness.ts";
import type { IdentityFileEvent } from "../../src/index.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { scrape } from "../support/metrics.ts";
import { startReloadable } from "../support/reloadable.ts";

const UPSTREAM = "upstream: http://127.0.0.1:9\n";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder[Symbol.dispose]());

const pathOf = (name: string) => join(folder.path, name);
const read = (name: string) => readFileSync(pathOf(name), "utf8");

/** A configuration with these files, each with what it says beside its path. */
function yamlWith(files: Readonly<Record<string, string>>): string {
  const list = Object.entries(files).map(
    ([name, more]) => `{path: ${JSON.stringify(pathOf(name))}, ${more}}`,
  );
  return `${UPSTREAM}identity: {account: acme, project: shop, algorithm: ES256, files: [${list.join(", ")}]}`;
}

describe("a sidecar", () => {
  test("has written its files when it has started, and they are verified by discovery", async () => {
    await using sidecar = await startReloadable(
      yamlWith({
        aws: "audience: sts.amazonaws.com, expiresIn: 1h",
        azure: "audience: 'api://AzureADTokenExchange', claims: {account: other, team: [a]}",
      }),
    );
    const { url } = sidecar.issuer();
    const keys = createRemoteJWKSet(new URL(`${url}/.well-known/jwks.json`));
    const aws = await jwtVerify(read("aws"), keys, { issuer: url, audience: "sts.amazonaws.com" });
    expect(Number(aws.payload.exp) - Number(aws.payload.iat)).toBe(3600);
    const azure = await jwtVerify(read("azure"), keys, { issuer: url });
    expect(azure.payload).toMatchObject({
      ...{ aud: "api://AzureADTokenExchange", sub: "acme/shop" },
      ...{ account: "other", project: "shop", team: ["a"] },
    });
  });

  test("is ready when they are, says why not, and counts", async () => {
    const events: IdentityFileEvent[] = [];
    await using sidecar = await startReloadable(
      yamlWith({ "later/aws": "audience: a", good: "audience: b" }),
      {
        onIdentityFileEvent: (event) => events.push(event),
      },
    );
    const later = pathOf("later/aws");
    const check = () => sidecar.check(`identity file ${later}`);
    const reason = `there is no folder ${pathOf("later")}; make it, or mount it`;
    expect((await fetch(`${sidecar.adminUrl}/readyz`)).status).toBe(503);
    expect(await check()).toEqual({ ready: false, reason });
    expect(await sidecar.check(`identity file ${pathOf("good")}`)).toEqual({ ready: true });
    const failing = await scrape(sidecar.adminUrl);
    const expiry = "countersign_identity_file_expiry_timestamp_seconds";
    const writes = "countersign_identity_file_writes_total";
    expect(failing.total(expiry, { path: later })).toBe(0);
    expect(failing.total(writes, { path: later, outcome: "failure" })).toBeGreaterThan(0);

    mkdirSync(pathOf("later"));
    await expect.poll(check, { timeout: 10_000 }).toEqual({ ready: true });
    const metrics = await scrape(sidecar.adminUrl);
    expect(metrics.total(expiry, { path: later })).toBe(decodeJwt(read("later/aws")).exp);
    expect(metrics.total(writes, { path: later, outcome: "success" })).toBe(1);
    expect(events).toEqual([
      {
        path: later,
        kind: "problem",
        message: `${later} cannot be written, and what it holds stays: ${reason}`,
      },
      { path: later, kind: "recovered", message: `${later} holds a fresh token again` },
    ]);
  });

  test("keeps the files that the next configuration has: new, changed and removed ones", async () => {
    await using sidecar = await startReloadable(yamlWith({ one: "audience: a", two: "audience: b" }));
    const before = { one: read("one"), two: read("two") };

    await sidecar.reload(yamlWith({ one: "audience: a", two: "audience: c", three: "audience: d" }));
    expect(read("one")).toBe(before.one);
    expect(decodeJwt(read("two")).aud).toBe("c");
    expect(decodeJwt(read("three")).aud).toBe("d");

    await sidecar.reload(`${UPSTREAM}identity: {account: acme, algorithm: ES256}`);
    rmSync(pathOf("two"));
    expect(await sidecar.check(`identity file ${pathOf("one")}`)).toBeUndefined();
    // It stays as it is, until it ends.
    expect(read("one")).toBe(before.one);
    const metrics = await scrape(sidecar.adminUrl);
    expect(metrics.values("countersign_identity_file_writes_total", "path")).toHaveLength(3);
    expect(metrics.values("countersign_identity_file_expiry_timestamp_seconds", "path")).toEqual([]);
  });

  test("leaves them when it stops, and finds them fresh when it starts again", async () => {
    const keys = `issuer: {url: "http://127.0.0.1:9/__issuer", keys: {directory: ${JSON.stringify(pathOf("keys"))}}}\n`;
    const yaml = `${keys}${yamlWith({ one: "audience: a" })}`;
    const first = await startReloadable(yaml);
    const token = read("one");
    await first.close();
    expect(read("one")).toBe(token);
    await using _second = await startReloadable(yaml);
    expect(read("one")).toBe(token);
  });

  test("takes nothing that somebody else put there for a token", async () => {
    writeFileSync(pathOf("one"), "eyJhbGciOiJub25lIn0.e30.");
    await using sidecar = await startReloadable(yamlWith({ one: "audience: a" }));
    expect(decodeJwt(read("one")).iss).toBe(sidecar.issuer().url);
  });
});

test("of a file /readyz says that it is ready while its token is good, also where the next cannot be written", () => {
  const path = "/run/token";
  const checkOf = (expiresAt: number | undefined, problem?: string) =>
    identityFilesReadiness(
      () => [{ path, expiresAt, problem }],
      () => 1000,
    )()[0];
  const name = `identity file ${path}`;
  expect(checkOf(1001)).toEqual({ name, isReady: true, reason: undefined });
  expect(checkOf(1001, "no space")).toEqual({ name, isReady: true, reason: "no space" });
  expect(checkOf(1000, "no space")).toEqual({ name, isReady: false, reason: "no space" });
  expect(checkOf(1000)).toEqual({ name, isReady: false, reason: "it holds no good token yet" });
  expect(checkOf(undefined)).toEqual({ name, isReady: false, reason: "it holds no good token yet" });
});
