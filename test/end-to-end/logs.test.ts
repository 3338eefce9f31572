import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { apiKeyEntry } from "../support/api-keys.ts";
import { startBackend } from "../support/backend.ts";
import { type RunningCommand, runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { printed, replaceWorker, workersOf } from "../support/workers.ts";

/** Processes start, and each may take a second where others keep the machine busy. */
vi.setConfig({ testTimeout: 60_000 });

type Line = Record<string, unknown>;

/** What a sidecar has written, each line read as JSON. */
function linesOf(sidecar: RunningCommand): Line[] {
  return sidecar
    .output()
    .stderr.split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
}

const requestsOf = (sidecar: RunningCommand) => linesOf(sidecar).filter(({ msg }) => msg === "request");

/** A sidecar with a file `sidecar.yaml` whose callers have API keys, and a backend. */
async function startWith(log: string, more = "", ...flags: string[]) {
  const folder = temporaryFolder();
  onTestFinished(() => folder[Symbol.dispose]());
  const backend = await startBackend();
  onTestFinished(() => backend[Symbol.asyncDispose]());
  const file = join(folder.path, "sidecar.yaml");
  const save = (section: string) =>
    writeFileSync(
      file,
      `listen: 127.0.0.1:0
upstream: ${backend.url}
timeouts: {drain: 2s}
log: ${section}
authenticators: {partners: {type: apiKey, header: X-Api-Key, keys: [${apiKeyEntry("key-of-acme", "acme")}]}}
authenticate: [partners, anonymous]
${more}`,
    );
  save(log);
  const sidecar = await startCommand(["serve", ...flags], { cwd: folder.path });
  onTestFinished(() => sidecar[Symbol.asyncDispose]());
  return { folder: folder.path, backend, save, sidecar };
}

const JSON_LOG = ["--log-format", "json"];
const ask = async (url: string, key = "key-of-acme") =>
  (await fetch(url, { headers: { connection: "close", "x-api-key": key } })).status;

test("in JSON everything is a line with a level, a time and a process, from the start to the end", async () => {
  const { backend, sidecar } = await startWith(
    "{format: json, subject: plain}",
    "admin: 127.0.0.1:0\n",
    "--log-format",
    "json",
  );
  await ask(`${sidecar.url}/a`);
  await ask(`${sidecar.url}/b`, "wrong-key");
  await expect.poll(() => requestsOf(sidecar)).toHaveLength(2);
  const { code, stdout } = await sidecar.stop("SIGINT");
  expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
  const lines = linesOf(sidecar);
  for (const line of lines)
    expect(line).toMatchObject({
      level: expect.stringMatching(/^(?:info|warn)$/),
      time: expect.stringMatching(/Z$/),
      pid: sidecar.pid,
    });
  expect(lines.map(({ msg }) => msg)).toEqual([
    `listening on ${sidecar.url}`,
    "request",
    "request",
    "SIGINT: finishing the requests under way; a second signal ends at once",
  ]);
  expect(lines[0]).toMatchObject({
    listen: [sidecar.url],
    upstreams: [backend.url],
    issuer: `${sidecar.url}/__issuer`,
    signing: [{ algorithm: "EdDSA", kid: lines[1]?.kid }],
    admin: expect.stringMatching(/^http:/),
  });
  expect(lines[1]).toMatchObject({ path: "/a", status: 200, subject: "acme" });
  expect(lines[2]).toMatchObject({ level: "warn", path: "/b", status: 401 });
});

test("where standard error is no terminal the format is JSON", async () => {
  const { sidecar } = await startWith("{}", "", "--log-format", "auto");
  expect(linesOf(sidecar)[0]).toMatchObject({ level: "info", listen: [sidecar.url] });
});

test("a start that fails is a line of JSON, too", async () => {
  using folder = temporaryFolder();
  await using other = await startBackend();
  const { code, stderr } = await runCommand(
    ["serve", "--upstream", "http://127.0.0.1:9", "--listen", `127.0.0.1:${other.port}`, ...JSON_LOG],
    { cwd: folder.path },
  );
  expect(code).toBe(1);
  expect(JSON.parse(stderr)).toMatchObject({
    level: "error",
    code: "ERR_LISTEN",
    msg: expect.stringContaining("another program uses this port"),
  });
});

test("warnings of the configuration are lines of the log", async () => {
  using folder = temporaryFolder();
  await using sidecar = await startCommand(
    ["serve", "--upstream", "http://127.0.0.1:9", "--listen", ":0", ...JSON_LOG],
    { cwd: folder.path },
  );
  expect(linesOf(sidecar)[0]).toMatchObject({
    level: "warn",
    msg: expect.stringMatching(/^--listen: the sidecar/),
  });
});

test("--log-level takes the place of what the file says, and goes on to do so when that is read again", async () => {
  const { sidecar, save } = await startWith("{level: error}", "", "--log-level", "info");
  save("{level: silent}");
  await printed(sidecar, /is used from now on\n/);
  await ask(`${sidecar.url}/later`);
  await printed(sidecar, /GET \/later 200/);
});

describe("a change of log takes effect at once:", () => {
  test.each([1, 2])("the level and the sampling, with %s workers", async (workers) => {
    const { sidecar, save } = await startWith(
      "{level: warn}",
      `workers: ${workers}\n`,
      "--log-level",
      "info",
    );
    expect(workersOf(sidecar).length).toBe(workers === 1 ? 0 : 2);
    save("{sampleSuccess: 0}");
    await printed(sidecar, /is used from now on\n/);
    for (let asked = 0; asked < 4; asked++) expect(await ask(`${sidecar.url}/good`)).toBe(200);
    for (let asked = 0; asked < 4; asked++) expect(await ask(`${sidecar.url}/bad`, "wrong")).toBe(401);
    await vi.waitFor(() => expect(sidecar.output().stderr.match(/GET \/bad 401/g)).toHaveLength(4));
    expect(sidecar.output().stderr).not.toContain("GET /good");

    save("{sampleSuccess: 1}");
    await vi.waitFor(
      () => expect(sidecar.output().stderr.match(/is used from now on/g)).toHaveLength(2),
      10_000,
    );
    expect(await ask(`${sidecar.url}/good`)).toBe(200);
    await printed(sidecar, /GET \/good 200/);
  });

  test("the level", async () => {
    const { sidecar, save } = await startWith("{level: info}");
    save("{level: warn}");
    // What comes from then on is the answer to that, and is no warning.
    await vi.waitFor(async () => {
      const before = sidecar.output().stderr;
      expect(await ask(`${sidecar.url}/good`)).toBe(200);
      expect(await ask(`${sidecar.url}/bad`, "wrong")).toBe(401);
      await vi.waitFor(() => expect(sidecar.output().stderr.slice(before.length)).toContain("/bad 401"));
      expect(sidecar.output().stderr.slice(before.length)).not.toContain("/good 200");
    }, 10_000);
  });
});

describe("of several workers", () => {
  test("each writes its own lines, whole, and all hash a caller alike, also one that is started later", async () => {
    const { sidecar } = await startWith("{}", "workers: 2\n", ...JSON_LOG);
    const seen = () => new Set(requestsOf(sidecar).map(({ pid }) => pid));
    const askAll = async (count: number) => {
      const asked = Array.from({ length: count }, (_, index) =>
        ask(`${sidecar.url}/${"x".repeat(1 + index * 9)}`),
      );
      for (const status of await Promise.all(asked)) expect(status).toBe(200);
    };
    await askAll(40);
    await expect.poll(() => requestsOf(sidecar)).toHaveLength(40);
    expect([...seen()].toSorted()).toEqual(workersOf(sidecar).toSorted());
    await replaceWorker(sidecar, workersOf(sidecar)[0] as number);
    await askAll(40);
    await expect.poll(() => requestsOf(sidecar)).toHaveLength(80);
    expect(seen().size).toBe(3);
    const subjects = new Set(requestsOf(sidecar).map(({ subject }) => subject));
    expect([...subjects]).toEqual([expect.stringMatching(/^[0-9a-f]{16}$/)]);
  });
});

test.each(["json", "pretty"])(
  "%s: no secret of a request is in anything that is written, up to a crash",
  async (format) => {
    const { folder, backend, sidecar, save } = await startWith(
      "{}",
      "",
      "--log-format",
      format,
      "--log-level",
      "debug",
    );
    writeFileSync(
      join(folder, "crash.mjs"),
      "export default () => { setTimeout(() => { throw new Error('it crashes'); }); return {}; };\n",
    );
    save(`{subject: plain}
policies:
  - {name: crash, match: {path: /crash}, module: ./crash.mjs}
  - {name: forbidden, match: {path: /forbidden}, require: {scopes: [orders.read]}}
  - {name: broken, match: {path: /broken}, upstream: "http://127.0.0.1:9"}
  - {name: rest}`);
    await printed(sidecar, /is used from now on/);
    const secrets = [
      "key-of-acme",
      "wrong-secret",
      "cookie-secret",
      "query-secret",
      "password-secret",
      "eyJhbGci",
    ];
    const send = async (path: string, key: string) => {
      const headers = {
        "x-api-key": key,
        cookie: "session=cookie-secret",
        "x-other": `Basic ${btoa("me:password-secret")}`,
        "proxy-authorization": `Basic ${btoa("me:password-secret")}`,
      };
      return (await fetch(`${sidecar.url}${path}?token=query-secret`, { headers })).status;
    };
    expect(await send("/", "key-of-acme")).toBe(200);
    expect(await send("/", "wrong-secret")).toBe(401);
    expect(await send("/forbidden", "key-of-acme")).toBe(403);
    expect(await send("/broken", "key-of-acme")).toBe(502);
    expect(backend.requests[0]?.headers.authorization).toContain(secrets.at(-1));
    await send("/crash", "key-of-acme").catch(() => {});
    const { code, stdout, stderr } = await sidecar.stop();
    expect(code).toBe(1);
    for (const status of [200, 401, 403, 502])
      expect(stderr).toMatch(new RegExp(format === "json" ? `"status":${status}` : `GET /\\S* ${status} `));
    expect(stderr).toContain("it crashes");
    for (const secret of [...secrets, btoa("me:password-secret")])
      expect(stdout + stderr).not.toContain(secret);
  },
);
