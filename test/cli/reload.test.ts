import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { startSidecar } from "../support/sidecar.ts";

/** Processes start, and each may take a second where others keep the machine busy. */
vi.setConfig({ testTimeout: 60_000 });

/** A running sidecar with a file, and the address of its operators' listener. */
async function startServed(more = "") {
  const backend = await startBackend();
  const folder = temporaryFolder();
  const file = join(folder.path, "sidecar.yaml");
  const yaml = `listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: ${backend.url}\n${more}`;
  writeFileSync(file, yaml);
  const sidecar = await startCommand(["serve"], { cwd: folder.path });
  onTestFinished(async () => {
    await sidecar[Symbol.asyncDispose]();
    await backend[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });
  const adminUrl = /operators +(\S+)/.exec(sidecar.output().stderr)?.[1] ?? "";
  const reload = (...flags: string[]) =>
    runCommand(["reload", "--url", adminUrl, ...flags], { cwd: folder.path });
  return { file, yaml, reload };
}

const USED = "the configuration was read again, and is used from now on";

test("reload has a running sidecar read its configuration again, and says so", async () => {
  const { reload } = await startServed();
  expect(await reload()).toEqual({ code: 0, stdout: `${USED}\n`, stderr: "" });
});

test("reload of several workers is answered by any of them", async () => {
  const { reload } = await startServed("workers: 2\n");
  expect(await reload()).toEqual({ code: 0, stdout: `${USED}\n`, stderr: "" });
});

test("reload of a file with a problem says where it is, and exits with 1", async () => {
  const { file, yaml, reload } = await startServed();
  writeFileSync(file, `${yaml}tokken: {}\n`);
  const { code, stdout, stderr } = await reload();
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(/^sidecar\.yaml:4:1 tokken: unknown key/);

  const json = await reload("--json");
  expect(json.code).toBe(1);
  expect(JSON.parse(json.stdout)).toEqual({
    problem: expect.stringMatching(/^sidecar\.yaml:4:1/),
    needsRestart: [],
  });
});

test("reload names the keys that need a restart", async () => {
  const { file, yaml, reload } = await startServed();
  writeFileSync(file, `${yaml}limits: {connections: 5}\n`);
  expect((await reload()).stdout).toBe(`${USED}; not before a restart: limits.connections\n`);
});

test("a program that would end by the signal is not sent one", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, { yaml: "admin: 127.0.0.1:0" });
  expect(await runCommand(["reload", "--url", String(sidecar.adminUrl)])).toMatchObject({
    code: 1,
    stderr: "this sidecar is run by a program of its own, which does not listen for SIGHUP\n",
  });
});

test.each([
  [
    "nobody is there",
    "http://127.0.0.1:9",
    /^http:\/\/127\.0\.0\.1:9\/config: no answer: nobody listens there\n$/,
  ],
])("where %s it says so, and exits with 1", async (_what, url, message) => {
  const { code, stderr } = await runCommand(["reload", "--url", url]);
  expect(code).toBe(1);
  expect(stderr).toMatch(message);
});

test("somebody else's answer is not taken for a sidecar's", async () => {
  await using backend = await startBackend();
  const { code, stderr } = await runCommand(["reload", "--url", backend.url]);
  expect(code).toBe(1);
  expect(stderr).toBe(
    `${backend.url}/config: this is not the operators' listener of a sidecar: the answer is 200\n`,
  );
});

// Of a group that there is not: the number of one that there is would end this test, and more.
test.each([-2_000_000_000, 1.5, "1", null])(
  "no process is sent a signal where somebody says that it is %j",
  async (pid) => {
    await using stranger = await startBackend(
      (_request, response) => void response.end(JSON.stringify({ pid, configuration: {} })),
    );
    const { code, stderr } = await runCommand(["reload", "--url", stranger.url]);
    expect(code).toBe(1);
    expect(stderr).toBe(
      `${stranger.url}/config: this is not the operators' listener of a sidecar: its pid is none\n`,
    );
  },
);
