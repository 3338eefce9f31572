import { ANONYMOUS } from "../config/authenticators/sections.ts";
import type { Config } from "../config/config.ts";
import type { PolicyTestFile, TestUser } from "../config/policy-test-file.ts";
import { formatKey, type Position } from "../config/problems.ts";
import type { Authenticator, Outcome } from "../policy/authenticators/authenticator.ts";
import type { AuthenticatorOptions } from "../policy/authenticators/options.ts";
import { differencesFrom } from "./policy-test-differences.ts";
import { openStage, type Stage } from "./rehearsal.ts";
import { makeRehearsalKeys } from "./rehearsal-keys.ts";

/** How one test ended. */
export interface TestResult {
  readonly name: string;
  readonly position: Position;
  readonly ok: boolean;
  readonly failures: readonly TestFailure[];
}

/** One thing that is not as expected. */
export interface TestFailure {
  /** The key of the expectation, such as `tests[0].expect.claims.sub`. */
  readonly key: string;
  readonly position: Position;
  readonly expected: string;
  readonly actual: string;
}

/**
 * Runs the tests of a file, in order.
 *
 * @throws {CountersignError} when something that the policies use cannot be opened
 */
export async function runPolicyTests(
  { tests, positionOf }: PolicyTestFile,
  config: Config,
): Promise<TestResult[]> {
  const keys = await makeRehearsalKeys(config);
  await using opened = new AsyncDisposableStack();
  let user: TestUser | undefined;
  const answerFor = ({ name }: Authenticator): Outcome =>
    user && name === user.authenticator
      ? { kind: "user", user: { sub: user.sub, claims: user.claims } }
      : NOT_MINE;
  // What nobody asks need not be there: neither the files of authenticators nor an identity provider.
  const withUsers = once(async () => opened.use(await openStage(withoutFiles(config), { keys, answerFor })));
  const withCredentials = once(async () => opened.use(await openStage(config, { keys })));

  const results: TestResult[] = [];
  for (const [index, test] of tests.tests.entries()) {
    const { method, url, headers, from } = test.request;
    const named = test.request.user;
    user = named === undefined || named === ANONYMOUS ? undefined : tests.users[named];
    const stage = await (named === undefined ? withCredentials() : withUsers());
    const fields = Object.entries(headers).flatMap(([name, values]) =>
      values.map((value) => [name, value] as const),
    );
    const { decision } = await stage.rehearse({ method, url, fields, from });
    const failures = differencesFrom(test.expect, config, decision).map(
      ({ path, ...failure }): TestFailure => {
        const whole = ["tests", index, "expect", ...path];
        return { key: formatKey(whole), position: positionOf(whole), ...failure };
      },
    );
    const position = positionOf(["tests", index, "name"]);
    results.push({ name: test.name, position, ok: failures.length === 0, failures });
  }
  return results;
}

const NOT_MINE: Outcome = { kind: "not-mine", reason: "the test names another user" };

function once(open: () => Promise<Stage>): () => Promise<Stage> {
  let stage: Promise<Stage> | undefined;
  return () => {
    stage ??= open();
    return stage;
  };
}

/** Authenticators that can be opened without what they verify credentials with. */
function withoutFiles(config: Config): Config {
  const authenticators = Object.entries(config.authenticators).map(
    ([name, options]) => [name, withoutFile(options)] as const,
  );
  return { ...config, authenticators: Object.fromEntries(authenticators) };
}

function withoutFile(options: AuthenticatorOptions): AuthenticatorOptions {
  if (options.type === "apiKey") return { ...options, keysFile: undefined };
  if (options.type === "basic") return { ...options, htpasswd: undefined };
  // Keys that are fetched are fetched when a token comes, and none does.
  return options.type === "jwt" ? { ...options, keys: { kind: "discovery" } } : options;
}
