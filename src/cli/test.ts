import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { loadConfig } from "../config/load.ts";
import { type PolicyTestFile, readPolicyTests, unknownNamesIn } from "../config/policy-test-file.ts";
import { ConfigError, type Problem } from "../config/problems.ts";
import { reasonOf } from "../errors.ts";
import { printableJson, printableText } from "../observability/printable.ts";
import { type ConfigurationFlags, configOption, configurationFileOf } from "./configuration.ts";
import { runPolicyTests, type TestFailure, type TestResult } from "./policy-test-run.ts";
import { UsageError } from "./usage-error.ts";

interface TestFlags extends ConfigurationFlags {
  readonly json?: true;
}

/** `countersign test`: whether the policies do with requests what their tests say. */
export function addTestCommand(program: Command): Command {
  return program
    .command("test")
    .summary("run the tests of the policies")
    .description(
      "Runs the tests in files named *.policy-test.yaml: requests, and what must become of them. None is sent, and no key is made. Without a file, all those in the folder of the configuration are run, but not those in folders below it. Exits with 1 where a test fails.",
    )
    .argument("[file...]", "files of tests")
    .addOption(
      configOption("what the key config of each file says, $COUNTERSIGN_CONFIG, then ./sidecar.yaml"),
    )
    .option("--json", "print the results as JSON")
    .action(async (names: readonly string[], flags: TestFlags) => {
      const files = names.length > 0 ? names : await filesBeside(flags);
      const results = await run(files, flags);
      const tests = results.flatMap((result) => result.tests);
      const failed = tests.filter(({ ok }) => !ok).length;
      const passed = tests.length - failed;
      if (failed > 0) process.exitCode = 1;
      if (flags.json) console.log(printableJson({ ok: failed === 0, passed, failed, files: results }, 2));
      else console.log([...results.flatMap(describeFile), "", summaryOf(passed, failed)].join("\n"));
    });
}

const SUFFIX = ".policy-test.yaml";

async function filesBeside(flags: TestFlags): Promise<string[]> {
  const folder = dirname(configurationFileOf(flags));
  const names = await readdir(folder).catch(() => []);
  const found = names.filter((name) => name.endsWith(SUFFIX)).sort();
  if (found.length === 0) throw new UsageError(`there is no file *${SUFFIX} in ${folder}; name one`);
  return found.map((name) => join(folder, name));
}

interface FileResult {
  readonly file: string;
  readonly tests: readonly TestResult[];
}

/** Every problem of every file is told at once, before the first test runs. */
async function run(files: readonly string[], flags: TestFlags): Promise<FileResult[]> {
  const problems: Problem[] = [];
  const ready = [];
  for (const file of files)
    try {
      const tests = await readTestFile(file);
      const { config } = await loadConfig({
        file: configurationOf(tests, flags),
        env: { ...process.env, ...tests.tests.env },
      });
      problems.push(...unknownNamesIn(tests, config));
      ready.push({ tests, config });
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
    }
  // Files that share a configuration share its problems.
  const distinct = new Map(problems.map((problem) => [JSON.stringify(problem), problem]));
  if (distinct.size > 0) throw new ConfigError([...distinct.values()]);
  const results: FileResult[] = [];
  for (const { tests, config } of ready)
    results.push({ file: tests.file, tests: await runPolicyTests(tests, config) });
  return results;
}

async function readTestFile(file: string): Promise<PolicyTestFile> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    const message = isMissing ? "this file does not exist" : `this file cannot be read: ${reasonOf(error)}`;
    throw new ConfigError([{ file, key: "", message }]);
  }
  return readPolicyTests(text, file, process.env);
}

function configurationOf({ file, tests }: PolicyTestFile, flags: TestFlags): string {
  if (flags.config !== undefined || tests.config === undefined) return configurationFileOf(flags);
  return join(dirname(file), tests.config);
}

function describeFile({ file, tests }: FileResult): string[] {
  return [file, ...tests.flatMap((test) => describeTest(file, test))];
}

function describeTest(file: string, { name, ok, failures }: TestResult): string[] {
  const line = `  ${ok ? "ok  " : "FAIL"}  ${printableText(name)}`;
  return [line, ...failures.flatMap((failure) => describeFailure(file, failure))];
}

function describeFailure(file: string, { key, position, expected, actual }: TestFailure): string[] {
  return [
    `        ${file}:${position.line}:${position.column} ${key}`,
    `          expected  ${printableText(expected)}`,
    `          actual    ${printableText(actual)}`,
  ];
}

function summaryOf(passed: number, failed: number): string {
  return failed === 0 ? `${passed} passed` : `${passed} passed, ${failed} failed`;
}
