import { isIP } from "node:net";
import { z } from "zod";
import { type RequestErrorCode, statusByCode } from "../errors.ts";
import { formatUpstream } from "../gateway/upstream/upstream-options.ts";
import { UNIX_PEER } from "../policy/caller-request.ts";
import { upstreamUrl } from "./addresses.ts";
import { ANONYMOUS } from "./authenticators/sections.ts";
import { fieldName } from "./authenticators/values.ts";
import type { Config } from "./config.ts";
import { type KeyPath, readDocument, type SourceDocument } from "./document.ts";
import { method } from "./http-values.ts";
import { problemsOf } from "./issues.ts";
import { byPlace, ConfigError, formatKey, nearest, type Problem } from "./problems.ts";
import type { Environment } from "./references.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "./section.ts";
import { jsonValue, nonEmptyString, text } from "./values.ts";

const ADDRESS_EXPECTED = 'expected an IP address such as "10.0.0.7", or unix';
const address = text(ADDRESS_EXPECTED, (value) =>
  isIP(value) === 0 && value !== UNIX_PEER ? { expected: ADDRESS_EXPECTED } : { value },
);

const FIELD_VALUE = "expected a text, or a list of texts for a field of several lines; quote a number";
const line = z
  .string({ error: FIELD_VALUE })
  .regex(/^[\t\x20-\x7e\x80-\xff]*$/, "a field value cannot hold this character");
/** By name as the file spells it, so that the way back to its line is found. */
const fields = z
  .record(
    z.string(),
    z.union([line.transform((value) => [value]), z.array(line)], {
      error: FIELD_VALUE,
    }),
    { error: expectedCollection("a map of fields") },
  )
  .superRefine((byName, context) => {
    for (const name of Object.keys(byName ?? {}))
      if (!fieldName.safeParse(name).success)
        context.addIssue({
          code: "custom",
          path: [name],
          message: 'expected a field name such as "X-Region"',
        });
  }, EVEN_WITH_PROBLEMS_INSIDE);
const claims = z.record(z.string(), jsonValue, { error: expectedCollection("a map of claims") });
const names = z.array(nonEmptyString, { error: expectedCollection("a list of names") });

const user = section({
  authenticator: nonEmptyString.describe("The authenticator that finds this user."),
  sub: nonEmptyString.describe("Who it is."),
  claims: claims.default({}).describe("What else is known of the user."),
});

const request = section({
  method: method.default("GET").describe("Default: GET."),
  url: nonEmptyString.describe("A path, or a URL, whose host becomes the Host field."),
  headers: fields.default({}).describe("Fields; a list is a field of several lines."),
  user: nonEmptyString
    .describe(
      `One of users, or ${ANONYMOUS} for a caller without a credential. Default: whoever the fields say.`,
    )
    .optional(),
  from: address
    .default("127.0.0.1")
    .describe("The address of the peer that it comes from, or unix. Default: 127.0.0.1."),
});

const STATUS_EXPECTED = "expected forwarded, issuer, or the status of a refusal such as 403";
const STATUSES: ReadonlySet<number> = new Set(Object.values(statusByCode));

const CODES = Object.keys(statusByCode) as RequestErrorCode[];
const CODE_EXPECTED = "expected the code of a refusal, such as ERR_CREDENTIAL_MISSING";
const refusalCode = text<RequestErrorCode>(CODE_EXPECTED, (value) => {
  const known = CODES.find((code) => code === value);
  if (known) return { value: known };
  const meant = nearest(value, CODES);
  return { expected: meant ? `${CODE_EXPECTED}; did you mean ${meant}?` : CODE_EXPECTED };
});

const expectation = section({
  policy: nonEmptyString.describe("The policy that matches.").optional(),
  status: z
    .union(
      [z.enum(["forwarded", "issuer"]), z.int().refine((status) => STATUSES.has(status), STATUS_EXPECTED)],
      {
        error: STATUS_EXPECTED,
      },
    )
    .describe("forwarded, issuer for what the issuer answers itself, or the status of a refusal.")
    .optional(),
  code: refusalCode.describe("The code of a refusal.").optional(),
  claims: claims.describe("Claims of the token; it may have others.").optional(),
  absentClaims: names.describe("Claims that the token has not.").optional(),
  fields: fields.describe("Fields that reach the backend; others may.").optional(),
  absentFields: z
    .array(fieldName, { error: expectedCollection("a list of fields") })
    .describe("Fields that do not reach the backend.")
    .optional(),
  upstream: upstreamUrl
    .transform(formatUpstream)
    .describe("The backend that the request goes to.")
    .optional(),
}).superRefine((value, context) => {
  if (Object.keys(value ?? {}).length === 0)
    context.addIssue({ code: "custom", message: "expected something, such as status: forwarded" });
}, EVEN_WITH_PROBLEMS_INSIDE);

