import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { policyTestsJsonSchema } from "../../src/config/policy-test-file.ts";
import { runCommand, temporaryFolder } from "../support/command-line.ts";
import { runHere } from "./in-process.ts";

const SECRET = "a-secret-of-acme";
const SHA256 = createHash("sha256").update(SECRET).digest("hex");

const CONFIGURATION = `
upstream: http://127.0.0.1:9000
issuer: {keys: {env: NO_SUCH_KEY}}
authenticators:
  edge: {type: trustedHeader, header: X-Forwarded-User, from: [10.0.0.0/8]}
  partners: {type: apiKey, header: X-Api-Key, keys: [{subject: acme, sha256: ${SHA256}}]}
  vault: {type: apiKey, query: key, keysFile: ./no-such-file.yaml}
authenticate: [edge, partners]
token: {audience: https://orders.internal}
policies:
  - name: orders
    match: {path: "/orders/:id", hosts: [api.example.com]}
    require: {scopes: [orders.read]}
    token: {additionalClaims: {order: $param(id), tenant: $user(tenant), env: "$env(DEPLOY_ENV, unset)"}}
    upstream: http://127.0.0.1:9001
  - name: vault
    match: {path: /vault}
    authenticate: [vault, anonymous]
    token: none
  - name: rest
`;

const TESTS = `
config: sidecar.yaml
env: {DEPLOY_ENV: test}
users:
  alice: {authenticator: edge, sub: alice, claims: {tenant: acme, scope: orders.read}}
  guest: {authenticator: edge, sub: guest}
  safe: {authenticator: vault, sub: safe}
tests:
  - name: alice reads an order
    request: {url: https://api.example.com/orders/42, headers: {X-Region: [eu, us], X-Api-Key: anything}, user: alice}
    expect:
      policy: orders
      status: forwarded
      claims: {sub: alice, order: "42", tenant: acme, env: test}
      absentClaims: [scope]
      fields: {X-Region: [eu, us]}
      absentFields: [x-forwarded-user]
      upstream: http://127.0.0.1:9001
  - name: a guest does not
    request: {method: GET, url: https://api.example.com/orders/42, user: guest}
    expect: {status: 403, code: ERR_REQUIREMENT_NOT_MET}
  - name: whoever the policy does not ask about is nobody
    request: {url: https://api.example.com/orders/42, user: safe}
    expect: {policy: orders, status: 401}
  - name: nobody needs a credential elsewhere
    request: {url: /, user: anonymous}
    expect: {policy: rest, status: 401, code: ERR_CREDENTIAL_MISSING}
  - name: the vault is open, and its keys need not be there
    request: {url: /vault, user: safe, from: 10.0.0.7}
    expect: {status: forwarded, absentClaims: [sub]}
  - name: the issuer answers itself
    request: {url: /__issuer/.well-known/jwks.json, user: anonymous}
    expect: {status: issuer}
`;

/** Runs `countersign test` in a folder with these files. */
async function runTests(files: Record<string, string>, ...arguments_: string[]) {
  using folder = temporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder.path, name)), { recursive: true });
    writeFileSync(join(folder.path, name), content);
  }
  return await runHere(["test", ...arguments_], { cwd: folder.path });
}

const one = (request: string, expectation: string, users = "") =>
  `${users}tests:\n  - name: it\n    request: ${request}\n    expect: ${expectation}\n`;

const SIMPLE = "upstream: http://127.0.0.1:9000\n";

