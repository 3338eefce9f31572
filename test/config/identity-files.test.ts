import { describe, expect, test } from "vitest";
import { keyNeedsOf } from "../../src/config/key-needs.ts";
import { ConfigError, createIssuer, parseConfig } from "../../src/index.ts";

const OPTIONS = { file: "/etc/countersign/sidecar.yaml", env: { GID: "1000" } };
const configOf = (identity: string) =>
  parseConfig(`{upstream: 'http://127.0.0.1:9', identity: ${identity}}`, OPTIONS).config;

/** The problems of a configuration, each as its key and what is wrong. */
function problemsOf(identity: string): string[] {
  try {
    configOf(identity);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(({ key, message }) => `${key}: ${message}`);
  }
}

describe("a file", () => {
  test("has what identity says, where it does not say it itself", () => {
    const { identity } = configOf(
      "{account: a, project: p, expiresIn: 2h, files: [{path: t/one, audience: x}]}",
    );
    expect(identity?.files).toEqual([
      {
        path: "/etc/countersign/t/one",
        group: undefined,
        subject: "a/p",
        audience: "x",
        lifetimeSeconds: 7200,
        claims: { account: "a", project: "p" },
        algorithm: "RS256",
      },
    ]);
  });

  test("has claims, a lifetime and a group of its own, and an absolute path stays", () => {
    const { identity } = configOf(
      "{account: a, project: p, environment_type: preview, files: [{path: /run/two, audience: x, expiresIn: 1h, claims: {project: q, environment_type: null, more: [1]}, group: $env(GID)}]}",
    );
    expect(identity?.files).toMatchObject([
      {
        path: "/run/two",
        lifetimeSeconds: 3600,
        claims: { account: "a", project: "q", more: [1] },
        group: "1000",
      },
    ]);
    expect(identity?.files[0]?.claims).not.toHaveProperty("environment_type");
    expect(identity?.claims).toEqual({ account: "a", project: "p", environment_type: "preview" });
  });

  test("may be for an audience that identity.audiences does not list", () => {
    expect(problemsOf("{account: a, audiences: [x], files: [{path: t, audience: y}]}")).toEqual([]);
  });

  test("that lives longest decides for how long the identity key stays published", () => {
    const needOf = (expiresIn: string) =>
      keyNeedsOf(configOf(`{account: a, files: [{path: t, audience: y, expiresIn: ${expiresIn}}]}`)).find(
        ({ purpose }) => purpose === "identity",
      );
    expect(needOf("1h")).toEqual({
      purpose: "identity",
      algorithm: "RS256",
      longestLifetimeSeconds: 36_000,
    });
    expect(needOf("12h")?.longestLifetimeSeconds).toBe(43_200);
  });
});

const TOO_SHORT =
  "expected at least 60 s: the file is written again when 80 % of its life have passed, and its readers need the rest";

test.each([
  ["files: t", ["identity.files: expected a list of files"]],
  [
    "files: [t]",
    ["identity.files[0]: expected a map with the keys path, audience, expiresIn, claims, group"],
  ],
  [
    "files: [{}]",
    [
      "identity.files[0].path: is missing; expected a string",
      "identity.files[0].audience: is missing; expected a string",
    ],
  ],
  [
    "files: [{path: t, audiance: x, audience: x}]",
    ["identity.files[0].audiance: unknown key `audiance`; did you mean `audience`?"],
  ],
  ["files: [{path: t, audience: [x]}]", ["identity.files[0].audience: expected a string"]],
  ["files: [{path: t, audience: x, expiresIn: 59s}]", [`identity.files[0].expiresIn: ${TOO_SHORT}`]],
  [
    "expiresIn: 30s, files: [{path: t, audience: x}, {path: u, audience: x, expiresIn: 1m}]",
    [`identity.files[0]: needs the key expiresIn: that of identity is too short; ${TOO_SHORT}`],
  ],
  ["files: [{path: t, audience: x, group: -1}]", ["identity.files[0].group: expected at least 0"]],
  [
    "files: [{path: t, audience: x, claims: {sub: a, iss: b, exp: 1}}]",
    [
      "identity.files[0].claims.sub: the claim sub cannot be set here; use the key `subject` of identity",
      "identity.files[0].claims.iss: the claim iss cannot be set here; it is what the key `url` of issuer says",
      "identity.files[0].claims.exp: the claim exp cannot be set here; use the key `expiresIn` of the file",
    ],
  ],
  [
    "files: [{path: t, audience: x}, {path: ./a/../t, audience: y}]",
    ["identity.files[1].path: another file of the list has this path; each needs one of its own"],
  ],
  [
    "files: [{path: run/, audience: x}]",
    ["identity.files[0].path: expected a file, and this is written as a folder is"],
  ],
  [
    "files: [{path: keys-of/aws, audience: x}, {path: ../countersign/sidecar.yaml, audience: x}]",
    [
      "identity.files[1].path: a token would take the place of /etc/countersign/sidecar.yaml, which the sidecar reads; choose another path",
    ],
  ],
  [
    "files: [{path: keys/token, audience: x}, {path: keys, audience: x}]",
    ["", ""].map(
      (_, index) =>
        `identity.files[${index}].path: the key directory /etc/countersign/keys is for keys alone; choose another path`,
    ),
  ],
])("identity: {account: a, %s} is refused", (keys, expected) => {
  expect(problemsOf(`{account: a, ${keys}}`)).toEqual(expected);
});

test.each(["own.pem", "clients.yaml", "policy.mjs"])(
  "a file of identity is none that the sidecar reads: %s",
  (name) => {
    const yaml = `
upstream: http://127.0.0.1:9
issuer: {keys: {files: [own.pem]}}
authenticators: {partners: {type: apiKey, header: X-Api-Key, keysFile: clients.yaml}}
authenticate: [partners]
policies: [{name: all, module: {file: policy.mjs}}]
identity: {account: a, files: [{path: ${name}, audience: x}]}`;
    expect(() => parseConfig(yaml, OPTIONS)).toThrow(
      `identity.files[0].path: a token would take the place of /etc/countersign/${name}, which the sidecar reads; choose another path`,
    );
  },
);

test("an issuer without a sidecar keeps no files, and does not know the key", async () => {
  const options = { url: "https://a.example", keys: { ephemeral: true as const } };
  const identity = { account: "a", files: [{ path: "t", audience: "x" }] };
  await expect(createIssuer({ ...options, identity } as never)).rejects.toThrow(
    "identity.files: unknown key `files`; the keys here are subject, account, project, deployment, environment_type, algorithm, expiresIn, audiences",
  );
});