const test = section({
  name: nonEmptyString.describe("What the test claims: alice reads an order."),
  request: request.describe("A request; it is not sent."),
  expect: expectation.describe("What must become of it."),
});

const policyTestsSchema = section({
  config: nonEmptyString.describe("The configuration, from the folder of this file.").optional(),
  users: z
    .record(z.string(), user, { error: expectedCollection("a map of users by name") })
    .default({})
    .describe("Users by name; each stands for what an authenticator would find."),
  env: z
    .record(z.string(), z.string({ error: "expected a text; quote a number" }), {
      error: expectedCollection("a map of environment variables"),
    })
    .default({})
    .describe("Variables for $env() of the configuration."),
  tests: z.array(test, { error: expectedCollection("a list of tests") }).min(1, "expected at least one test"),
});

/** What a file of policy tests says. */
export type PolicyTests = z.output<typeof policyTestsSchema>;
/** One test. */
export type PolicyTest = PolicyTests["tests"][number];
/** What must become of a request. */
export type Expectation = PolicyTest["expect"];
/** A user that stands for what an authenticator would find. */
export type TestUser = PolicyTests["users"][string];

/** A file of policy tests that has been read. */
export interface PolicyTestFile extends Pick<SourceDocument, "positionOf"> {
  /** As the user named it. */
  readonly file: string;
  readonly tests: PolicyTests;
}

/**
 * Reads the text of a `*.policy-test.yaml`.
 *
 * @throws {ConfigError} ERR_CONFIG with every problem in it that can be seen without the configuration
 */
export function readPolicyTests(source: string, file: string, env: Environment): PolicyTestFile {
  const document = readDocument(source, { file, env });
  const checked = policyTestsSchema.safeParse(document.value ?? {}, { reportInput: true });
  const problems = [...document.problems];
  if (document.problems.length === 0 && !checked.success)
    problems.push(...problemsOf(checked.error.issues, document, file));
  if (!checked.success || problems.length > 0) throw new ConfigError(problems.toSorted(byPlace));
  return { file, tests: checked.data, positionOf: document.positionOf };
}

/** The names in a file of tests that lead nowhere, in it or in the configuration. */
export function unknownNamesIn({ file, tests, positionOf }: PolicyTestFile, config: Config): Problem[] {
  const authenticators = Object.keys(config.authenticators);
  const policies = config.policies.map(({ name }) => name);
  const users = [...Object.keys(tests.users), ANONYMOUS];
  const problems: Problem[] = [];
  const check = (path: KeyPath, name: string | undefined, known: readonly string[], what: string) => {
    if (name === undefined || known.includes(name)) return;
    const meant = nearest(name, known);
    const hint = meant
      ? `did you mean ${meant}?`
      : known.length === 0
        ? "there are none"
        : `there are ${known.join(", ")}`;
    problems.push({
      file,
      position: positionOf(path),
      key: formatKey(path),
      message: `no ${what} has this name; ${hint}`,
    });
  };
  for (const [name, { authenticator }] of Object.entries(tests.users)) {
    if (name === ANONYMOUS)
      problems.push({
        file,
        position: positionOf(["users", name]),
        key: formatKey(["users", name]),
        message: "this name stands for a caller without a credential; choose another",
      });
    check(["users", name, "authenticator"], authenticator, authenticators, "authenticator");
  }
  tests.tests.forEach((one, index) => {
    check(["tests", index, "request", "user"], one.request.user, users, "user");
    check(["tests", index, "expect", "policy"], one.expect.policy, policies, "policy");
  });
  return problems;
}

/** The JSON Schema (draft 2020-12) of `*.policy-test.yaml`, for editors. */
export function policyTestsJsonSchema(): Record<string, unknown> {
  return {
    title: "policy-test.yaml",
    description: "Requests, and what the Countersign sidecar must make of them.",
    ...z.toJSONSchema(policyTestsSchema, { io: "input", target: "draft-2020-12" }),
  };
}
