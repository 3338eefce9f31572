import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { parseConfig } from "../../src/index.ts";
import { createCa, issueForServer, writeTlsFiles } from "../support/certificates.ts";
import { EXECUTABLE, temporaryFolder } from "../support/command-line.ts";
import { DEPLOY, readDeployed } from "../support/manifests.ts";
import { openSocket } from "../support/passed-socket.ts";
import { requireProgram, SYSTEMD_ANALYZE } from "../support/programs.ts";

const run = promisify(execFile);
const UNIT = join(DEPLOY, "systemd/countersign.service");
const SOCKET = join(DEPLOY, "systemd/countersign.socket");
const unit = readDeployed("systemd/countersign.service");
const env = { CREDENTIALS_DIRECTORY: "/run/credentials/countersign.service", KEY_PASSPHRASE: "a passphrase" };
const { config, warnings } = parseConfig(readDeployed("systemd/sidecar.yaml"), { file: "sidecar.yaml", env });

/** Every value of a key in a unit, in order. */
function valuesOf(key: string, text = unit): string[] {
  return [...text.matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map(([, value = ""]) => value);
}

test("systemd understands every line of the units", async (context) => {
  requireProgram(context, SYSTEMD_ANALYZE);
  const { stdout, stderr } = await run("systemd-analyze", ["verify", "--man=no", UNIT, SOCKET]);
  expect({ stdout, stderr }).toEqual({ stdout: "", stderr: "" });
});

test("systemd finds the service less exposed than 1.4 of 10", async (context) => {
  requireProgram(context, SYSTEMD_ANALYZE);
  // It fails above the threshold, which is in tenths.
  await run("systemd-analyze", ["security", "--offline=true", "--no-pager", "--threshold=14", UNIT]);
});

test.each([
  ["User", ["countersign"]],
  ["NoNewPrivileges", ["yes"]],
  ["CapabilityBoundingSet", [""]],
  ["ProtectSystem", ["strict"]],
  ["ProtectHome", ["yes"]],
  ["PrivateTmp", ["yes"]],
  ["PrivateDevices", ["yes"]],
  ["ProtectProc", ["invisible"]],
  ["RestrictAddressFamilies", ["AF_INET AF_INET6 AF_UNIX AF_NETLINK"]],
  ["SystemCallFilter", ["@system-service", "~@privileged @resources"]],
  ["UMask", ["0077"]],
  ["StateDirectoryMode", ["0700"]],
  ["LimitCORE", ["0"]],
  // Nothing else can be written.
  ["ReadWritePaths", []],
  // Node.js makes code while it runs.
  ["MemoryDenyWriteExecute", []],
])("the service is hardened: %s is %j", (key, values) => {
  expect(valuesOf(key)).toEqual(values);
});

test("the service is given the time that a stop takes, and SIGHUP where it is reloaded", () => {
  const { notReadySeconds, drainSeconds } = config.timeouts;
  expect(Number(valuesOf("TimeoutStopSec")[0])).toBeGreaterThan(notReadySeconds + drainSeconds);
  expect(valuesOf("ExecReload")).toEqual(["/bin/kill -HUP $MAINPID"]);
});

test("the configuration listens on the socket of the socket unit, and the operators' listener is local", () => {
  expect(warnings).toEqual([]);
  const [name] = valuesOf("FileDescriptorName", readDeployed("systemd/countersign.socket"));
  expect(config.listen.map(({ address }) => address)).toEqual([{ kind: "systemd", name }]);
  expect(config.admin?.address).toMatchObject({ kind: "tcp", host: "127.0.0.1" });
  expect(valuesOf("Requires")).toEqual(["countersign.socket"]);
});

test("the configuration names each credential that the unit loads, and keys where the unit lets it write", () => {
  const loaded = valuesOf("LoadCredential").map((value) => value.split(":")[0]);
  const named = [
    ...readDeployed("systemd/sidecar.yaml").matchAll(/\$env\(CREDENTIALS_DIRECTORY[^)]*\)\/(\S+)/g),
  ];
  expect([...named.map(([, file]) => file), "key-passphrase"].sort()).toEqual(loaded.sort());
  const [state] = valuesOf("StateDirectory");
  expect(config.issuer.keys).toMatchObject({
    kind: "directory",
    directory: `/var/lib/${state}/keys`,
  });
});

test("the command of the unit starts Countersign with the socket and the credentials that systemd passes", async () => {
  using folder = temporaryFolder();
  const credentials = join(folder.path, "credentials");
  const programs = join(folder.path, "bin");
  for (const path of [credentials, programs]) mkdirSync(path);
  symlinkSync(EXECUTABLE, join(programs, "countersign"));
  const ca = await createCa();
  writeTlsFiles(credentials, await issueForServer(ca), ca);
  writeFileSync(join(credentials, "api-keys.yaml"), "keys: []\n");
  writeFileSync(join(credentials, "key-passphrase"), "a passphrase\n");
  const file = join(folder.path, "sidecar.yaml");
  writeFileSync(
    file,
    readDeployed("systemd/sidecar.yaml")
      .replaceAll("/var/lib/countersign", folder.path)
      .replaceAll("127.0.0.1:8081", "127.0.0.1:0"),
  );
  const socket = await openSocket();

  // As systemd reads it: $$ is a dollar.
  const [command = ""] = valuesOf("ExecStart");
  const [, script = ""] = /^\/bin\/sh -ec '(.*)'$/.exec(command) ?? [];
  const started = script.replaceAll("$$", "$").replace("/etc/countersign/sidecar.yaml", file);
  const child = spawn(
    "sh",
    ["-c", `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=https exec sh -ec "$0"`, started],
    {
      env: {
        PATH: `${programs}:${dirname(process.execPath)}:${process.env.PATH}`,
        CREDENTIALS_DIRECTORY: credentials,
      },
      stdio: ["ignore", "ignore", "pipe", socket.fd],
    },
  );
  using _process = { [Symbol.dispose]: () => child.kill("SIGKILL") };
  const ended = once(child, "close");
  socket.close();
  let printed = "";
  child.stderr?.on("data", (data) => {
    printed += data;
  });
  await expect.poll(() => printed, { timeout: 15_000 }).toContain("listening on");
  expect(JSON.parse(printed)).toMatchObject({
    msg: expect.stringMatching(/^listening on https:/),
    keys: expect.stringMatching(/^in .*\/keys$/),
    admin: expect.stringMatching(/^http:/),
  });
  child.kill("SIGINT");
  expect((await ended)[0]).toBe(0);
});
