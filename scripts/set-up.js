// Makes a checkout ready to run: installs what the lock file says and compiles, each only where something changed.
// It runs with whatever Node.js is at hand, before anything is installed; the rest runs with the one in node_modules.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const OLDEST_NODE = [24, 9];
const OWN_NODE = "node_modules/node/bin/node";

process.chdir(join(dirname(fileURLToPath(import.meta.url)), ".."));
whenChanged(["package.json", "package-lock.json"], "node_modules", install);
whenChanged(
  [
    ...["src", "tsconfig.json", "tsconfig.build.json"],
    ...["rolldown.config.js", "scripts/build", "package-lock.json"],
  ],
  "dist",
  build,
);

/** Runs `step`, which makes the folder `product`, where the files differ from those at its last success. */
function whenChanged(paths, product, step) {
  const stamp = `node_modules/.countersign-${step.name}`;
  const state = `${process.platform} ${process.arch} ${digestOf(paths)}\n`;
  if (existsSync(product) && existsSync(stamp) && readFileSync(stamp, "utf8") === state) return;
  step();
  writeFileSync(stamp, state);
}

function digestOf(paths) {
  const hash = createHash("sha256");
  for (const file of paths.flatMap(filesBelow)) hash.update(`${file}\0`).update(readFileSync(file));
  return hash.digest("hex");
}

function filesBelow(path) {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .sort()
    .flatMap((name) => filesBelow(join(path, name)));
}

function install() {
  console.log("installing what package-lock.json says …");
  const arguments_ = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  if (npm(arguments_) && ownNodeRuns()) return;
  // No Node.js for this machine in the npm package, or its install script may not run.
  if (!isNewEnough(process.versions.node)) {
    fail(
      `Node.js ${OLDEST_NODE.join(".")} or newer is needed, this is ${process.version}, and the npm package "node" could not be installed here.\n` +
        "Install a current Node.js from https://nodejs.org and run this again.",
    );
  }
  console.log(`the npm package "node" could not be installed; going on with ${process.version}`);
  if (!npm([...arguments_, "--ignore-scripts"])) fail("npm ci failed; its messages are above");
}

function build() {
  rmSync("dist", { recursive: true, force: true });
  // What the bundler prints is what it has made; what is wrong goes to standard error.
  const bundled = run(process.execPath, ["node_modules/rolldown/bin/cli.mjs", "-c"], "ignore");
  if (bundled.status !== 0) fail("the build failed; the bundler's messages are above");
  const typed = run(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"]);
  if (typed.status !== 0) fail("the build failed; the compiler's messages are above");
}

function npm(arguments_) {
  // npm says where it is, so that no other one on the PATH is taken.
  const cli = process.env.npm_execpath;
  const { status } = cli ? run(process.execPath, [cli, ...arguments_]) : run("npm", arguments_);
  return status === 0;
}

function ownNodeRuns() {
  const { status, stdout } = spawnSync(OWN_NODE, ["--version"], { encoding: "utf8" });
  return status === 0 && isNewEnough(stdout.trim().slice(1));
}

function isNewEnough(version) {
  const [major, minor] = version.split(".").map(Number);
  return major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
}

function run(command, arguments_, output = "inherit") {
  return spawnSync(command, arguments_, { stdio: ["inherit", output, "inherit"] });
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
