import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import { afterAll, describe, expect, test } from "vitest";
import { runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";

const HINT = "(--help shows how it is used)\n";
const CONFIGURATION = `
listen: 127.0.0.1:0
upstream: http://127.0.0.1:9
issuer: {url: "https://id.example.com/__issuer"}
token: {subject: gateway, additionalClaims: {env: test}}
policies:
  - {name: health, match: {path: /healthz}, token: none}
  - name: orders
    match: {path: "/orders/*rest"}
    token: {audience: https://orders.internal, expiresIn: 1m, notBefore: true, tokenId: true, additionalClaims: {role: reader}}
  - {name: everything-else}
`;

/** One folder for the whole file: its key is made by the first run. */
const folder = temporaryFolder();
writeFileSync(join(folder.path, "sidecar.yaml"), CONFIGURATION);
afterAll(() => folder[Symbol.dispose]());

const mint = (...arguments_: string[]) => runCommand(["mint", ...arguments_], { cwd: folder.path });

/** The claims of the token that `mint` prints. */
async function mintedClaims(...arguments_: string[]) {
  const { code, stdout, stderr } = await mint(...arguments_);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  return decodeJwt(stdout.trim());
}

test("a minted token verifies with the keys that a running sidecar publishes", async () => {
  await using sidecar = await startCommand(["serve"], { cwd: folder.path });
  const { stdout } = await mint("--audience", "me");
  const keys = createRemoteJWKSet(new URL(`${sidecar.url}/__issuer/.well-known/jwks.json`));
  const { payload } = await jwtVerify(stdout.trim(), keys, {
    issuer: "https://id.example.com/__issuer",
    audience: "me",
    algorithms: ["EdDSA"],
  });
  expect(payload.sub).toBe("gateway");
});

describe("the token", () => {
  const ISS = "https://id.example.com/__issuer";

  test("has without options what the top of the file says, the issuer's lifetime and no audience", async () => {
    const claims = await mintedClaims();
    const { iat = 0 } = claims;
    expect(claims).toEqual({ iss: ISS, sub: "gateway", iat, exp: iat + 3600, env: "test" });
  });

  test("has without --policy every setting at the top of the file but its lifetime", async () => {
    writeFileSync(
      join(folder.path, "top.yaml"),
      `upstream: http://127.0.0.1:9
token: {subject: me, audience: [a, b], expiresIn: 1m, notBefore: true, tokenId: true, additionalClaims: {role: admin}}
`,
    );
    const claims = await mintedClaims("-c", "top.yaml", "--claim", "n=1");
    const { iat = 0, jti, iss } = claims;
    expect(jti).toEqual(expect.any(String));
    expect(claims).toEqual({
      ...{ iss, sub: "me", aud: ["a", "b"], iat, exp: iat + 3600, nbf: iat, jti },
      ...{ role: "admin", n: 1 },
    });
  });

  test("has with --policy what this policy would send", async () => {
    const claims = await mintedClaims("--policy", "orders");
    const { iat = 0, jti } = claims;
    expect(claims).toEqual({
      iss: ISS,
      sub: "gateway",
      aud: "https://orders.internal",
      iat,
      exp: iat + 60,
      nbf: iat,
      jti,
      env: "test",
      role: "reader",
    });
  });

  test("has what the other options say, over the policy", async () => {
    const claims = await mintedClaims(
      ...["--policy", "orders", "--subject", "me", "--expires-in", "2h"],
      ...["--audience", "a", "b", "--claim", "role=admin", "n=1.5", "yes=true", 'list=["a",{"b":null}]'],
      ...["text=hello world", 'quoted="5"', "empty=", "equation=a=b", "iss=other"],
    );
    const { iat = 0, nbf, jti, ...others } = claims;
    expect(others).toEqual({
      iss: "other",
      sub: "me",
      aud: ["a", "b"],
      exp: iat + 7200,
      env: "test",
      role: "admin",
      n: 1.5,
      yes: true,
      list: ["a", { b: null }],
      text: "hello world",
      quoted: "5",
      empty: "",
      equation: "a=b",
    });
  });

  test.each([
    ["300", 300],
    ["5 minutes", 300],
    ["1.5h", 5400],
  ])("lives for --expires-in %s", async (duration, seconds) => {
    const { iat = 0, exp } = await mintedClaims("--expires-in", duration);
    expect(exp).toBe(iat + seconds);
  });

  test("takes --audience for a policy whose audience is the URL of the request", async () => {
    expect(await mintedClaims("--policy", "everything-else", "--audience", "me")).toMatchObject({
      aud: "me",
    });
  });

  test("is printed with its header and claims with --json", async () => {
    const { stdout } = await mint("--json", "--audience", "me");
    const { token, header, claims } = JSON.parse(stdout);
    expect(header).toEqual({ alg: "EdDSA", kid: expect.any(String), typ: "JWT" });
    expect(header).toEqual(decodeProtectedHeader(token));
    expect(claims).toEqual(decodeJwt(token));
  });
});

describe("wrong usage exits with 2 and says why", () => {
  const DURATION = 'expected a duration such as "5m" or a number of seconds';
  const ROUNDED = "holds a number that is too large to be kept exactly; quote it to make it a string";

  test.each([
    [["--policy", "ordes"], "--policy: no policy is named ordes; did you mean orders?"],
    [
      ["--policy", "wallpaper"],
      "--policy: no policy is named wallpaper; there are health, orders, everything-else",
    ],
    [["--policy", "health"], "--policy: health sends no token"],
    [
      ["--policy", "everything-else"],
      "--policy: the audience of everything-else is the URL of each request; name one with --audience",
    ],
    [["--subject", ""], "--subject: expected a string that is not empty"],
    [["--audience", ""], "--audience: expected a string that is not empty"],
    [["--expires-in", "soon"], `--expires-in: ${DURATION}`],
    [["--expires-in", "99999999999999999999"], `--expires-in: ${DURATION}`],
    [["--claim", "role"], "--claim: expected name=value"],
    [["--claim", "sub=me"], "--claim: sub cannot be set like this; use --subject"],
    [["--claim", "aud=me"], "--claim: aud cannot be set like this; use --audience"],
    [["--claim", "exp=1"], "--claim: exp cannot be set like this; use --expires-in"],
    [["--claim", "iat=1"], "--claim: iat cannot be set like this; it is the time of signing"],
    [["--claim", "nbf=1"], "--claim: nbf cannot be set like this; set token.notBefore in the configuration"],
    [["--claim", "jti=1"], "--claim: jti cannot be set like this; set token.tokenId in the configuration"],
    [["--claim", "__proto__=1"], "--claim: __proto__ cannot be the name of a claim"],
    [["--claim", "n=9007199254740993"], `--claim: n ${ROUNDED}: n='"…"'`],
    [["--claim", 'n={"a":[1e999]}'], `--claim: n ${ROUNDED}: n='"…"'`],
  ])("%j", async (arguments_, message) => {
    expect(await mint(...arguments_)).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: ${message}\n${HINT}`,
    });
  });

  test("without a configuration", async () => {
    using empty = temporaryFolder();
    expect(await runCommand(["mint"], { cwd: empty.path })).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: there is no ./sidecar.yaml here: name the configuration with -c FILE\n${HINT}`,
    });
  });
});

