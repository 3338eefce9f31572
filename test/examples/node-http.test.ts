import { test } from "vitest";
import { type ExampleCommand, startExample } from "../support/example.ts";
import {
  expectAlgorithmIsRefused,
  expectForgeriesAreRefused,
  expectIncompleteTokensAreRefused,
  expectOthersAreRefused,
  expectRequestIsAnswered,
} from "../support/example-claims.ts";

const COMMAND: ExampleCommand = [process.execPath, "node-http/server.mjs"];

test.each(["EdDSA", "ES256", "RS256"] as const)(
  "the node:http example answers a request whose token is signed with %s",
  async (algorithm) => {
    await using example = await startExample(COMMAND, algorithm);
    await expectRequestIsAnswered(example);
  },
);

test("the node:http example refuses every request without the right token", async () => {
  await using example = await startExample(COMMAND, "EdDSA");
  await expectForgeriesAreRefused(example);
  await expectIncompleteTokensAreRefused(example);
  await expectOthersAreRefused(example);
});

test("the node:http example refuses an algorithm that is not on its list", async () => {
  await using example = await startExample(COMMAND, "ES384");
  await expectAlgorithmIsRefused(example);
});
