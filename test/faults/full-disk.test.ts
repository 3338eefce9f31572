import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { beforeEach, expect, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import { runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { requireProgram } from "../support/programs.ts";
import { PRLIMIT, setLimit } from "../support/resource-limits.ts";

/** No file can be written to, as on a disk without room; a mount, which would be nearer to it, takes a privilege. */
const FULL_DISK = ["prlimit", "--fsize=0"];

beforeEach((context) => requireProgram(context, PRLIMIT));

/** The names and contents of all files in a folder. */
function filesIn(directory: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), "utf8")]),
  );
}

test("a sidecar that cannot store its first key does not start, says why, and leaves nothing behind", async () => {
  using folder = temporaryFolder();
  const serve = ["serve", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0"];

  const { code, stderr } = await runCommand(serve, { cwd: folder.path, under: FULL_DISK });

  expect(code).toBe(1);
  expect(stderr).toMatch(/^countersign: \S+\/keys: the key ring cannot be written: EFBIG/m);
  expect(readdirSync(join(folder.path, "keys"))).toEqual([]);

  await using sidecar = await startCommand(serve, { cwd: folder.path });
  expect((await fetch(`${sidecar.url}/__issuer/.well-known/jwks.json`)).status).toBe(200);
});

test("a rotation that cannot be stored is refused, and changes nothing", async () => {
  using folder = temporaryFolder();
  writeFileSync(join(folder.path, "sidecar.yaml"), "upstream: http://127.0.0.1:9\n");
  const directory = join(folder.path, "keys");
  expect((await runCommand(["keys", "generate"], { cwd: folder.path })).code).toBe(0);
  const before = filesIn(directory);

  const refused = await runCommand(["keys", "rotate"], { cwd: folder.path, under: FULL_DISK });

  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/keys: the key ring cannot be written: EFBIG/);
  expect(filesIn(directory)).toEqual(before);
});

test("a running sidecar whose disk is full goes on signing with the old key, tells of it, and of its end", {
  timeout: 90_000,
}, async () => {
  await using backend = await startBackend();
  using folder = temporaryFolder();
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    `upstream: ${backend.url}\nlisten: 127.0.0.1:0\ntoken: {tokenId: true}\n`,
  );
  const directory = join(folder.path, "keys");
  await using sidecar = await startCommand(["serve"], { cwd: folder.path });
  const keys = createRemoteJWKSet(new URL(`${sidecar.url}/__issuer/.well-known/jwks.json`));
  const kidOfToken = async () => {
    expect((await fetch(sidecar.url)).status).toBe(200);
    const token = backend.requests.at(-1)?.headers.authorization?.slice("Bearer ".length) ?? "";
    return (await jwtVerify(token, keys)).protectedHeader.kid;
  };
  const kid = await kidOfToken();
  setLimit(sidecar.pid, "fsize", 0);

  // The sidecar sees the successor that another process has stored, and has to store the time from which it signs.
  expect((await runCommand(["keys", "rotate"], { cwd: folder.path })).code).toBe(0);
  await vi.waitFor(() => expect(sidecar.output().stderr).toMatch(/ERR_KEY .*EFBIG/), 40_000);
  const stored = filesIn(directory);
  expect(await kidOfToken()).toBe(kid);
  expect(filesIn(directory)).toEqual(stored);

  setLimit(sidecar.pid, "fsize", "unlimited");
  // It looks again every half minute, and when something changes there.
  writeFileSync(join(directory, "a-change"), "");
  await vi.waitFor(
    () => expect(sidecar.output().stderr).toContain("the keys can be read and written again"),
    40_000,
  );
  expect(Object.keys(filesIn(directory))).toContain("ring.3.json");
  expect(await kidOfToken()).toBe(kid);
});
