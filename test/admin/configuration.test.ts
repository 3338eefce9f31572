import { once } from "node:events";
import { expect, onTestFinished, test } from "vitest";
import { createSidecar, parseConfig } from "../../src/index.ts";
import { startBackend } from "../support/backend.ts";
import { startReloadable } from "../support/reloadable.ts";

interface Answer {
  readonly pid?: number;
  readonly loadedAt: string;
  readonly triedAt: string;
  readonly problem?: string;
  readonly needsRestart: readonly string[];
  readonly configuration: Record<string, unknown>;
}

async function read(adminUrl: string): Promise<Answer> {
  const response = await fetch(`${adminUrl}/config`);
  expect(response.status).toBe(200);
  expect(response.headers.get("cache-control")).toBe("no-store");
  return (await response.json()) as Answer;
}

const HASH = "97c00b61dd25e88efcb268367da7a95afa7c5d33b69cad607d96feeabc1e9381";
const PASSWORD_HASH = "$2b$04$eImiTXuWVxfM37uY4JANjOeXqjV3uWqPzV2h1yY0vQ7Zg1Y4Vn9a2";

test("/config shows every key as it is written, or its default, and no secret", async () => {
  await using backend = await startBackend();
  await using sidecar = await startReloadable(
    `upstream: {url: "${backend.url}", connections: 7}
authenticators:
  partners: {type: apiKey, header: X-Api-Key, keys: [{subject: acme, sha256: ${HASH}}]}
  ops: {type: basic, users: [{username: ops, passwordHash: ${PASSWORD_HASH}}]}
authenticate: [partners, ops]
token: {expiresIn: 5m, additionalClaims: {env: "$env(HIDDEN_ENV) here", other: "$env(NOT_SET, hunter2)", third: "a $env( NOT_SET , hun(ter4) b"}}`,
    { env: { HIDDEN_ENV: "hunter3" } },
  );

  const { pid, needsRestart, problem, configuration } = await read(sidecar.adminUrl);
  expect({ pid, needsRestart, problem }).toEqual({ pid: undefined, needsRestart: [], problem: undefined });
  expect(configuration).toMatchObject({
    listen: "127.0.0.1:0",
    upstream: { url: backend.url, connections: 7 },
    limits: { headerBytes: 16384, bodyBytes: "unlimited" },
    authenticators: {
      partners: { type: "apiKey", keys: [{ subject: "acme", sha256: "(hidden)" }], forwardCredential: false },
      ops: { users: [{ username: "ops", passwordHash: "(hidden)" }] },
    },
    token: {
      expiresIn: "5m",
      additionalClaims: {
        env: "$env(HIDDEN_ENV) here",
        other: "$env(NOT_SET, …)",
        third: "a $env(NOT_SET, …) b",
      },
    },
  });
  const text = JSON.stringify(configuration);
  for (const secret of [HASH, PASSWORD_HASH, "hunter2", "hunter3", "ter4"])
    expect(text).not.toContain(secret);
});

test("/config shows a file that repeats a value as often as a file may", async () => {
  await using backend = await startBackend();
  const policies = Array.from({ length: 500 }, (_, index) => `  - {name: p${index}, authenticate: *all}\n`);
  await using sidecar = await startReloadable(
    `upstream: ${backend.url}\npolicies:\n  - {name: first, authenticate: &all [anonymous]}\n${policies.join("")}`,
  );
  const { configuration } = await read(sidecar.adminUrl);
  expect(configuration.policies).toHaveLength(501);
  expect(configuration).toMatchObject({ policies: { 500: { authenticate: ["anonymous"] } } });
});

test("where an answer cannot be made the sidecar says so, and goes on", async () => {
  const { config } = parseConfig(
    "upstream: http://127.0.0.1:9\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0\nissuer: {keys: {ephemeral: true}}",
    { file: "sidecar.yaml" },
  );
  const describe = () => {
    throw new Error("nobody knows");
  };
  const sidecar = createSidecar({ ...config, describe });
  onTestFinished(() => sidecar.close());
  const { adminUrl } = await sidecar.start();
  const warned = once(process, "warning");
  const response = await fetch(`${adminUrl}/config`);
  expect(response.status).toBe(500);
  expect(await response.json()).toMatchObject({ code: "ERR_INTERNAL" });
  expect(String((await warned)[0])).toContain("/config: nobody knows");
  expect((await fetch(`${adminUrl}/livez`)).status).toBe(200);
});

test("/config tells when another configuration was tried, and what became of it", async () => {
  await using backend = await startBackend();
  let time = Date.parse("2026-01-01T00:00:00Z");
  await using sidecar = await startReloadable(`upstream: ${backend.url}`, { now: () => time });

  time += 60_000;
  await sidecar.reload(`upstream: ${backend.url}\nissuer: {basePath: /other, keys: {ephemeral: true}}`);
  expect(await read(sidecar.adminUrl)).toMatchObject({
    loadedAt: "2026-01-01T00:01:00.000Z",
    triedAt: "2026-01-01T00:01:00.000Z",
    needsRestart: ["issuer.basePath"],
    configuration: { issuer: { basePath: "/other" } },
  });

  time += 60_000;
  await expect(sidecar.reload("upstrem: x")).rejects.toThrow();
  expect(await read(sidecar.adminUrl)).toMatchObject({
    loadedAt: "2026-01-01T00:01:00.000Z",
    triedAt: "2026-01-01T00:02:00.000Z",
    problem: expect.stringContaining("unknown key"),
    configuration: { issuer: { basePath: "/other" } },
  });
});
