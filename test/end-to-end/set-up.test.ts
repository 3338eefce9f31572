import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { temporaryFolder } from "../support/command-line.ts";

const SCRIPT = fileURLToPath(new URL("../../scripts/set-up.js", import.meta.url));

/** A checkout with the real script, and in the place of npm a program that writes down how it was called. */
function makeCheckout(path: string, npm: string): () => string[] {
  mkdirSync(join(path, "scripts"));
  mkdirSync(join(path, "src"));
  cpSync(SCRIPT, join(path, "scripts/set-up.js"));
  writeFileSync(join(path, "package.json"), '{"type": "module"}');
  for (const file of [
    ...["package-lock.json", "tsconfig.json", "tsconfig.build.json"],
    ...["rolldown.config.js", "scripts/build"],
  ])
    writeFileSync(join(path, file), "{}");
  writeFileSync(join(path, "src/a.ts"), "one");
  writeFileSync(
    join(path, "npm.cjs"),
    `const fs = require("node:fs");
     fs.appendFileSync("calls", process.argv.slice(2).join(" ") + "\\n");
     for (const name of ["typescript", "rolldown"]) fs.mkdirSync("node_modules/" + name + "/bin", { recursive: true });
     fs.writeFileSync("node_modules/rolldown/bin/cli.mjs", 'import fs from "node:fs"; fs.appendFileSync("calls", "rolldown\\\\n"); fs.mkdirSync("dist", { recursive: true })');
     fs.writeFileSync("node_modules/typescript/bin/tsc", 'require("node:fs").appendFileSync("calls", "tsc\\\\n")');
     ${npm}`,
  );
  return () => readFileSync(join(path, "calls"), "utf8").trim().split("\n");
}

function setUp(path: string, nodeOptions: readonly string[] = []) {
  const env = { ...process.env, npm_execpath: join(path, "npm.cjs") };
  return spawnSync(process.execPath, [...nodeOptions, "scripts/set-up.js"], {
    cwd: path,
    env,
    encoding: "utf8",
  });
}

const INSTALL_NODE = `fs.mkdirSync("node_modules/node/bin", { recursive: true });
  fs.writeFileSync("node_modules/node/bin/node", "#!/bin/sh\\necho v26.0.0\\n", { mode: 0o755 });`;
const BUILD = ["rolldown", "tsc"];
const CI = "ci --no-audit --no-fund --loglevel=error";

test("a fresh checkout is installed and built once, and again only where something changed", () => {
  using folder = temporaryFolder();
  const calls = makeCheckout(folder.path, INSTALL_NODE);

  expect(setUp(folder.path).status).toBe(0);
  expect(calls()).toEqual([CI, ...BUILD]);

  expect(setUp(folder.path).stdout).toBe("");
  expect(calls()).toEqual([CI, ...BUILD]);

  writeFileSync(join(folder.path, "src/a.ts"), "two");
  setUp(folder.path);
  expect(calls()).toEqual([CI, ...BUILD, ...BUILD]);

  writeFileSync(join(folder.path, "package-lock.json"), "{ }");
  setUp(folder.path);
  expect(calls()).toEqual([CI, ...BUILD, ...BUILD, CI, ...BUILD]);
});

test("where Node.js cannot be installed from npm, one at hand that is new enough serves", () => {
  using folder = temporaryFolder();
  const calls = makeCheckout(folder.path, 'if (!process.argv.includes("--ignore-scripts")) process.exit(1);');

  const { status, stdout } = setUp(folder.path);

  expect(status).toBe(0);
  expect(stdout).toContain(`going on with ${process.version}`);
  expect(calls()).toEqual([CI, `${CI} --ignore-scripts`, ...BUILD]);
});

test("where Node.js cannot be installed and the one at hand is too old, that is said, and nothing is built", () => {
  using folder = temporaryFolder();
  const calls = makeCheckout(folder.path, "");
  const old = 'data:text/javascript,Object.defineProperty(process.versions, "node", { value: "20.1.0" })';

  const { status, stderr } = setUp(folder.path, ["--import", old]);

  expect(status).toBe(1);
  expect(stderr).toContain("Node.js 24.9 or newer is needed");
  expect(calls()).toEqual([CI]);
  expect(existsSync(join(folder.path, "dist"))).toBe(false);
});
