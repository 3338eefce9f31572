import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { loadConfig } from "../../src/index.ts";
import { runCommand } from "../support/command-line.ts";

const FOLDER = fileURLToPath(new URL("../../config", import.meta.url));
const TESTS = ".policy-test.yaml";
const files = readdirSync(FOLDER).filter((file) => file.endsWith(".yaml"));
const profiles = files.filter((file) => !file.endsWith(TESTS)).map((file) => file.replace(/\.yaml$/, ""));

test("there is a profile for each common shape, and beside each its tests", () => {
  expect(profiles).toEqual([
    "api-keys",
    "migrate-shared-secret",
    "mtls-mesh",
    "oidc",
    "public-and-protected",
  ]);
  expect(files.filter((file) => file.endsWith(TESTS))).toEqual(profiles.map((name) => `${name}${TESTS}`));
});

test.each(profiles)("config/%s.yaml can be used as it is", async (name) => {
  const { env = {} } = parse(readFileSync(join(FOLDER, `${name}${TESTS}`), "utf8"));
  const { config, warnings } = await loadConfig({ file: join(FOLDER, `${name}.yaml`), env });
  expect(warnings).toEqual([]);
  expect(config.upstream.origin).toBe("http://127.0.0.1:9000");
});

test("every test beside a profile passes", async () => {
  const names = profiles.map((name) => join(FOLDER, `${name}${TESTS}`));
  const { code, stdout, stderr } = await runCommand(["test", ...names]);
  expect(stdout).not.toContain("FAIL");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});
