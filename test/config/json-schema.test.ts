import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { sidecarJsonSchema } from "../../src/config/json-schema.ts";
import { loadConfig } from "../../src/index.ts";

const ROOT = new URL("../../", import.meta.url);
const SCHEMA_FILE = new URL("config/sidecar.schema.json", ROOT);
const isProfile = (name: string) => name.endsWith(".yaml") && !name.endsWith(".policy-test.yaml");

/** The example, and every complete profile. */
const PROFILES = [
  "sidecar.example.yaml",
  ...readdirSync(new URL("config/", ROOT))
    .filter(isProfile)
    .map((name) => `config/${name}`),
];

const readText = (path: string) => readFileSync(new URL(path, ROOT), "utf8");
const validate = new Ajv2020({ strict: true, allowUnionTypes: true }).compile(sidecarJsonSchema());

test("config/sidecar.schema.json is the generated schema; `npm run schema` makes it anew", () => {
  expect(readFileSync(SCHEMA_FILE, "utf8")).toBe(`${JSON.stringify(sidecarJsonSchema(), undefined, 2)}\n`);
});

test("sidecar.example.yaml is a configuration without warnings", async () => {
  const file = fileURLToPath(new URL("sidecar.example.yaml", ROOT));
  expect((await loadConfig({ file, env: {} })).warnings).toEqual([]);
});

describe.each(PROFILES)("%s", (path) => {
  test("is what the schema describes", () => {
    validate(parse(readText(path)));
    expect(validate.errors).toBeNull();
  });

  test("tells an editor where its schema is", () => {
    const [, relative] = /^# yaml-language-server: \$schema=(\S+)$/m.exec(readText(path)) ?? [];
    expect(new URL(relative ?? "", new URL(path, ROOT)).href).toBe(SCHEMA_FILE.href);
  });
});

const UPSTREAM = "http://127.0.0.1:9000";

test.each([
  ["an upstream alone", { upstream: UPSTREAM }],
  [
    "an upstream and listener in their long forms",
    { upstream: { url: UPSTREAM }, listen: { address: ":80" } },
  ],
  ["a duration as a number", { upstream: UPSTREAM, token: { expiresIn: 300 } }],
  ["a duration as a string", { upstream: UPSTREAM, token: { expiresIn: "5m" } }],
  ["a list of audiences", { upstream: UPSTREAM, token: { audience: ["a", "b"] } }],
  ["a policy without a token", { upstream: UPSTREAM, policies: [{ name: "a", token: "none" }] }],
  ["no admin listener", { upstream: UPSTREAM, admin: false }],
  ["an admin listener in its long form", { upstream: UPSTREAM, admin: { address: ":80" } }],
  ["an identity", { upstream: UPSTREAM, identity: { account: "a", environment_type: "preview" } }],
  [
    "a file with an identity",
    {
      upstream: UPSTREAM,
      identity: {
        account: "a",
        files: [{ path: "b", audience: "c", expiresIn: "1h", claims: {}, group: 7 }],
      },
    },
  ],
  ["a directory that is never rotated", { upstream: UPSTREAM, issuer: { keys: { rotateEvery: "never" } } }],
  ["a period as a duration", { upstream: UPSTREAM, issuer: { keys: { rotateEvery: "30d", overlap: 3600 } } }],
  ["keys in files", { upstream: UPSTREAM, issuer: { keys: { files: ["a.pem"], passphrase: "b" } } }],
  [
    "an algorithm of a policy",
    { upstream: UPSTREAM, policies: [{ name: "a", token: { algorithm: "ES256" } }] },
  ],
  ["any JSON as a claim", { upstream: UPSTREAM, token: { additionalClaims: { a: [1, null, { b: true }] } } }],
])("an editor accepts %s", (_what, value) => {
  validate(value);
  expect(validate.errors).toBeNull();
});

test.each([
  ["no upstream", {}],
  ["an unknown key", { upstream: UPSTREAM, wallpaper: 1 }],
  ["an unknown key of a section", { upstream: UPSTREAM, token: { audiance: "a" } }],
  ["an unknown key of a policy", { upstream: UPSTREAM, policies: [{ name: "a", match: { paht: "/" } }] }],
  ["a key that is not built yet", { upstream: UPSTREAM, tokenEndpoint: {} }],
  ["an identity file without an audience", { upstream: UPSTREAM, identity: { files: [{ path: "a" }] } }],
  ["an admin listener that is only said to be", { upstream: UPSTREAM, admin: true }],
  ["an unknown algorithm of a policy", { upstream: UPSTREAM, token: { algorithm: "HS256" } }],
  ["an unknown algorithm", { upstream: UPSTREAM, issuer: { algorithm: "HS256" } }],
  ["a value of another type", { upstream: UPSTREAM, token: { subject: 5 } }],
  ["a policy without a name", { upstream: UPSTREAM, policies: [{}] }],
  ["no policies in the list", { upstream: UPSTREAM, policies: [] }],
])("an editor marks %s", (_what, value) => {
  expect(validate(value)).toBe(false);
});

test("every key is described", () => {
  const undescribed: string[] = [];
  const visit = (schema: unknown, path: string) => {
    if (typeof schema !== "object" || schema === null) return;
    for (const [key, member] of Object.entries(schema)) {
      if (key === "properties")
        for (const [name, property] of Object.entries(member as Record<string, object>))
          if (!("description" in property)) undescribed.push(`${path}.${name}`);
      visit(member, `${path}.${key}`);
    }
  };
  visit(sidecarJsonSchema(), "");
  expect(undescribed).toEqual([]);
});
