import { expect, test } from "vitest";
import { temporaryFolder } from "../support/command-line.ts";
import {
  expectAlgorithmIsRefused,
  expectForgeriesAreRefused,
  expectIncompleteTokensAreRefused,
  expectOthersAreRefused,
  expectRequestIsAnswered,
} from "../support/example-claims.ts";
import { NGINX, NGINX_WITH_NJS, requireProgram } from "../support/programs.ts";
import { withdrawKey } from "../support/rotation.ts";
import {
  expectBodyArrives,
  expectCallerIsTheTokens,
  expectSubjectIsNoHeader,
  type ServerExample,
  startServerExample,
} from "../support/server-example.ts";

const EXAMPLE: ServerExample = {
  folder: "nginx",
  command: (folder) => [NGINX, "-p", folder, "-c", "nginx.conf", "-g", "daemon off;"],
};

test("nginx lets a request with a token through, and no other", async (context) => {
  requireProgram(context, NGINX_WITH_NJS);
  await using example = await startServerExample(EXAMPLE, "ES256");
  await expectRequestIsAnswered(example);
  await expectCallerIsTheTokens(example);
  await expectBodyArrives(example);
  await expectSubjectIsNoHeader(example);
  const { length } = example.arrived;
  await expectForgeriesAreRefused(example);
  expect(example.arrived).toHaveLength(length);
  await expectIncompleteTokensAreRefused(example);
  await expectOthersAreRefused(example);
});

test("nginx refuses an algorithm that is not its own", async (context) => {
  requireProgram(context, NGINX_WITH_NJS);
  await using example = await startServerExample(EXAMPLE, "ES384");
  await expectAlgorithmIsRefused(example);
});

test("nginx accepts the tokens of a new key at once", async (context) => {
  requireProgram(context, NGINX_WITH_NJS);
  using keys = temporaryFolder();
  await using example = await startServerExample(EXAMPLE, "ES256", { keys: `{directory: ${keys.path}}` });
  await expectRequestIsAnswered(example);
  await withdrawKey(example.sidecar);
  await expectRequestIsAnswered(example);
});
