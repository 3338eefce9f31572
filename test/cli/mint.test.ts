import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import { afterAll, describe, expect, test } from "vitest";
import { runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { storedRingIn } from "../support/stored-ring.ts";
import { runHere } from "./in-process.ts";

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

const mint = (...arguments_: string[]) => runHere(["mint", ...arguments_], { cwd: folder.path });

/** The claims of the token that `mint` prints. */
async function mintedClaims(...arguments_: string[]) {
  const { code, stdout, stderr } = await mint(...arguments_);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  return decodeJwt(stdout.trim());
}

test("a minted token verifies with the keys that a running sidecar publishes", async () => {
  await using sidecar = await startCommand(["serve"], { cwd: folder.path });
  const { code, stdout, stderr } = await runCommand(["mint", "--audience", "me"], { cwd: folder.path });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
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

  test("has no act where the policy takes it from a caller, and a note says how to give one", async () => {
    using here = temporaryFolder();
    writeFileSync(
      join(here.path, "sidecar.yaml"),
      "upstream: http://127.0.0.1:9\npolicies: [{name: chained, token: {audience: orders, actor: $user(iss)}}]\n",
    );
    const without = await runHere(["mint", "--policy", "chained"], { cwd: here.path });
    const given = ["--claim", 'act={"sub":"edge"}'];
    const withAct = await runHere(["mint", "--policy", "chained", ...given], { cwd: here.path });

    expect(decodeJwt(without.stdout.trim())).not.toHaveProperty("act");
    expect(without.stderr).toBe(
      "note: the claim act is $user(iss), which only a request has; give it with --claim\n",
    );
    expect(decodeJwt(withAct.stdout.trim()).act).toEqual({ sub: "edge" });
    expect(withAct.stderr).toBe("");
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

/** The newest ring of a directory, as it is stored. */
function ringIn(directory: string): { alg: unknown; purpose: unknown; longest: unknown }[] {
  const { keys } = storedRingIn(directory);
  return keys.map((key: Record<string, unknown>) => ({
    alg: key.algorithm,
    purpose: key.purpose,
    longest: key.longestLifetimeSeconds,
  }));
}

describe("the options of one token", () => {
  test("--not-before and --token-id add their claims", async () => {
    const { iat = 0, ...claims } = await mintedClaims("--not-before", "--token-id");
    expect(claims).toMatchObject({ nbf: iat, jti: expect.stringMatching(/^[0-9a-f-]{36}$/) });
    expect((await mintedClaims("--token-id")).jti).not.toBe(claims.jti);
  });

  test("--algorithm signs with another key that the configuration has", async () => {
    using own = temporaryFolder();
    writeFileSync(
      join(own.path, "sidecar.yaml"),
      "upstream: http://127.0.0.1:9\npolicies: [{name: a, token: {algorithm: ES256}}, {name: b}]\n",
    );
    const algorithmOf = async (...arguments_: string[]) => {
      const { stdout } = await runHere(["mint", "--audience", "me", ...arguments_], { cwd: own.path });
      return decodeProtectedHeader(stdout.trim()).alg;
    };
    expect(await algorithmOf()).toBe("EdDSA");
    expect(await algorithmOf("--algorithm", "ES256")).toBe("ES256");
    expect(await algorithmOf("--policy", "a")).toBe("ES256");
    expect(await algorithmOf("--policy", "a", "--algorithm", "EdDSA")).toBe("EdDSA");
  });

  test("--algorithm without such a key exits with 1", async () => {
    expect(await mint("--algorithm", "PS512")).toEqual({
      code: 1,
      stdout: "",
      stderr: "countersign: the issuer: there is no key that signs with PS512\n",
    });
  });

  test("--expires-in longer than configured: the key is kept for as long as the token lives", async () => {
    using own = temporaryFolder();
    const keys = join(own.path, "keys");
    writeFileSync(join(own.path, "sidecar.yaml"), "upstream: http://127.0.0.1:9\ntoken: {expiresIn: 2h}\n");
    const mintFor = (lifetime: string) => runHere(["mint", "--expires-in", lifetime], { cwd: own.path });
    await mintFor("1m");
    expect(ringIn(keys)).toEqual([{ alg: "EdDSA", purpose: "token", longest: 7200 }]);
    await mintFor("30d");
    expect(ringIn(keys)).toEqual([{ alg: "EdDSA", purpose: "token", longest: 2_592_000 }]);
    // It never becomes shorter: such a token may be out there.
    await mintFor("1m");
    expect(ringIn(keys)).toEqual([{ alg: "EdDSA", purpose: "token", longest: 2_592_000 }]);
  });
});

describe("--identity", () => {
  const own = temporaryFolder();
  afterAll(() => own[Symbol.dispose]());
  const identity = "{account: a, deployment: d, algorithm: ES256, audiences: [orders, billing]}";
  const config = `upstream: http://127.0.0.1:9
listen: 127.0.0.1:1
admin: false
identity: ${identity}
`;
  writeFileSync(join(own.path, "sidecar.yaml"), config);
  const mintIdentity = (...arguments_: string[]) =>
    runHere(["mint", "--identity", ...arguments_], { cwd: own.path });

  test("is an ID token of this deployment, under its own key", async () => {
    const { code, stdout, stderr } = await mintIdentity("--audience", "orders", "--json");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const { header, claims } = JSON.parse(stdout);
    expect(header.alg).toBe("ES256");
    const { iat } = claims;
    expect(claims).toEqual({
      ...{ iss: "http://127.0.0.1:1/__issuer", sub: "a/d", aud: "orders", iat, exp: iat + 36_000 },
      ...{ account: "a", deployment: "d" },
    });
    expect(ringIn(join(own.path, "keys"))).toEqual([
      { alg: "EdDSA", purpose: "token", longest: 3600 },
      { alg: "ES256", purpose: "identity", longest: 36_000 },
    ]);
  });

  test.each([
    [["--audience", "other"], "this audience is not one of identity.audiences"],
    [[], "name an audience: identity.audiences says which there may be"],
    [["--audience", ""], "the audience is empty"],
  ])("is not for an audience that is not allowed: %j", async (arguments_, message) => {
    expect(await mintIdentity(...arguments_)).toEqual({
      code: 1,
      stdout: "",
      stderr: `countersign: ${message}\n`,
    });
  });

  test("is there where the configuration has an identity alone", async () => {
    expect(await mint("--identity")).toEqual({
      code: 1,
      stdout: "",
      stderr: "countersign: no `identity` is configured for this issuer\n",
    });
  });

  test.each([
    [["--audience", "orders", "billing"], "--audience: an ID token has one audience"],
    [["--policy", "a"], "option '--identity' cannot be used with option '--policy <name>'"],
    [["--subject", "a"], "option '--identity' cannot be used with option '--subject <sub>'"],
    [["--expires-in", "1h"], "option '--identity' cannot be used with option '--expires-in <duration>'"],
    [["--claim", "a=b"], "option '--identity' cannot be used with option '--claim <name=value...>'"],
    [["--algorithm", "ES256"], "option '--identity' cannot be used with option '--algorithm <alg>'"],
    [["--not-before"], "option '--identity' cannot be used with option '--not-before'"],
    [["--token-id"], "option '--identity' cannot be used with option '--token-id'"],
  ])("takes no %j", async (arguments_, message) => {
    expect(await mintIdentity(...arguments_)).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: ${message}\n${HINT}`,
    });
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
    [
      ["--algorithm", "HS256"],
      "option '--algorithm <alg>' argument 'HS256' is invalid. Allowed choices are EdDSA, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512.",
    ],
    [["--claim", "role"], "--claim: expected name=value"],
    [["--claim", "sub=me"], "--claim: sub cannot be set like this; use --subject"],
    [["--claim", "aud=me"], "--claim: aud cannot be set like this; use --audience"],
    [["--claim", "exp=1"], "--claim: exp cannot be set like this; use --expires-in"],
    [["--claim", "iat=1"], "--claim: iat cannot be set like this; it is the time of signing"],
    [["--claim", "nbf=1"], "--claim: nbf cannot be set like this; use --not-before"],
    [["--claim", "jti=1"], "--claim: jti cannot be set like this; use --token-id"],
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
    expect(await runHere(["mint"], { cwd: empty.path })).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: there is no ./sidecar.yaml here: name the configuration with -c FILE; countersign init writes a first one\n${HINT}`,
    });
  });
});

describe("a configuration that cannot be minted with exits with 1", () => {
  test.each([
    [
      "issuer: {url: http://a/__issuer, keys: {ephemeral: true}}",
      "countersign: issuer.keys.ephemeral: the key is in the memory of the running sidecar alone; to mint, use keys that are kept somewhere",
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