describe("tests that pass", () => {
  test("are a line each, need no key and no file of credentials, and send nothing", async () => {
    expect(await runTests({ "sidecar.yaml": CONFIGURATION, "orders.policy-test.yaml": TESTS })).toEqual({
      code: 0,
      stdout: `\
orders.policy-test.yaml
  ok    alice reads an order
  ok    a guest does not
  ok    whoever the policy does not ask about is nobody
  ok    nobody needs a credential elsewhere
  ok    the vault is open, and its keys need not be there
  ok    the issuer answers itself

6 passed
`,
      stderr: "",
    });
  });

  test("leave nothing behind", async () => {
    using folder = temporaryFolder();
    writeFileSync(join(folder.path, "sidecar.yaml"), SIMPLE);
    writeFileSync(join(folder.path, "a.policy-test.yaml"), one("{url: /}", "{status: forwarded}"));
    expect(await runCommand(["test"], { cwd: folder.path })).toMatchObject({ code: 0, stderr: "" });
    expect(readdirSync(folder.path).sort()).toEqual(["a.policy-test.yaml", "sidecar.yaml"]);
  });

  test("without a named user the fields say who it is", async () => {
    const yaml = `${SIMPLE}authenticators: {partners: {type: apiKey, header: X-Api-Key, keys: [{subject: acme, sha256: ${SHA256}}]}}\nauthenticate: [partners]\n`;
    const tests = one(
      `{url: /, headers: {X-Api-Key: ${SECRET}}}`,
      "{claims: {sub: acme}, absentFields: [x-api-key]}",
    );
    const { code } = await runTests({ "sidecar.yaml": yaml, "a.policy-test.yaml": tests });
    expect(code).toBe(0);
  });
});

describe("tests that fail", () => {
  test("show what is expected, what is not, and the line", async () => {
    const tests = one(
      "{url: /, headers: {X-A: a}}",
      "{policy: default, status: 403, claims: {sub: bob, roles: [a]}, absentClaims: [aud], fields: {X-A: b}, absentFields: [x-a], upstream: http://b}",
    );
    expect(await runTests({ "sidecar.yaml": SIMPLE, "a.policy-test.yaml": tests })).toEqual({
      code: 1,
      stdout: `\
a.policy-test.yaml
  FAIL  it
        a.policy-test.yaml:4:39 tests[0].expect.status
          expected  403
          actual    forwarded
        a.policy-test.yaml:4:58 tests[0].expect.claims.sub
          expected  bob
          actual    api-gateway
        a.policy-test.yaml:4:70 tests[0].expect.claims.roles
          expected  ["a"]
          actual    none
        a.policy-test.yaml:4:91 tests[0].expect.absentClaims[0]
          expected  no aud
          actual    http://127.0.0.1:8080/
        a.policy-test.yaml:4:111 tests[0].expect.fields.X-A
          expected  b
          actual    a
        a.policy-test.yaml:4:130 tests[0].expect.absentFields[0]
          expected  no x-a
          actual    there is one
        a.policy-test.yaml:4:146 tests[0].expect.upstream
          expected  http://b
          actual    http://127.0.0.1:9000

0 passed, 1 failed
`,
      stderr: "",
    });
  });

  test("a refused request does not pass for one whose fields are absent", async () => {
    const tests = one("{url: /a%2fb}", "{absentFields: [x-a]}");
    const { code, stdout } = await runTests({ "sidecar.yaml": SIMPLE, "a.policy-test.yaml": tests });
    expect(code).toBe(1);
    expect(stdout).toContain(`\
        a.policy-test.yaml:4:28 tests[0].expect.absentFields
          expected  a request that is forwarded
          actual    400 ERR_TARGET_AMBIGUOUS (the path holds an encoded slash, which two readers may understand differently)
`);
  });

  test("are told to a program with --json", async () => {
    const tests = one("{url: /}", "{status: 404}");
    const { code, stdout } = await runTests(
      { "sidecar.yaml": SIMPLE, "a.policy-test.yaml": tests },
      "--json",
    );
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      ok: false,
      passed: 0,
      failed: 1,
      files: [
        {
          file: "a.policy-test.yaml",
          tests: [
            {
              name: "it",
              position: { line: 2, column: 11 },
              ok: false,
              failures: [
                {
                  key: "tests[0].expect.status",
                  position: { line: 4, column: 22 },
                  expected: "404",
                  actual: "forwarded",
                },
              ],
            },
          ],
        },
      ],
    });
  });
});

