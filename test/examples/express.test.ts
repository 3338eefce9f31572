import { test } from "vitest";
import { type ExampleCommand, startExample } from "../support/example.ts";
import {
  expectAlgorithmIsRefused,
  expectOthersAreRefused,
  expectRequestIsAnswered,
} from "../support/example-claims.ts";

const COMMAND: ExampleCommand = [process.execPath, "express/server.mjs"];

test("the Express example answers a request with a token, and refuses every one without the right token", async () => {
  await using example = await startExample(COMMAND, "RS256");
  await expectRequestIsAnswered(example);
  await expectOthersAreRefused(example);
});

test("the Express example refuses an algorithm that is not on its list", async () => {
  await using example = await startExample(COMMAND, "ES256");
  await expectAlgorithmIsRefused(example);
});
