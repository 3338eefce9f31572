import { describe, expect, test } from "vitest";
import { sidecarJsonSchema } from "../../src/config/json-schema.ts";
import { parseConfig } from "../../src/config/parse.ts";
import { ConfigError } from "../../src/config/problems.ts";
import { secretKeysIn } from "../../src/config/shown.ts";

/** No word of the configuration is part of it. */
const SECRET = "Zq9Kv3tXY";
/** What is left of it where something stands in the middle. */
const PARTS = [SECRET.slice(0, 5), SECRET.slice(-5)];

/** What is said of a text: its problems, or its warnings and what `/config` shows. */
function saidOf(text: string, env: Record<string, string> = {}): string {
  try {
    const { warnings, config } = parseConfig(text, { file: "sidecar.yaml", env });
    return JSON.stringify([warnings, config.describe()]);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

const texts = {
  "in quotes": `issuer:\n  keys:\n    passphrase: "${SECRET}"\nupstream: http://127.0.0.1:9\n`,
  plain: `upstream: http://127.0.0.1:9\nissuer: {keys: {passphrase: ${SECRET}, directory: ./keys}}\n`,
  "on a line of its own": `issuer:\n  keys:\n    passphrase: |\n      ${SECRET}\nupstream: http://127.0.0.1:9\n`,
};

/** What a slip of the hand, or a secret that should stand in quotes, puts into a file. */
const SLIPS = [
  ..." \n\t:,\"'{}[]#&*!|>%@`\\?-=\0",
  ": ",
  "- ",
  "\\x",
  "...",
  "---\n",
  "$env(",
  "<<: ",
  "!!",
  " #",
];

describe.each(Object.entries(texts))("a secret that stands %s in the file", (_where, text) => {
  test("is not repeated by what is said of a slip near it", () => {
    const start = text.indexOf(SECRET);
    for (let place = start - 25; place <= start + SECRET.length + 3; place++)
      for (const slip of ["", ...SLIPS])
        for (const removed of [0, 1]) {
          const changed = text.slice(0, place) + slip + text.slice(place + removed);
          const said = saidOf(changed);
          for (const part of PARTS)
            if (said.includes(part)) expect.fail(`${JSON.stringify(changed)} makes ${said}`);
        }
  });
});

const WHOLE = `listen: {address: 127.0.0.1:0, tls: {cert: a, key: b, clientCa: c, clientCertificate: optional}}
admin: 127.0.0.1:1
upstream: {url: "https://127.0.0.1:9", tls: {ca: ca, cert: cert, key: key, serverName: name}, healthCheck: {path: /health}}
publicUrl: https://api.example.com
trustedProxies: [10.0.0.0/8]
allowInPath: [emptySegment]
limits: {headerBytes: 16KiB}
timeouts: {headers: 15s}
issuer: {url: "https://issuer.example.com", basePath: /issuer, algorithm: ES256, expiresIn: 1h, jwksMaxAge: 5m, keys: {directory: ./keys, rotateEvery: 30d, passphrase: pass}}
identity: {account: a, project: b, algorithm: RS256, audiences: [x]}
log: {level: info, format: json, subject: hash}
authenticators:
  keys: {type: apiKey, header: X-Api-Key, scheme: Key, keys: [{subject: a, sha256: "${"a".repeat(64)}", expires: "2027-01-31"}], keysFile: keys.yaml}
  login: {type: jwt, issuer: "https://login.example.com", audience: orders, algorithms: [RS256], jwksUri: "https://login.example.com/keys", typ: JWT}
  ops: {type: basic, users: [{username: ops, passwordHash: hash}], htpasswd: htpasswd}
  mesh: {type: clientCertificate, subject: uri, from: [10.0.0.0/8]}
  edge: {type: trustedHeader, header: X-User, from: [10.0.0.0/8], claims: {email: X-Email}}
authenticate: [anonymous]
token: {subject: a, audience: b, expiresIn: 5m, headerName: X-Token, tokenPrefix: Bearer, additionalClaims: {role: admin}, algorithm: ES256}
policies:
  - {name: one, match: {path: /a, methods: [GET], hosts: [a.example.com]}, authenticate: [ops], require: {scopes: [a], claims: {tenant: [acme]}}, token: none, module: ./m.mjs, upstream: "http://127.0.0.1:8"}
`;

/** Where a value stands that is a text. */
const PLACES = [...WHOLE.matchAll(/(?<=[:[] )(?![[{])(?:"[^"]*"|[^\s,[\]{}]+)|(?<=\[)[^\s,[\]{}"]+/g)];

test("what a variable holds is not repeated, whichever value it is", () => {
  expect(PLACES.length).toBeGreaterThan(60);
  for (const { 0: value, index } of PLACES)
    for (const secret of [
      SECRET,
      `${SECRET}\n${SECRET}`,
      `https://${SECRET}:x@h/?${SECRET}`,
      `*${SECRET}: 1`,
    ]) {
      const text = `${WHOLE.slice(0, index)}"$env(SECRET)"${WHOLE.slice(index + value.length)}`;
      const said = saidOf(text, { SECRET: secret });
      if (said.includes(SECRET)) expect.fail(`${value} makes ${said}`);
    }
});

/** Keys that are called like a secret, and are none: names of files and fields, and what tokens are made of. */
const HARMLESS = new Set([
  "encryptionKeyFile",
  "forwardCredential",
  "htpasswd",
  "key",
  "keys",
  "keysFile",
  "originalTokenHeader",
  "token",
  "tokenEndpoint",
  "tokenId",
  "tokenPrefix",
]);

/** The keys of every map that a JSON Schema describes. */
function keysIn(schema: unknown): string[] {
  if (typeof schema !== "object" || schema === null) return [];
  const { properties } = schema as { properties?: object };
  return [...Object.keys(properties ?? {}), ...Object.values(schema).flatMap(keysIn)];
}

test("every key that is called like a secret is marked as one, or is known to be none", () => {
  const schema = sidecarJsonSchema();
  const suspicious = keysIn(schema).filter((key) =>
    /pass|secret|pin$|hash|sha\d|digest|token|key|credential|private|encrypt|hmac/i.test(key),
  );
  const secretKeys = secretKeysIn(schema);
  expect(secretKeys).toEqual(expect.arrayContaining(["passphrase", "sha256", "passwordHash"]));
  expect(suspicious.filter((key) => !secretKeys.includes(key) && !HARMLESS.has(key))).toEqual([]);
});