describe("which files", () => {
  const PASSES = one("{url: /}", "{status: forwarded}");

  test("all in the folder of the configuration, and none below it", async () => {
    const files = {
      "conf/sidecar.yaml": SIMPLE,
      "conf/b.policy-test.yaml": PASSES,
      "conf/a.policy-test.yaml": PASSES,
      "conf/below/c.policy-test.yaml": "nonsense",
    };
    const { code, stdout } = await runTests(files, "-c", "conf/sidecar.yaml");
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: "conf/a.policy-test.yaml\n  ok    it\nconf/b.policy-test.yaml\n  ok    it\n\n2 passed\n",
    });
  });

  test("or those that are named, each with the configuration that it names", async () => {
    const files = { "conf/sidecar.yaml": SIMPLE, "tests/a.yaml": `config: ../conf/sidecar.yaml\n${PASSES}` };
    expect(await runTests(files, "tests/a.yaml")).toMatchObject({ code: 0, stderr: "" });
    expect(await runTests(files, "tests/a.yaml", "-c", "none.yaml")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("none.yaml: this file does not exist"),
    });
  });

  test("none is wrong usage", async () => {
    expect(await runTests({ "sidecar.yaml": SIMPLE })).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringContaining("countersign: there is no file *.policy-test.yaml in .; name one"),
    });
  });

  test("one that does not exist is a problem", async () => {
    expect(await runTests({ "sidecar.yaml": SIMPLE }, "a.yaml")).toEqual({
      code: 1,
      stdout: "",
      stderr: "a.yaml: this file does not exist\n",
    });
  });
});

describe("a file of tests with problems has each of them told with its place", () => {
  test.each([
    [
      "tets: []\n",
      [
        "1:1 tests: is missing; expected a list of tests",
        "1:1 tets: unknown key `tets`; did you mean `tests`?",
      ],
    ],
    [
      one("{url: /, header: {}}", "{status: 999, code: ERR_DENIE}"),
      [
        "3:23 tests[0].request.header: unknown key `header`; did you mean `headers`?",
        "4:22 tests[0].expect.status: expected forwarded, issuer, or the status of a refusal such as 403",
        "4:33 tests[0].expect.code: expected the code of a refusal, such as ERR_CREDENTIAL_MISSING; did you mean ERR_DENIED?",
      ],
    ],
    [
      one("{method: get, url: /, headers: {X-A: 5, X B: a}, from: here}", "{}"),
      [
        "3:23 tests[0].request.method: expected a method such as GET; methods are case-sensitive: did you mean GET?",
        "3:51 tests[0].request.headers.X-A: expected a text, or a list of texts for a field of several lines; quote a number",
        '3:59 tests[0].request.headers["X B"]: expected a field name such as "X-Region"',
        '3:69 tests[0].request.from: expected an IP address such as "10.0.0.7", or unix',
        "4:13 tests[0].expect: expected something, such as status: forwarded",
      ],
    ],
    [
      one(
        "{url: /, user: alic}",
        "{policy: defualt}",
        "users: {alice: {authenticator: edges, sub: a}, anonymous: {authenticator: edge, sub: a}}\n",
      ),
      [
        "1:32 users.alice.authenticator: no authenticator has this name; did you mean edge?",
        "1:59 users.anonymous: this name stands for a caller without a credential; choose another",
        "4:29 tests[0].request.user: no user has this name; did you mean alice?",
        "5:22 tests[0].expect.policy: no policy has this name; did you mean default?",
      ],
    ],
  ])("%#", async (tests, problems) => {
    const yaml = `${SIMPLE}authenticators: {edge: {type: trustedHeader, header: X-User, from: [10.0.0.0/8]}}\nauthenticate: [edge]\n`;
    expect(await runTests({ "sidecar.yaml": yaml, "a.policy-test.yaml": tests })).toEqual({
      code: 1,
      stdout: "",
      stderr: `${problems.map((problem) => `a.policy-test.yaml:${problem}`).join("\n")}\n`,
    });
  });

  test("those of the configuration are told once, beside", async () => {
    const tests = one("{url: /}", "{status: forwarded}");
    const files = {
      "sidecar.yaml": "upstream: 5\n",
      "a.policy-test.yaml": tests,
      "b.policy-test.yaml": tests,
    };
    const { code, stderr } = await runTests(files);
    expect(code).toBe(1);
    expect(stderr.match(/^sidecar\.yaml:1:11 upstream/gm)).toHaveLength(1);
  });
});

test("schema --policy-tests prints the JSON Schema of such a file", async () => {
  const { code, stdout } = await runHere(["schema", "--policy-tests"], { cwd: "." });
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual(policyTestsJsonSchema());
});
