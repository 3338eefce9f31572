import { test } from "vitest";
import { type ExampleCommand, startExample } from "../support/example.ts";
import {
  expectAlgorithmIsRefused,
  expectForgeriesAreRefused,
  expectIncompleteTokensAreRefused,
  expectOthersAreRefused,
  expectRequestIsAnswered,
} from "../support/example-claims.ts";
import { PYTHON, PYTHON_WITH_PYJWT, requireProgram } from "../support/programs.ts";

const COMMAND: ExampleCommand = [PYTHON, "python/server.py"];

test.for(["EdDSA", "ES256", "RS256"] as const)(
  "the Python example answers a request whose token is signed with %s",
  async (algorithm, context) => {
    requireProgram(context, PYTHON_WITH_PYJWT);
    await using example = await startExample(COMMAND, algorithm);
    await expectRequestIsAnswered(example);
  },
);

test("the Python example refuses every request without the right token", async (context) => {
  requireProgram(context, PYTHON_WITH_PYJWT);
  await using example = await startExample(COMMAND, "EdDSA");
  await expectForgeriesAreRefused(example);
  await expectIncompleteTokensAreRefused(example);
  await expectOthersAreRefused(example);
});

test("the Python example refuses an algorithm that is not on its list", async (context) => {
  requireProgram(context, PYTHON_WITH_PYJWT);
  await using example = await startExample(COMMAND, "ES384");
  await expectAlgorithmIsRefused(example);
});
