import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { policyTestsJsonSchema, readPolicyTests } from "../../src/config/policy-test-file.ts";

const validate = new Ajv2020({ strict: false }).compile(policyTestsJsonSchema());

test("the JSON Schema accepts the file in docs/policy-tests.md, and no key that is not known", () => {
  const text = readFileSync(new URL("../../docs/policy-tests.md", import.meta.url), "utf8");
  const [, yaml = ""] = /^```yaml\n([\s\S]*?)^```$/m.exec(text) ?? [];
  expect(readPolicyTests(yaml, "a.policy-test.yaml", {}).tests.tests).toHaveLength(3);
  expect(validate(parse(yaml)), JSON.stringify(validate.errors)).toBe(true);
  expect(validate({ ...parse(yaml), tets: [] })).toBe(false);
});

test("$env() in a file of tests is resolved, and a variable that is not set is a problem", () => {
  const text = "tests: [{name: a, request: {url: $env(URL)}, expect: {status: issuer}}]\n";
  expect(readPolicyTests(text, "a.yaml", { URL: "/x" }).tests.tests[0]?.request.url).toBe("/x");
  expect(() => readPolicyTests(text, "a.yaml", {})).toThrow(
    "a.yaml:1:34 tests[0].request.url: the environment variable URL is not set",
  );
});
