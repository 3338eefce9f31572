import { test } from "vitest";
import { type ExampleCommand, startExample } from "../support/example.ts";
import {
  expectAlgorithmIsRefused,
  expectForgeriesAreRefused,
  expectIncompleteTokensAreRefused,
  expectOthersAreRefused,
  expectRequestIsAnswered,
} from "../support/example-claims.ts";

const COMMAND: ExampleCommand = [process.execPath, "express/server.mjs"];

test.each(["ES256", "RS256"] as const)(
  "the Express example answers a request whose token is signed with %s",
  async (algorithm) => {
    await using example = await startExample(COMMAND, algorithm);
    await expectRequestIsAnswered(example);
  },
);

test("the Express example refuses every request without the right token", async () => {
  await using example = await startExample(COMMAND, "ES256");
  await expectForgeriesAreRefused(example);
  await expectIncompleteTokensAreRefused(example);
  await expectOthersAreRefused(example);
});

test("the Express example refuses an algorithm that is not on its list", async () => {
  await using example = await startExample(COMMAND, "ES384");
  await expectAlgorithmIsRefused(example);
});