describe("a configuration that cannot be minted with exits with 1", () => {
  test.each([
    [
      "issuer: {url: http://a/__issuer, keys: {ephemeral: true}}",
      "countersign: issuer.keys.ephemeral: the key is in the memory of the running sidecar alone; use a directory or env to mint",
    ],
    [
      "listen: 127.0.0.1:0",
      "other.yaml:2:9 listen: the issuer's URL is not known before the sidecar runs; set issuer.url, or a port other than 0",
    ],
  ])("{%s}", async (line, message) => {
    writeFileSync(join(folder.path, "other.yaml"), `upstream: http://127.0.0.1:9\n${line}\n`);
    const { code, stdout, stderr } = await mint("-c", "other.yaml");
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr.replace(/^warning: .*\n/, "")).toBe(`${message}\n`);
  });
});

test("a key that is not there exits with 1", async () => {
  writeFileSync(
    join(folder.path, "env.yaml"),
    "upstream: http://127.0.0.1:9\nissuer: {keys: {env: COUNTERSIGN_TEST_NOT_SET}}\n",
  );
  expect(await mint("-c", "env.yaml")).toEqual({
    code: 1,
    stdout: "",
    stderr:
      "countersign: the environment variable COUNTERSIGN_TEST_NOT_SET: not set; expected a private key in PEM or as a JWK\n",
  });
});
