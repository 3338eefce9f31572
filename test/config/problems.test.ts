import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { formatProblem } from "../../src/config/problems.ts";
import { ConfigError, loadConfig, parseConfig } from "../../src/index.ts";
import { temporaryFolder } from "../support/command-line.ts";

const TOP_KEYS =
  "listen, admin, upstream, publicUrl, trustedProxies, allowInPath, limits, timeouts, workers, issuer, identity, tokenEndpoint, log, authenticators, authenticate, token, policies";
const TOKEN_KEYS =
  "subject, audience, actor, expiresIn, headerName, tokenPrefix, additionalClaims, notBefore, tokenId, reuse, algorithm";
const KEYS_KEYS = "directory, rotateEvery, overlap, files, env, ephemeral, pkcs11, passphrase, redis";
const ONE_SOURCE = "expected only one of the keys directory, redis, files, env, pkcs11 and ephemeral";
const UPSTREAM = "upstream: http://127.0.0.1:9000\n";
const FILE = "sidecar.yaml";

/** Everything that is said of a configuration which cannot be used. */
function refusalOf(text: string, env: Record<string, string> = {}): string {
  try {
    parseConfig(text, { file: FILE, env });
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  throw new Error("no problem was found");
}

/** The warnings of a configuration that can be used, a line each. */
function warningsOf(text: string): string[] {
  return parseConfig(text, { file: FILE, env: {} }).warnings.map(formatProblem);
}

describe("a file that cannot be read", () => {
  test("a missing file is named, with the ways to name another", async () => {
    using folder = temporaryFolder();
    await expect(loadConfig({ file: `${folder.path}/none.yaml` })).rejects.toMatchObject({
      code: "ERR_CONFIG",
      message: `${folder.path}/none.yaml: this file does not exist; name the configuration with -c FILE or in $COUNTERSIGN_CONFIG`,
    });
  });

  test("a directory is said to be one", async () => {
    using folder = temporaryFolder();
    await expect(loadConfig({ file: folder.path })).rejects.toMatchObject({
      code: "ERR_CONFIG",
      message: `${folder.path}: this is a directory; name the configuration with -c FILE or in $COUNTERSIGN_CONFIG`,
    });
  });
});

describe("a text that is not YAML", () => {
  test.each([
    [
      "a list that does not end",
      "listen: [127.0.0.1:80\n",
      "2:1 not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
    ],
    [
      "two keys on a line",
      `${UPSTREAM}a: b: c\n`,
      "2:4 not valid YAML: Nested mappings are not allowed in compact mappings",
    ],
    ["a tab as indentation", "issuer:\n\tbasePath: /x\n", "2:1 a tab cannot indent YAML; use spaces"],
    ["a duplicate key", UPSTREAM + UPSTREAM, "2:1 this key stands here twice; keep one"],
    [
      "a duplicate key further in",
      `${UPSTREAM}token:\n  subject: a\n  subject: b\n`,
      "4:3 this key stands here twice; keep one",
    ],
    [
      "a second document",
      `${UPSTREAM}---\n${UPSTREAM}`,
      "2:1 a second document begins here, and only one is read; remove it",
    ],
    [
      "a tag of its own",
      `${UPSTREAM}token: {subject: !me x}\n`,
      "2:18 this tag is not known here; remove it",
    ],
    [
      "a set, which is no map",
      `${UPSTREAM}token: !!set {subject}\n`,
      "2:8 this tag is not known here; remove it",
    ],
    ["bytes", `${UPSTREAM}token: {subject: !!binary aGk=}\n`, "2:18 this tag is not known here; remove it"],
    [
      "a map as a key",
      `${UPSTREAM}? {a: 1}\n: b\n`,
      "2:3 a key must be a word, not a map, a list or an alias",
    ],
    ["a list as a key", `${UPSTREAM}[a]: b\n`, "2:1 a key must be a word, not a map, a list or an alias"],
    [
      "an alias of nothing",
      `${UPSTREAM}token: *t\n`,
      "2:8 token: an alias (*) that repeats nothing: no value above it has this anchor (&); a text that begins with * needs quotes",
    ],
    [
      "an alias inside its own value",
      `${UPSTREAM}token: &t\n  additionalClaims: {a: [*t]}\n`,
      "3:26 token.additionalClaims.a[0]: the alias *t stands inside the value that it repeats",
    ],
  ])("%s is refused with its place", (_what, text, message) => {
    expect(refusalOf(text)).toBe(`${FILE}:${message}`);
  });

  test("aliases that multiply are refused before they fill the memory", () => {
    const levels = Array.from(
      { length: 20 },
      (_, level) => `    a${level + 1}: &a${level + 1} [${`*a${level},`.repeat(9)}]\n`,
    );
    const bomb = `${UPSTREAM}token:\n  additionalClaims:\n    a0: &a0 x\n${levels.join("")}`;
    expect(refusalOf(bomb)).toBe(
      `${FILE}:1:1 the aliases in this file repeat too much; write the values out`,
    );
  });

  test("an anchor may be repeated in many policies", () => {
    const policies = Array.from(
      { length: 150 },
      (_, index) => `  - {name: p${index}, match: {path: /${index}}, token: *t}\n`,
    );
    const text = `${UPSTREAM}token: &t {audience: a}\npolicies:\n${policies.join("")}`;
    expect(parseConfig(text, { file: FILE }).config.policies).toHaveLength(150);
  });

  test.each(["[", "{a: ", "- "])("ten thousand times %j is nested too deeply", (opening) => {
    expect(refusalOf(opening.repeat(10_000))).toMatch(/^sidecar\.yaml:1:\d+ nested too deeply$/);
  });
});

describe("the shape of the file", () => {
  test("three problems are reported at once, in the order of their lines", () => {
    const text = `token:
  expiresIn: soon
issuer: {algorithm: RSA}
upstream: 5
`;
    expect(refusalOf(text)).toBe(`\
sidecar.yaml:2:14 token.expiresIn: expected a duration such as "5m" or a number of seconds
sidecar.yaml:3:21 issuer.algorithm: expected one of EdDSA, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512
sidecar.yaml:4:11 upstream: expected a URL such as "http://127.0.0.1:9000", or a map with the key url`);
  });

  test("two problems on one line are reported in the order of their columns", () => {
    expect(refusalOf(`${UPSTREAM}token: {audiance: a, subject: 5, expiresin: 1}\n`)).toBe(`\
sidecar.yaml:2:9 token.audiance: unknown key \`audiance\`; did you mean \`audience\`?
sidecar.yaml:2:31 token.subject: expected a string
sidecar.yaml:2:34 token.expiresin: unknown key \`expiresin\`; did you mean \`expiresIn\`?`);
  });

  test.each([
    ["an empty file", ""],
    ["a file of spaces", "\n\n  \n"],
    ["a file of comments", "# listen: 127.0.0.1:8080\n"],
    ["a file that says null", "null\n"],
  ])("%s lacks its upstream", (_what, text) => {
    expect(refusalOf(text)).toBe(
      `${FILE}:1:1 upstream: is missing; expected a URL such as "http://127.0.0.1:9000", or a map with the key url`,
    );
  });

  test.each([
    ["a list", "- upstream\n"],
    ["a string", "upstream\n"],
    ["a number", "5\n"],
  ])("%s is no configuration", (_what, text) => {
    expect(refusalOf(text)).toBe(`${FILE}:1:1 expected a map with the keys ${TOP_KEYS}`);
  });

  test.each([
    ["audiance", "audience"],
    ["Audience", "audience"],
    ["expires_in", "expiresIn"],
    ["tokenprefix", "tokenPrefix"],
    ["headername", "headerName"],
    ["aditional_claims", "additionalClaims"],
  ])("the unknown key %s is refused with the key that was probably meant", (key, meant) => {
    expect(refusalOf(`${UPSTREAM}token:\n  ${key}: x\n`)).toBe(
      `${FILE}:3:3 token.${key}: unknown key \`${key}\`; did you mean \`${meant}\`?`,
    );
  });

  test("an unknown key that is near none is refused with the keys that there are", () => {
    expect(refusalOf(`${UPSTREAM}token: {wallpaper: x}\n`)).toBe(
      `${FILE}:2:9 token.wallpaper: unknown key \`wallpaper\`; the keys here are ${TOKEN_KEYS}`,
    );
  });

  test.each([
    ["a number", "5: x", "2:1 unknown key"],
    ["nothing", "? \n: x", "2:3 unknown key"],
    ["controls", '"a\\r\\nb": x', "2:1 unknown key"],
    ["a merge", "<<: {a: 1}", "2:1 unknown key"],
    ["without a value", "wallpaper:", "2:1 unknown key"],
    ["constructor", "constructor: x", "2:1 constructor: unknown key `constructor`"],
  ])("a key that is %s is unknown as any other", (_what, line, message) => {
    expect(refusalOf(`${UPSTREAM}${line}\n`)).toBe(`${FILE}:${message}; the keys here are ${TOP_KEYS}`);
  });

  test.each([
    ["at the top", "__proto__: {listen: x}", "2:1 __proto__"],
    ["in a section", "token: {__proto__: {subject: x}}", "2:9 token.__proto__"],
    [
      "as a claim",
      "token: {additionalClaims: {__proto__: {admin: true}}}",
      "2:28 token.additionalClaims.__proto__",
    ],
    [
      "inside a claim",
      'token: {additionalClaims: {a: [{"__proto__": 1}]}}',
      "2:33 token.additionalClaims.a[0].__proto__",
    ],
  ])("__proto__ is refused %s", (_where, line, place) => {
    expect(refusalOf(`${UPSTREAM}${line}\n`)).toBe(`${FILE}:${place}: \`__proto__\` cannot be a key`);
    expect(Object.prototype).not.toHaveProperty("admin");
  });

  test("names from an object's prototype are claims like others", () => {
    const { config } = parseConfig(`${UPSTREAM}token: {additionalClaims: {constructor: a, toString: b}}\n`, {
      file: FILE,
    });
    expect(config.token.additionalClaims).toEqual({
      kind: "literal",
      value: { constructor: "a", toString: "b" },
    });
  });
});

/** Keys of the design that this version does not have: refused, never ignored. */

const ALGORITHMS = "EdDSA, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512";
const LISTEN =
  'expected an address such as "127.0.0.1:8080", "[::1]:8080", ":8080", "unix:/run/c.sock" or "systemd"';
const DURATION = 'expected a duration such as "5m" or a number of seconds';
const WHOLE_SECONDS = "expected whole seconds, at least 1";
const OR_NEVER = 'expected a duration such as "30d", or "never"';
const ADMIN = 'expected an address such as "127.0.0.1:8081", or false for none';
const WHOSE =
  "expected at least one of the keys subject, account, project and deployment: whose token is it?";
const PATTERN = 'expected a pattern such as "/orders/:id" or "/files/*rest"';
const UNMATCHABLE = "expected a pattern that a request can match";
const EMPTY_SEGMENT = "an empty segment (//) is refused, or taken out where allowInPath lists it";
const PARAMETER =
  "a path parameter (;) is refused, or taken out where allowInPath lists it; an encoded semicolon is %3B";
const DOT_SEGMENT = "a path with a . or .. segment is always refused";
const HOST = 'expected a host name such as "api.example.com" or "*.example.com"';
const BASE_PATH = 'expected a path such as "/__issuer": plain segments, no slash at its end';

/** One wrong value at a time; the place is of the second line, or of the first for the upstream. */
const WRONG_VALUES = [
  ["listen: 8080", '9 listen: expected an address such as "127.0.0.1:8080", or a map with the key address'],
  ["listen: nowhere", `9 listen: ${LISTEN}`],
  ["listen: 127.0.0.1:99999", `9 listen: ${LISTEN}`],
  ["listen: '[::g]:80'", `9 listen: ${LISTEN}`],
  ["listen: {}", `9 listen.address: is missing; ${LISTEN}`],
  ["listen: {address: 5}", `19 listen.address: ${LISTEN}`],
  [
    "upstream: [http://a]",
    '11 upstream: expected a URL such as "http://127.0.0.1:9000", or a map with the key url',
  ],
  ["upstream: nonsense", '11 upstream: expected a URL such as "http://127.0.0.1:9000"'],
  ["upstream: http://", '11 upstream: expected a URL such as "http://127.0.0.1:9000"'],
  [
    "upstream: http://a/b",
    "11 upstream: expected a URL without a path: a request keeps the path that the client sent",
  ],
  ["upstream: http://u:p@a", "11 upstream: expected a URL without a user name or password"],
  ["upstream: http://a:0", "11 upstream: expected a port from 1 to 65535"],
  [
    "upstream: {preserveHost: true}",
    '11 upstream.url: is missing; expected a URL such as "http://127.0.0.1:9000"',
  ],
  ["upstream: {url: http://a, preserveHost: 1}", "41 upstream.preserveHost: expected true or false"],
  [
    "log: {level: warm}",
    "14 log.level: expected one of debug, info, warn, error, silent; did you mean warn?",
  ],
  ["log: {format: text}", "15 log.format: expected one of json, pretty, auto"],
  ["log: {subject: sha256}", "16 log.subject: expected one of plain, hash, none"],
  ["log: {sampleSuccess: 1.5}", "22 log.sampleSuccess: expected a number from 0 for none to 1 for all"],
  ["log: {sampleSuccess: all}", "22 log.sampleSuccess: expected a number from 0 for none to 1 for all"],
  ["upstream: {url: http://a, connections: 0}", "40 upstream.connections: expected at least 1"],
  ["upstream: {url: http://a, connections: 65536}", "40 upstream.connections: expected at most 65535"],
  ["upstream: {url: http://a, connections: 1.5}", "40 upstream.connections: expected a whole number"],
  ["upstream: {url: http://a, connections: many}", "40 upstream.connections: expected a whole number"],
  ["upstream: {url: http://a, timeouts: {connect: 0}}", `47 upstream.timeouts.connect: ${WHOLE_SECONDS}`],
  [
    "upstream: {url: http://a, timeouts: 5}",
    "37 upstream.timeouts: expected a map with the keys connect, headers, body, pending",
  ],
  ["publicUrl: api.example.com", '12 publicUrl: expected a URL such as "https://api.example.com"'],
  ["publicUrl: https://a/", "12 publicUrl: expected a URL without a slash at its end"],
  ["publicUrl: 'https://a?b'", "12 publicUrl: expected a URL without user name, query and fragment"],
  [
    "allowInPath: encodedSlash",
    "14 allowInPath: expected a list of encodedSlash, encodedBackslash, emptySegment, pathParameters",
  ],
  [
    "allowInPath: [encodedslash]",
    "15 allowInPath[0]: expected one of encodedSlash, encodedBackslash, emptySegment, pathParameters; did you mean encodedSlash?",
  ],
  [
    "timeouts: 5",
    "11 timeouts: expected a map with the keys headers, request, send, keepAlive, notReady, drain",
  ],
  ["timeouts: {drain: 30d}", "19 timeouts.drain: expected at most 24 days"],
  ["timeouts: {headers: quick}", `21 timeouts.headers: ${DURATION}`],
  [
    "issuer:",
    "8 issuer: is empty; leave it out, or make it a map with the keys url, basePath, algorithm, expiresIn, jwksMaxAge, keys",
  ],
  ["issuer: {url: a}", '15 issuer.url: expected a URL such as "https://api.example.com"'],
  ["issuer: {url: http://a/}", "15 issuer.url: expected a URL without a slash at its end"],
  ["issuer: {url: http://u:p@a}", "15 issuer.url: expected a URL without user name, query and fragment"],
  ["issuer: {basePath: issuer}", `20 issuer.basePath: ${BASE_PATH}`],
  ["issuer: {basePath: /a/}", `20 issuer.basePath: ${BASE_PATH}`],
  ["issuer: {basePath: /a/../b}", `20 issuer.basePath: ${BASE_PATH}`],
  ["issuer: {basePath: /a b}", `20 issuer.basePath: ${BASE_PATH}`],
  [
    "issuer: {basePath: /}",
    "20 issuer.basePath: expected a path below /: everything under it is answered by the issuer and never forwarded",
  ],
  [
    "issuer: {algorithm: HS256}",
    `21 issuer.algorithm: expected one of ${ALGORITHMS}; an HS algorithm signs with a shared secret, which a JWK Set cannot publish`,
  ],
  [
    "issuer: {algorithm: hs256}",
    `21 issuer.algorithm: expected one of ${ALGORITHMS}; an HS algorithm signs with a shared secret, which a JWK Set cannot publish`,
  ],
  [
    "issuer: {algorithm: none}",
    `21 issuer.algorithm: expected one of ${ALGORITHMS}; a token without a signature proves nothing`,
  ],
  ["issuer: {algorithm: eddsa}", `21 issuer.algorithm: expected one of ${ALGORITHMS}; did you mean EdDSA?`],
  ["issuer: {algorithm: 256}", `21 issuer.algorithm: expected one of ${ALGORITHMS}`],
  ["issuer: {expiresIn: 0}", `21 issuer.expiresIn: ${WHOLE_SECONDS}`],
  ["issuer: {jwksMaxAge: [5]}", `22 issuer.jwksMaxAge: ${DURATION}`],
  ["issuer: {keys: ./keys}", `16 issuer.keys: expected a map with the keys ${KEYS_KEYS}`],
  ["issuer: {keys: {directory: a, env: B}}", `16 issuer.keys: ${ONE_SOURCE}`],
  ["issuer: {keys: {directory: a, files: [b]}}", `16 issuer.keys: ${ONE_SOURCE}`],
  ["issuer: {keys: {files: [b], env: C, ephemeral: true}}", `16 issuer.keys: ${ONE_SOURCE}`],
  ["issuer: {keys: {files: a.pem}}", "24 issuer.keys.files: expected a list of files"],
  ["issuer: {keys: {files: []}}", "24 issuer.keys.files: expected at least one file"],
  ["issuer: {keys: {files: [a, '']}}", "28 issuer.keys.files[1]: expected a string that is not empty"],
  ["issuer: {keys: {files: [a, 5]}}", "28 issuer.keys.files[1]: expected a string"],
  ["issuer: {keys: {files: }}", "24 issuer.keys.files: is empty; leave it out, or make it a list of files"],
  ["issuer: {keys: {passphrase: ''}}", "29 issuer.keys.passphrase: expected a string that is not empty"],
  ["issuer: {keys: {passphrase: 5}}", "29 issuer.keys.passphrase: expected a string"],
  ["issuer: {keys: {overlap: a while}}", `26 issuer.keys.overlap: ${DURATION}`],
  ["issuer: {keys: {overlap: never}}", `26 issuer.keys.overlap: ${DURATION}`],
  ["issuer: {keys: {rotateEvery: often}}", `30 issuer.keys.rotateEvery: ${DURATION}`],
  ["issuer: {keys: {rotateEvery: 0}}", `30 issuer.keys.rotateEvery: ${WHOLE_SECONDS}`],
  ["issuer: {keys: {rotateEvery: false}}", `30 issuer.keys.rotateEvery: ${OR_NEVER}`],
  [
    "issuer: {keys: {rotatEvery: 30d}}",
    "17 issuer.keys.rotatEvery: unknown key `rotatEvery`; did you mean `rotateEvery`?",
  ],
  ["issuer: {keys: {directory: ''}}", "28 issuer.keys.directory: expected a string that is not empty"],
  ["issuer: {keys: {directory: 5}}", "28 issuer.keys.directory: expected a string"],
  [
    "issuer: {keys: {env: A-B}}",
    "22 issuer.keys.env: expected the name of an environment variable: letters, digits and underscores",
  ],
  ["issuer: {keys: {env: 5}}", "22 issuer.keys.env: expected the name of an environment variable"],
  ["issuer: {keys: {ephemeral: false}}", "28 issuer.keys.ephemeral: expected true"],
  ["token:", `7 token: is empty; leave it out, or make it a map with the keys ${TOKEN_KEYS}`],
  ["token: none", `8 token: expected a map with the keys ${TOKEN_KEYS}`],
  ["token: {subject: 5}", "18 token.subject: expected a string"],
  ["token: {subject: ''}", "18 token.subject: expected a string that is not empty"],
  ["token: {audience: 5}", "19 token.audience: expected a string or a list of strings"],
  ["token: {audience: []}", "19 token.audience: expected at least one audience"],
  ["token: {audience: [a, 5]}", "23 token.audience[1]: expected a string"],
  ["token: {audience: ['']}", "20 token.audience[0]: expected a string that is not empty"],
  ["token: {expiresIn: 5 ms}", `20 token.expiresIn: ${WHOLE_SECONDS}`],
  ["token: {expiresIn: true}", `20 token.expiresIn: ${DURATION}`],
  ["token: {expiresIn: -5}", `20 token.expiresIn: ${WHOLE_SECONDS}`],
  ["token: {headerName: 5}", '21 token.headerName: expected a field name such as "Authorization"'],
  [
    "token: {headerName: X Token}",
    '21 token.headerName: expected a field name such as "Authorization": letters, digits and hyphens',
  ],
  [
    "token: {headerName: 'X-Token:'}",
    '21 token.headerName: expected a field name such as "Authorization": letters, digits and hyphens',
  ],
  ["token: {tokenPrefix: 5}", '22 token.tokenPrefix: expected a prefix such as "Bearer", or "" for none'],
  [
    'token: {tokenPrefix: "Bearer\\r\\nX-Admin: yes"}',
    "22 token.tokenPrefix: expected visible ASCII characters, without a space at either end",
  ],
  [
    "token: {tokenPrefix: 'Bearer '}",
    "22 token.tokenPrefix: expected visible ASCII characters, without a space at either end",
  ],
  ["token: {additionalClaims: [a]}", "27 token.additionalClaims: expected a map of claims"],
  [
    "token: {additionalClaims: }",
    "27 token.additionalClaims: is empty; leave it out, or make it a map of claims",
  ],
  [
    "token: {additionalClaims: {n: 9007199254740993}}",
    "31 token.additionalClaims.n: this integer is too large to be kept exactly; quote it to make it a string",
  ],
  ["token: {additionalClaims: {n: [.nan]}}", "32 token.additionalClaims.n[0]: expected a finite number"],
  ["token: {additionalClaims: {n: -.inf}}", "31 token.additionalClaims.n: expected a finite number"],
  ["token: {additionalClaims: {n: 1e999}}", "31 token.additionalClaims.n: expected a finite number"],
  ["token: {notBefore: yes}", "20 token.notBefore: expected true or false"],
  ["token: {tokenId: 1}", "18 token.tokenId: expected true or false"],
  ["token: {reuse: 1}", "16 token.reuse: expected true or false"],
  [
    "token: {algorithm: HS256}",
    `20 token.algorithm: expected one of ${ALGORITHMS}; an HS algorithm signs with a shared secret, which a JWK Set cannot publish`,
  ],
  [
    "token: {algorithm: none}",
    `20 token.algorithm: expected one of ${ALGORITHMS}; a token without a signature proves nothing`,
  ],
  ["token: {algorithm: es256}", `20 token.algorithm: expected one of ${ALGORITHMS}; did you mean ES256?`],
  ["policies: [{name: a, token: {reuse: never}}]", "37 policies[0].token.reuse: expected true or false"],
  [
    "policies: [{name: a, token: {algorithm: RSA}}]",
    `41 policies[0].token.algorithm: expected one of ${ALGORITHMS}`,
  ],
  ["admin: true", `8 admin: ${ADMIN}`],
  ["admin: 8081", `8 admin: ${ADMIN}`],
  ["admin: ", `8 admin: ${ADMIN}`],
  ["admin: nowhere", `8 admin: ${LISTEN}`],
  ["admin: {}", `8 admin.address: is missing; ${LISTEN}`],
  ["admin: {address: 5}", `18 admin.address: ${LISTEN}`],
  ["identity: {}", `11 identity: ${WHOSE}`],
  ["identity: {environment_type: production}", `11 identity: ${WHOSE}`],
  [
    "identity:",
    "10 identity: is empty; leave it out, or make it a map with the keys subject, account, project, deployment, environment_type, algorithm, expiresIn, audiences, files",
  ],
  [
    "identity: my-account",
    "11 identity: expected a map with the keys subject, account, project, deployment, environment_type, algorithm, expiresIn, audiences, files",
  ],
  ["identity: {account: ''}", "21 identity.account: expected a string that is not empty"],
  ["identity: {account: 5}", "21 identity.account: expected a string"],
  ["identity: {subject: [a]}", "21 identity.subject: expected a string"],
  ["identity: {account: a, project: ''}", "33 identity.project: expected a string that is not empty"],
  ["identity: {account: a, deployment: 1}", "36 identity.deployment: expected a string"],
  ["identity: {account: a, environment_type: true}", "42 identity.environment_type: expected a string"],
  [
    "identity: {account: a, environmentType: production}",
    "24 identity.environmentType: unknown key `environmentType`; did you mean `environment_type`?",
  ],
  ["identity: {account: a, expiresIn: 0}", `35 identity.expiresIn: ${WHOLE_SECONDS}`],
  [
    "identity: {account: a, algorithm: HS512}",
    `35 identity.algorithm: expected one of ${ALGORITHMS}; an HS algorithm signs with a shared secret, which a JWK Set cannot publish`,
  ],
  ["identity: {account: a, audiences: b}", "35 identity.audiences: expected a list of audiences"],
  [
    "identity: {account: a, audiences: [b, '']}",
    "39 identity.audiences[1]: expected a string that is not empty",
  ],
  [
    "identity: {account: a, audiences: }",
    "35 identity.audiences: is empty; leave it out, or make it a list of audiences",
  ],
  ["policies: {name: a}", "11 policies: expected a list of policies"],
  ["policies:", "10 policies: is empty; leave it out, or make it a list of policies"],
  [
    "policies: [{name: a, match: {methods: }}]",
    "39 policies[0].match.methods: is empty; leave it out, or make it a list of methods",
  ],
  [
    "policies: [null]",
    "12 policies[0]: is empty; leave it out, or make it a map with the keys name, match, authenticate, require, module, token, upstream",
  ],
  [
    "policies: []",
    "11 policies: expected at least one policy; leave the key out for one that matches everything",
  ],
  [
    "policies: [a]",
    "12 policies[0]: expected a map with the keys name, match, authenticate, require, module, token, upstream",
  ],
  ["policies: [{match: {}}]", '12 policies[0].name: is missing; expected a name such as "orders"'],
  [
    "policies: [{name: a b}]",
    "19 policies[0].name: expected a name of at most 64 letters, digits, dots, hyphens and underscores",
  ],
  ["policies: [{name: a}, {name: b}, {name: a}]", "41 policies[2].name: another policy has this name"],
  [
    "policies: [{name: a, match: /x}]",
    "29 policies[0].match: expected a map with the keys path, methods, hosts",
  ],
  [
    "policies: [{name: a, match: {path: 5}}]",
    '36 policies[0].match.path: expected a pattern such as "/orders/:id"',
  ],
  [
    "policies: [{name: a, match: {path: orders}}]",
    '36 policies[0].match.path: expected a pattern that begins with "/", such as "/orders/:id"',
  ],
  [
    "policies: [{name: a, match: {path: '/a?b=c'}}]",
    "36 policies[0].match.path: expected a pattern of the path alone: a query cannot be matched",
  ],
  [
    "policies: [{name: a, match: {path: /a//b}}]",
    `36 policies[0].match.path: ${UNMATCHABLE}: ${EMPTY_SEGMENT}`,
  ],
  [
    "policies: [{name: a, match: {path: //*rest}}]",
    `36 policies[0].match.path: ${UNMATCHABLE}: ${EMPTY_SEGMENT}`,
  ],
  [
    "policies: [{name: a, match: {path: /a;v=1/b}}]",
    `36 policies[0].match.path: ${UNMATCHABLE}: ${PARAMETER}`,
  ],
  [
    "policies: [{name: a, match: {path: /a/./b}}]",
    `36 policies[0].match.path: ${UNMATCHABLE}: ${DOT_SEGMENT}`,
  ],
  [
    "policies: [{name: a, match: {path: '/a{/..}'}}]",
    `36 policies[0].match.path: ${UNMATCHABLE}: ${DOT_SEGMENT}`,
  ],
  [
    "policies: [{name: a, match: {path: /%2E./b}}]",
    `36 policies[0].match.path: ${UNMATCHABLE}: ${DOT_SEGMENT}`,
  ],
  [
    "policies: [{name: a, match: {path: '/a('}}]",
    `36 policies[0].match.path: ${PATTERN}: Unexpected ( at index 2`,
  ],
  [
    "policies: [{name: a, match: {path: '/*'}}]",
    `36 policies[0].match.path: ${PATTERN}: Missing parameter name at index 2`,
  ],
  [
    "policies: [{name: a, match: {path: '/{a'}}]",
    `36 policies[0].match.path: ${PATTERN}: Unexpected end at index 3, expected }`,
  ],
  [
    "policies: [{name: a, match: {path: '/%zz'}}]",
    `36 policies[0].match.path: ${PATTERN}: a % without two hexadecimal digits behind it`,
  ],
  [
    "policies: [{name: a, match: {methods: GET}}]",
    "39 policies[0].match.methods: expected a list of methods",
  ],
  [
    "policies: [{name: a, match: {methods: []}}]",
    "39 policies[0].match.methods: expected at least one method",
  ],
  [
    "policies: [{name: a, match: {methods: [GET, post]}}]",
    "45 policies[0].match.methods[1]: expected a method such as GET; methods are case-sensitive: did you mean POST?",
  ],
  [
    "policies: [{name: a, match: {methods: ['G T']}}]",
    "40 policies[0].match.methods[0]: expected a method such as GET",
  ],
  [
    "policies: [{name: a, match: {hosts: a.example}}]",
    "37 policies[0].match.hosts: expected a list of host names",
  ],
  [
    "policies: [{name: a, match: {hosts: []}}]",
    "37 policies[0].match.hosts: expected at least one host name",
  ],
  [
    "policies: [{name: a, match: {hosts: ['a.example:80']}}]",
    `38 policies[0].match.hosts[0]: ${HOST}; ports are not compared: leave the port out`,
  ],
  ["policies: [{name: a, match: {hosts: [http://a]}}]", `38 policies[0].match.hosts[0]: ${HOST}`],
  ["policies: [{name: a, token: some}]", '29 policies[0].token: expected a map of token settings, or "none"'],
  ["policies: [{name: a, token: }]", '29 policies[0].token: expected a map of token settings, or "none"'],
  ["policies: [{name: a, token: {expiresIn: x}}]", `41 policies[0].token.expiresIn: ${DURATION}`],
] as const;

describe("a wrong value is refused with what is expected", () => {
  test.each(WRONG_VALUES)("%s", (line, message) => {
    const text = line.startsWith("upstream") ? `\n${line}\n` : `${UPSTREAM}${line}\n`;
    expect(refusalOf(text)).toBe(`${FILE}:2:${message}`);
  });

  test.each([
    "Host",
    "content-length",
    "Transfer-Encoding",
    "Connection",
    "Upgrade",
    "Content-Type",
    "X-Forwarded-For",
    "X-Request-Id",
    // The backend would take these for the same, and every spelling is taken out of a request.
    "Content_Length",
    "transfer.encoding",
    "Content-Disposition",
    "Cookie",
    "Accept",
    "Accept-Encoding",
    "User-Agent",
    "Range",
    "If-None-Match",
    "Origin",
    "Referer",
    "Proxy-Authorization",
    "traceparent",
    "tracestate",
    "baggage",
  ])("the token cannot go in the field %s", (name) => {
    expect(refusalOf(`${UPSTREAM}token: {headerName: ${name}}\n`)).toBe(
      `${FILE}:2:21 token.headerName: expected another field name: this one has a meaning that the token would destroy`,
    );
  });

  test.each([
    ["sub", "use the key `subject` of token"],
    ["aud", "use the key `audience` of token"],
    ["exp", "use the key `expiresIn` of token"],
    ["iat", "it is the time of signing"],
    ["nbf", "use the key `notBefore` of token"],
    ["jti", "use the key `tokenId` of token"],
  ])("the claim %s is refused with the key that sets it", (claim, remedy) => {
    const message = `the claim ${claim} cannot be set here; ${remedy}`;
    expect(refusalOf(`${UPSTREAM}token:\n  additionalClaims:\n    ${claim}: 1\n`)).toBe(
      `${FILE}:4:10 token.additionalClaims.${claim}: ${message}`,
    );
    expect(
      refusalOf(`${UPSTREAM}policies:\n  - name: a\n    token: {additionalClaims: {${claim}: 1}}\n`),
    ).toBe(`${FILE}:4:${34 + claim.length} policies[0].token.additionalClaims.${claim}: ${message}`);
  });
});

describe("times of the keys that cannot go together are refused with the reason", () => {
  const TOO_LATE =
    "for that long a verifier may hold a JWK Set without the new key, and would refuse its tokens";
  const overlap = (seconds: number) =>
    `issuer.keys.overlap: expected at least jwksMaxAge (${seconds} s): ${TOO_LATE}`;
  const every = (seconds: number) =>
    `issuer.keys.rotateEvery: expected at least ${seconds} s, which is overlap and a minute: a key cannot be replaced before its successor has been published for that long`;

  test.each([
    ["overlap: 299", "26", overlap(300)],
    ["overlap: 4 minutes", "26", overlap(300)],
    ["overlap: 1h, rotateEvery: 1h", "43", every(3660)],
    ["overlap: 1h, rotateEvery: 3659", "43", every(3660)],
    // By default the overlap is a day and two hours.
    ["rotateEvery: 1d", "30", every(100_860)],
    ["rotateEvery: 100859", "30", every(100_860)],
    // One that is short for the JWK Set is the mistake; what follows from it is not said too.
    ["rotateEvery: 1m, overlap: 1m", "43", overlap(300)],
  ])("{%s}", (keys, column, message) => {
    expect(refusalOf(`${UPSTREAM}issuer: {keys: {${keys}}}\n`)).toBe(`${FILE}:2:${column} ${message}`);
  });

  test.each([
    [
      "an overlap shorter than a long jwksMaxAge",
      "jwksMaxAge: 1h, keys: {overlap: 59m}",
      "42",
      overlap(3600),
    ],
    // The default of overlap grows with jwksMaxAge.
    [
      "a period shorter than the default of overlap",
      "jwksMaxAge: 7d, keys: {rotateEvery: 7d}",
      "46",
      every(619_260),
    ],
  ])("%s", (_what, issuer, column, message) => {
    expect(refusalOf(`${UPSTREAM}issuer: {${issuer}}\n`)).toBe(`${FILE}:2:${column} ${message}`);
  });

  test.each([
    "keys: {overlap: 300}",
    "jwksMaxAge: 1h, keys: {overlap: 1h}",
    "keys: {overlap: 1h, rotateEvery: 3660}",
    "keys: {rotateEvery: 100860}",
    "keys: {rotateEvery: never, overlap: 30d}",
    "jwksMaxAge: 7d, keys: {rotateEvery: 619260}",
  ])("{%s} is as short as it may be", (issuer) => {
    expect(warningsOf(`${UPSTREAM}issuer: {${issuer}}\n`)).toEqual([]);
  });

  test.each([
    ["files: [a.pem]", "files"],
    ["env: KEY", "env"],
    ["ephemeral: true", "ephemeral"],
  ])("keys from elsewhere are not rotated here: {%s}", (source, name) => {
    const keys = `issuer: {keys: {${source}, rotateEvery: 30d, overlap: 1d}}`;
    expect(refusalOf(`${UPSTREAM}${keys}\n`)).toBe(
      ["rotateEvery", "overlap"]
        .map((key) => {
          const column = keys.indexOf(`${key}: `) + key.length + 3;
          return `${FILE}:2:${column} issuer.keys.${key}: only for a directory and redis: keys from ${name} are not rotated here`;
        })
        .join("\n"),
    );
  });

  test("of keys from elsewhere nothing is said about times that they do not have", () => {
    expect(refusalOf(`${UPSTREAM}issuer: {keys: {ephemeral: true, rotateEvery: 1d, overlap: 1}}\n`)).toBe(
      [
        `${FILE}:2:47 issuer.keys.rotateEvery: only for a directory and redis: keys from ephemeral are not rotated here`,
        `${FILE}:2:60 issuer.keys.overlap: only for a directory and redis: keys from ephemeral are not rotated here`,
      ].join("\n"),
    );
  });

  test("ephemeral keys take no passphrase, and every other source does", () => {
    expect(refusalOf(`${UPSTREAM}issuer: {keys: {ephemeral: true, passphrase: a}}\n`)).toBe(
      `${FILE}:2:46 issuer.keys.passphrase: not for ephemeral keys: they are stored nowhere`,
    );
    for (const source of ["directory: a", "files: [a.pem]", "env: KEY"])
      expect(warningsOf(`${UPSTREAM}issuer: {keys: {${source}, passphrase: a}}\n`)).toEqual([]);
  });
});

describe("a mistake in one part does not hide one in another", () => {
  const SAME_NAME = "another policy has this name";

  test.each([
    [
      "policies: [{name: a, match: /x}, {name: a}]",
      [
        "29 policies[0].match: expected a map with the keys path, methods, hosts",
        `41 policies[1].name: ${SAME_NAME}`,
      ],
    ],
    [
      "policies: [{name: a}, {name: a}, 5, {name: b c}, {name: b c}]",
      [
        `30 policies[1].name: ${SAME_NAME}`,
        "34 policies[2]: expected a map with the keys name, match, authenticate, require, module, token, upstream",
        "44 policies[3].name: expected a name of at most 64 letters, digits, dots, hyphens and underscores",
        "57 policies[4].name: expected a name of at most 64 letters, digits, dots, hyphens and underscores",
      ],
    ],
    [
      "issuer: {keys: {directory: a, env: 5}}",
      [`16 issuer.keys: ${ONE_SOURCE}`, "36 issuer.keys.env: expected the name of an environment variable"],
    ],
    [
      "issuer: {keys: {directory: a, env: B, pkcs12: {}}}",
      [
        `16 issuer.keys: ${ONE_SOURCE}`,
        "39 issuer.keys.pkcs12: unknown key `pkcs12`; did you mean `pkcs11`?",
      ],
    ],
    // Without the mistake it would be the one that is expected.
    ["issuer: {keys: {pkcs12: {}}}", ["17 issuer.keys.pkcs12: unknown key `pkcs12`; did you mean `pkcs11`?"]],
    [
      "token: {additionalClaims: {n: .nan, sub: me}}",
      [
        "31 token.additionalClaims.n: expected a finite number",
        "42 token.additionalClaims.sub: the claim sub cannot be set here; use the key `subject` of token",
      ],
    ],
  ])("%s", (line, messages) => {
    expect(refusalOf(`${UPSTREAM}${line}\n`).split("\n")).toEqual(
      messages.map((message) => `${FILE}:2:${message}`),
    );
  });
});

describe("references", () => {
  const notSet = "the environment variable NOT_SET is not set; set it, or give a default: $env(NOT_SET, …)";

  test.each([
    ["a plain value", "token: {subject: $env(NOT_SET)}", "2:18 token.subject", notSet],
    ["a quoted value", 'token: {subject: "to $env(NOT_SET)"}', "2:22 token.subject", notSet],
    [
      "a value with escapes before it",
      'token: {subject: "\\u0074o $env(NOT_SET)"}',
      "2:27 token.subject",
      notSet,
    ],
    ["a block of lines", "token:\n  subject: |\n    to\n    $env(NOT_SET)\n", "5:5 token.subject", notSet],
    ["folded lines", "token:\n  subject: >-\n    to\n    $env(NOT_SET)\n", "5:5 token.subject", notSet],
    ["a list", "token: {audience: [a, $env(NOT_SET)]}", "2:23 token.audience[1]", notSet],
    [
      "a claim further in",
      "token: {additionalClaims: {a: [{b: $env(NOT_SET)}]}}",
      "2:36 token.additionalClaims.a[0].b",
      notSet,
    ],
    ["a value that has another form", "listen: $env(NOT_SET)", "2:9 listen", notSet],
  ])("an unset variable in %s is refused where it stands", (_where, yaml, place, message) => {
    expect(refusalOf(`${UPSTREAM}${yaml}\n`)).toBe(`${FILE}:${place}: ${message}`);
  });

  test("each unset variable of a value is refused where it stands", () => {
    expect(refusalOf(`${UPSTREAM}token: {subject: "$env(A) $env(B, b) $env(A)"}\n`)).toBe(`\
sidecar.yaml:2:19 token.subject: the environment variable A is not set; set it, or give a default: $env(A, …)
sidecar.yaml:2:38 token.subject: the environment variable A is not set; set it, or give a default: $env(A, …)`);
  });

  test.each([
    [
      "$foo(bar)",
      "unknown function $foo(…); the functions are $user(…), $request(…), $param(…), $header(…), $query(…), $env(…)",
    ],
    ["$ENV(NAME)", "unknown function $ENV(…); did you mean $env(…)?"],
    ["$usr(sub)", "unknown function $usr(…); did you mean $user(…)?"],
    ["$user()", "expected $user(…) with the name of a claim, such as $user(sub) or $user(address.country)"],
    [
      "$user($env(NAME))",
      "expected $user(…) with the name of a claim, such as $user(sub) or $user(address.country)",
    ],
    ["$user(sub", "expected $user(…) with the name of a claim, such as $user(sub) or $user(address.country)"],
    [
      "$request(uri)",
      "expected $request(…) with one of method, url, origin, host, path, id, ip; did you mean url?",
    ],
    ["$request(body-of-it)", "expected $request(…) with one of method, url, origin, host, path, id, ip"],
    ["$param(id)", "match.path has no parameter id; name it there, as in /orders/:id"],
    ["$param(a b)", "expected $param(…) with a name from the path, such as $param(id) for /orders/:id"],
    ["$header(x tenant)", "expected $header(…) with the name of a field, such as $header(X-Region)"],
    ["$user(tenant, none)", "only $env(…) takes a default; a claim whose $user(…) is missing is left out"],
    ["$query()", "expected $query(…) with the name of a parameter, such as $query(page)"],
    ["$env()", "expected $env(NAME) or $env(NAME, default), with a name of letters, digits and _"],
    ["$env(A-B)", "expected $env(NAME) or $env(NAME, default), with a name of letters, digits and _"],
    ["$env(1A)", "expected $env(NAME) or $env(NAME, default), with a name of letters, digits and _"],
    ["$env(A", "expected $env(NAME) or $env(NAME, default), with a name of letters, digits and _"],
  ])("%s is refused", (reference, message) => {
    expect(refusalOf(`${UPSTREAM}token: {subject: "${reference}"}\n`)).toBe(
      `${FILE}:2:19 token.subject: ${message}`,
    );
  });

  test("a default that is never closed is refused as fast as any", () => {
    const started = performance.now();
    expect(refusalOf(`${UPSTREAM}token: {subject: "$env(A,${" ".repeat(100_000)}x"}\n`)).toBe(
      `${FILE}:2:19 token.subject: expected $env(NAME) or $env(NAME, default), with a name of letters, digits and _`,
    );
    expect(performance.now() - started).toBeLessThan(500);
  });

  test("a variable that is not set is the only thing said of its value", () => {
    expect(refusalOf(`${UPSTREAM}token: {headerName: $env(NOT_SET)}\n`)).toBe(
      `${FILE}:2:21 token.headerName: ${notSet}`,
    );
  });

  test("what a variable held is never in a message", () => {
    const secret = "hunter2 & sons";
    const text = `listen: $env(SECRET)
upstream: $env(SECRET)
publicUrl: $env(SECRET)
allowInPath: [$env(SECRET)]
timeouts: {headers: $env(SECRET)}
issuer:
  url: $env(SECRET)
  basePath: $env(SECRET)
  algorithm: $env(SECRET)
  expiresIn: $env(SECRET)
  keys: {env: $env(SECRET), ephemeral: $env(SECRET), rotateEvery: $env(SECRET), overlap: $env(SECRET)}
admin: $env(SECRET)
identity: {account: a, algorithm: $env(SECRET), expiresIn: $env(SECRET), audiences: $env(SECRET)}
token:
  reuse: $env(SECRET)
  algorithm: $env(SECRET)
  headerName: $env(SECRET)
  notBefore: $env(SECRET)
  additionalClaims: $env(SECRET)
policies:
  - name: $env(SECRET)
    match: {path: $env(SECRET), methods: [$env(SECRET)], hosts: [$env(SECRET)]}
    token: $env(SECRET)
`;
    const refusal = refusalOf(text, { SECRET: secret });
    expect(refusal.split("\n")).toHaveLength(30);
    expect(refusal).not.toContain("hunter");
    expect(refusal).not.toContain("sons");
  });
});

describe("warnings", () => {
  const ISSUER =
    "overrides the issuer: a backend that compares iss with the discovery document will refuse the token";
  const WILDCARD =
    "the sidecar listens on every address and issuer.url is not set, so tokens name 127.0.0.1 as their issuer; set issuer.url to a URL that the backend can reach";

  const NO_REUSE = "has no effect: tokenId gives every token an id of its own, so none is used again";
  const REACHABLE =
    "the admin listener can be reached from other machines, and whoever reaches it gets ID tokens of this deployment; listen on 127.0.0.1 unless a firewall is in front";
  const manyKeys = (count: number, seconds: number) =>
    `about ${count} keys of an algorithm are published at once, because each is kept until its longest token (${seconds} s) has ended; rotate less often, or shorten the tokens`;

  const ELSEWHERE = "verifiers look for the keys below this URL, and the sidecar serves them under";
  const END_WITH_IT =
    "end the URL with it, unless a proxy in front rewrites the path, or it is that of a copy (countersign issuer export)";

  test.each([
    [
      "an iss of its own",
      "token: {additionalClaims: {iss: me}}",
      [`2:33 token.additionalClaims.iss: ${ISSUER}`],
    ],
    [
      "an iss of its own in a policy",
      "policies:\n  - name: a\n    token: {additionalClaims: {iss: me}}",
      [`4:37 policies[0].token.additionalClaims.iss: ${ISSUER}`],
    ],
    [
      "an ephemeral key",
      "issuer: {keys: {ephemeral: true}}",
      [
        "2:28 issuer.keys.ephemeral: the signing key is lost at every restart, and backends refuse tokens until they fetch the new one; use a directory in production",
      ],
    ],
    [
      "a reuse that tokenId makes impossible",
      "token: {reuse: true, tokenId: true}",
      [`2:16 token.reuse: ${NO_REUSE}`],
    ],
    [
      "a reuse that tokenId makes impossible, in a policy",
      "policies: [{name: a, token: {tokenId: true, reuse: true}}]",
      [`2:52 policies[0].token.reuse: ${NO_REUSE}`],
    ],
    ["a tokenId where reuse is the default alone", "token: {tokenId: true}", []],
    ["a tokenId without reuse", "token: {tokenId: true, reuse: false}", []],
    [
      "an admin listener on every address, with identity",
      "identity: {account: a}\nadmin: ':8081'",
      [`3:8 admin: ${REACHABLE}`],
    ],
    [
      "an admin listener on an address of the network, with identity",
      "identity: {account: a}\nadmin: {address: 10.0.0.1:8081}",
      [`3:8 admin: ${REACHABLE}`],
    ],
    ["an admin listener on every address, without identity", "admin: ':8081'", []],
    ["an admin listener on localhost", "identity: {account: a}\nadmin: localhost:8081", []],
    ["an admin listener on another loopback address", "identity: {account: a}\nadmin: 127.9.9.9:8081", []],
    ["an admin listener on IPv6's loopback address", "identity: {account: a}\nadmin: '[::1]:8081'", []],
    ["the admin listener that identity brings", "identity: {account: a}", []],
    ["no admin listener", "identity: {account: a}\nadmin: false", []],
    [
      "tokens that outlive many rotations",
      "issuer: {keys: {rotateEvery: 2d}}\ntoken: {expiresIn: 30d}",
      [`2:30 issuer.keys.rotateEvery: ${manyKeys(17, 2_592_000)}`],
    ],
    [
      "ID tokens that outlive many rotations",
      "issuer: {keys: {rotateEvery: 2d}}\nidentity: {account: a, expiresIn: 30d}",
      [`2:30 issuer.keys.rotateEvery: ${manyKeys(17, 2_592_000)}`],
    ],
    [
      "very long tokens under the default rotation",
      "token: {expiresIn: 1y}",
      [`1:1 issuer.keys.rotateEvery: ${manyKeys(14, 31_557_600)}`],
    ],
    ["very long tokens and no rotation", "issuer: {keys: {rotateEvery: never}}\ntoken: {expiresIn: 1y}", []],
    ["long tokens under the default rotation", "token: {expiresIn: 200d}", []],
    ["a listener on every address", "listen: ':8080'", [`2:9 listen: ${WILDCARD}`]],
    ["a listener on every IPv4 address", "listen: {address: 0.0.0.0:8080}", [`2:9 listen: ${WILDCARD}`]],
    ["a listener on every IPv6 address", "listen: '[::]:8080'", [`2:9 listen: ${WILDCARD}`]],
    ["a listener on 0", "listen: '0:8080'", [`2:9 listen: ${WILDCARD}`]],
    [
      "an issuer's URL without basePath",
      "issuer: {url: 'https://id.example.com'}",
      [`2:15 issuer.url: ${ELSEWHERE} /__issuer; ${END_WITH_IT}`],
    ],
    [
      "an issuer's URL whose host looks like basePath",
      "issuer: {url: 'http://id', basePath: /id}",
      [`2:15 issuer.url: ${ELSEWHERE} /id; ${END_WITH_IT}`],
    ],
    [
      "policies for the issuer's paths",
      "policies: [{name: a, match: {path: /__issuer}}, {name: b, match: {path: '/__issuer/*rest'}}, {name: c, match: {path: '/__issuer{/}'}}]",
      [
        "2:36 policies[0].match.path: never matches: the issuer answers every path under /__issuer",
        "2:73 policies[1].match.path: never matches: the issuer answers every path under /__issuer",
        "2:118 policies[2].match.path: never matches: the issuer answers every path under /__issuer",
      ],
    ],
    [
      "policies for paths beside the issuer's",
      "policies: [{name: a, match: {path: '/__issuer:id'}}, {name: b, match: {path: /__issuers}}, {name: c, match: {path: '/__issuer{s}'}}]",
      [],
    ],
    ["an issuer's URL behind a path of its own", "issuer: {url: 'https://example.com/id/__issuer'}", []],
    [
      "a policy after one that matches everything",
      "policies:\n  - {name: all, match: {path: '/*rest'}}\n  - {name: late, match: {path: /a}}",
      ["4:5 policies[1]: never matches: policies[0] (all) before it matches every request"],
    ],
    [
      "a policy after one without a match",
      "policies:\n  - name: all\n  - name: late",
      ["4:5 policies[1]: never matches: policies[0] (all) before it matches every request"],
    ],
    ["a listener on every address with a URL", "listen: ':80'\nissuer: {url: 'http://a/__issuer'}", []],
    ["an iss that null removes", "token: {additionalClaims: {iss: null}}", []],
    ["a catch-all at the end", "policies:\n  - {name: a, match: {path: /a}}\n  - {name: all}", []],
    [
      "a catch-all for one method",
      "policies:\n  - {name: a, match: {path: '/*rest', methods: [GET]}}\n  - {name: all}",
      [],
    ],
    ["a file that says no more than it must", "", []],
  ])("%s", (_what, yaml, warnings) => {
    expect(warningsOf(`${UPSTREAM}${yaml}\n`)).toEqual(warnings.map((warning) => `${FILE}:${warning}`));
  });

  test("a listener that an option asked for is not blamed on the file", () => {
    const { warnings } = parseConfig(`${UPSTREAM}listen: 127.0.0.1:80\n`, { file: FILE, listen: ":80" });
    expect(warnings.map(formatProblem)).toEqual([`--listen: ${WILDCARD}`]);
  });

  test("an admin listener that an option asked for is not blamed on the file", () => {
    const { warnings } = parseConfig(`${UPSTREAM}identity: {account: a}\nadmin: 127.0.0.1:8081\n`, {
      file: FILE,
      admin: ":8081",
    });
    expect(warnings.map(formatProblem)).toEqual([`--admin: ${REACHABLE}`]);
  });
});

describe("whatever the text, it is a configuration or a ConfigError whose places are inside it", () => {
  /** Parses, and checks what comes of it. */
  function check(text: string): void {
    try {
      parseConfig(text, { file: FILE, env: { SET: "x" } });
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      expect(error.problems).not.toHaveLength(0);
      const lines = text.split("\n");
      for (const { position, message } of error.problems) {
        expect(message).not.toBe("");
        const line = lines[(position?.line ?? 0) - 1];
        expect(line).toBeDefined();
        expect(position?.column).toBeGreaterThan(0);
        expect(position?.column).toBeLessThanOrEqual((line?.length ?? 0) + 1);
      }
    }
  }

  const word = fc.constantFrom(
    ..."listen upstream issuer token policies name match path methods hosts keys url basePath algorithm".split(
      " ",
    ),
    ..."expiresIn additionalClaims audience subject headerName tokenPrefix timeouts directory env ephemeral".split(
      " ",
    ),
    ..."none EdDSA HS256 http://127.0.0.1:9000 /orders/:id GET 5m $env(SET) $env(NOT_SET) $user(sub)".split(
      " ",
    ),
    ..."__proto__ constructor iss sub tls admin identity account audiences files rotateEvery overlap passphrase reuse".split(
      " ",
    ),
  );
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 5, depthSize: "small" },
      fc.oneof(word, fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.constant(null)),
      fc.array(tie("any"), { maxLength: 4 }),
      fc.dictionary(
        fc.oneof({ arbitrary: word, weight: 4 }, { arbitrary: fc.string(), weight: 1 }),
        tie("any"),
        {
          maxKeys: 5,
        },
      ),
    ),
  })).any;

  test("any value, written as YAML", () => {
    fc.assert(
      fc.property(value, (it) => check(stringify(it))),
      { numRuns: 300 },
    );
  });

  test("any value beside an upstream, written as JSON", () => {
    fc.assert(
      fc.property(fc.dictionary(word, value, { maxKeys: 4 }), (it) =>
        check(JSON.stringify({ upstream: "http://127.0.0.1:9000", ...it })),
      ),
      { numRuns: 300 },
    );
  });

  test("any text", () => {
    const piece = fc.oneof(
      word,
      fc.constantFrom(
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\t",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a ",
        "*a",
        "!!str ",
        "|\n",
        "'",
        '"',
      ),
      fc.constantFrom("? ", "<<", "#", "---\n", "%YAML 1.1\n", "\r\n", "\u0000", "\ufeff", "💥", "$env("),
      fc.string({ maxLength: 3 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => check(pieces.join(""))),
      { numRuns: 500 },
    );
  });
});
