import { execFile } from "node:child_process";
import { cpSync, existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { runCommand, temporaryFolder } from "../support/command-line.ts";
import { execForm, imageStages, readDeployed } from "../support/manifests.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const stages = imageStages();
const [, program = [], image = []] = stages;
const runs = stages.flat().filter(({ name }) => name === "RUN");
const fromContext = stages
  .flat()
  .filter(({ name, text }) => name === "COPY" && !text.includes("--from="))
  .flatMap(({ text }) => text.split(" ").slice(0, -1));

test("the image has the newest line of Node.js that the tests run on", () => {
  const { devDependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const [line] = /\d+/.exec(devDependencies.node) ?? [];
  expect(/^ARG NODE_LINE=(\d+)$/m.exec(readDeployed("container/Containerfile"))?.[1]).toBe(line);
  for (const stage of stages) expect(stage[0]?.text).toContain(`\${NODE_LINE}-`);
});

test("no package runs code of its own while the image is built, and none for development gets into it", () => {
  const installs = runs.filter(({ text }) => text.startsWith("npm"));
  expect(installs.map(({ text }) => text)).toEqual([
    "npm ci --ignore-scripts",
    "npm ci --omit=dev --ignore-scripts",
  ]);
  expect(program).toContain(installs[1]);
  expect(image[1]).toEqual({ name: "COPY", text: "--from=program /app /app" });
});

test("the image has no shell, so nothing in it needs one", () => {
  expect(image[0]?.text).toMatch(/^gcr\.io\/distroless\//);
  expect(image.some(({ name }) => name === "RUN")).toBe(false);
  expect(execForm(image, "ENTRYPOINT")).toEqual(["/usr/local/bin/countersign"]);
  expect(execForm(image, "CMD")).toEqual(["serve"]);
  expect(execForm(image, "HEALTHCHECK")).toEqual(["/usr/local/bin/countersign", "health"]);
});

test("the image runs as a user that Kubernetes can see is not root", () => {
  const { text: user = "" } = image.find(({ name }) => name === "USER") ?? {};
  expect(user).toMatch(/^[1-9]\d*:[1-9]\d*$/);
  // The only thing that is this user's.
  expect(image.filter(({ text }) => text.includes("--chown")).map(({ text }) => text)).toEqual([
    `--from=program --chown=${user} /state/ /var/lib/`,
  ]);
});

test("the build gets what it copies, and nothing else: no key and no configuration of this machine", () => {
  const lines = readFileSync(join(ROOT, ".dockerignore"), "utf8").split("\n");
  const [first, ...others] = lines.filter((line) => line !== "" && !line.startsWith("#"));
  expect(first).toBe("*");
  expect(others.sort()).toEqual([...new Set(fromContext)].map((path) => `!${path}`).sort());
  for (const path of fromContext) expect(existsSync(join(ROOT, path)), path).toBe(true);
});

test("what the image is built from is enough for the build", async () => {
  using folder = temporaryFolder();
  const [build = []] = stages;
  for (const { name, text } of build) {
    if (name !== "COPY") continue;
    const words = text.split(" ");
    const target = words.pop() as string;
    for (const path of words)
      cpSync(join(ROOT, path), join(folder.path, target, target.endsWith("/") ? basename(path) : ""), {
        recursive: true,
      });
  }
  symlinkSync(join(ROOT, "node_modules"), join(folder.path, "node_modules"));
  const { text: command = "" } = build.findLast(({ name }) => name === "RUN") ?? {};
  const [node, ...arguments_] = command.split(" ");
  expect(node).toBe("node");
  await promisify(execFile)(process.execPath, arguments_, { cwd: folder.path });
  const programIn = (root: string) =>
    readdirSync(join(root, "dist"), { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".js"))
      .sort();
  expect(programIn(folder.path)).toEqual(programIn(ROOT));
});

test("what the image installs is enough for the program, and for passwords that bcrypt hashed", {
  timeout: 60_000,
}, async () => {
  using folder = temporaryFolder();
  const copied = program
    .filter(({ name, text }) => name === "COPY" && !text.startsWith("--from="))
    .flatMap(({ text }) => text.split(" ").slice(0, -1));
  for (const path of [...copied, "dist"])
    cpSync(join(ROOT, path), join(folder.path, path), { recursive: true });
  const { text: install = "" } = program.find(({ text }) => text.startsWith("npm ci")) ?? {};
  const [npm = "", ...arguments_] = install.split(" ");
  // npm runs with the Node.js that runs this test.
  const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
  await promisify(execFile)(npm, [...arguments_, "--prefer-offline", "--loglevel=error"], {
    cwd: folder.path,
    env,
  });

  for (const forDevelopment of ["node", "typescript", "vitest"])
    expect(existsSync(join(folder.path, "node_modules", forDevelopment)), forDevelopment).toBe(false);
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    "upstream: http://127.0.0.1:9\nauthenticators: {ops: {type: basic, htpasswd: ./users}}\nauthenticate: [ops]\n",
  );
  writeFileSync(join(folder.path, "users"), `ops:${BCRYPT_OF_SECRET}\n`);
  const basic = `Authorization: Basic ${Buffer.from("ops:secret").toString("base64")}`;
  const { code, stdout, stderr } = await runCommand(["explain", "GET", "http://a/", "-H", basic], {
    cwd: folder.path,
    executable: join(folder.path, "bin/countersign.js"),
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/"?sub"?.*ops/);
});

const BCRYPT_OF_SECRET = "$2b$04$yD2iEH0qC4XA7UrwcKAuWuWxsWD3E4MOd6zuQImND3vBWgQvaRmI6";
