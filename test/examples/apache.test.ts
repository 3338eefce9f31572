import { expect, test } from "vitest";
import { temporaryFolder } from "../support/command-line.ts";
import {
  expectForgeriesAreRefused,
  expectIncompleteTokensAreRefused,
  expectOthersAreRefused,
  expectRequestIsAnswered,
} from "../support/example-claims.ts";
import { APACHE, APACHE_WITH_OPENIDC, requireProgram } from "../support/programs.ts";
import { withdrawKey } from "../support/rotation.ts";
import {
  expectBodyArrives,
  expectCallerIsTheTokens,
  expectSubjectIsNoHeader,
  type ServerExample,
  startServerExample,
} from "../support/server-example.ts";

const EXAMPLE: ServerExample = {
  folder: "apache",
  command: (folder) => [APACHE, "-d", folder, "-f", "apache.conf", "-D", "FOREGROUND"],
};

test("Apache lets a request with a token through, and no other", async (context) => {
  requireProgram(context, APACHE_WITH_OPENIDC);
  await using example = await startServerExample(EXAMPLE, "ES256");
  await expectRequestIsAnswered(example);
  await expectCallerIsTheTokens(example);
  await expectBodyArrives(example);
  await expectSubjectIsNoHeader(example);
  const { length } = example.arrived;
  await expectForgeriesAreRefused(example);
  expect(example.arrived).toHaveLength(length);
  await expectIncompleteTokensAreRefused(example, {
    "10 seconds too old": 401,
    "without exp": 200, // of which the sidecar makes none
    "not yet valid": 200,
  });
  await expectOthersAreRefused(example);
});

test("Apache accepts the tokens of a new key at once", async (context) => {
  requireProgram(context, APACHE_WITH_OPENIDC);
  using keys = temporaryFolder();
  await using example = await startServerExample(EXAMPLE, "ES256", { keys: `{directory: ${keys.path}}` });
  await expectRequestIsAnswered(example);
  await withdrawKey(example.sidecar);
  await expectRequestIsAnswered(example);
});
