import { expect, test, vi } from "vitest";
import { temporaryFolder } from "../support/command-line.ts";
import {
  expectForgeriesAreRefused,
  expectIncompleteTokensAreRefused,
  expectOthersAreRefused,
  expectRequestIsAnswered,
} from "../support/example-claims.ts";
import { HAPROXY, HAPROXY_ALONE, PYTHON, PYTHON_WITH_PYJWT, requireProgram } from "../support/programs.ts";
import { withdrawKey } from "../support/rotation.ts";
import {
  expectBodyArrives,
  expectCallerIsTheTokens,
  expectSubjectIsNoHeader,
  runToEnd,
  type ServerExample,
  startServerExample,
} from "../support/server-example.ts";

const FETCH_KEYS = [PYTHON, "fetch_keys.py", "keys"] as const;

const EXAMPLE: ServerExample = {
  folder: "haproxy",
  prepare: FETCH_KEYS,
  // With a master process, as Debian's service has one: SIGUSR2 reloads.
  command: () => [HAPROXY, "-W", "-f", "haproxy.cfg"],
};

test("HAProxy lets a request with a token through, and no other", async (context) => {
  requireProgram(context, HAPROXY_ALONE);
  requireProgram(context, PYTHON_WITH_PYJWT);
  await using example = await startServerExample(EXAMPLE, "ES256");
  await expectRequestIsAnswered(example);
  await expectCallerIsTheTokens(example);
  await expectBodyArrives(example);
  await expectSubjectIsNoHeader(example);
  const { length } = example.arrived;
  // For an HMAC, jwt_verify would take the name of the key's file for the secret.
  await expectForgeriesAreRefused(example, ["keys/1.pem", "keys/2.pem"]);
  expect(example.arrived).toHaveLength(length);
  await expectIncompleteTokensAreRefused(example, { "for several, this one among them": 401 });
  await expectOthersAreRefused(example);
});

test("HAProxy accepts the tokens of a new key once it is fetched", { timeout: 40_000 }, async (context) => {
  requireProgram(context, HAPROXY_ALONE);
  requireProgram(context, PYTHON_WITH_PYJWT);
  using keys = temporaryFolder();
  await using example = await startServerExample(EXAMPLE, "ES256", { keys: `{directory: ${keys.path}}` });
  const { folder, pid, sidecar } = example;
  await expectRequestIsAnswered(example);
  expect(await runToEnd(FETCH_KEYS, folder)).toMatchObject({ code: 3 });

  await withdrawKey(sidecar);
  expect((await sidecar.request()).status).toBe(401);
  expect(await runToEnd(FETCH_KEYS, folder)).toMatchObject({ code: 0 });
  process.kill(pid, "SIGUSR2");

  await vi.waitFor(async () => expect((await sidecar.request()).status).toBe(200), 10_000);
});
