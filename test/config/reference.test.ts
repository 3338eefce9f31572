import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import {
  descriptionOf,
  LINKS,
  referenceLists,
  SAME_KEYS,
  withReference,
} from "../../scripts/configuration-reference.ts";
import type { JsonSchema } from "../../src/config/json-schema.ts";
import { parseConfig } from "../../src/index.ts";

type Values = Record<string, unknown>;

const ENTRIES = [...referenceLists().values()].flat();

/** Each map of the file, with the keys that it must have. */
const FILE = stringify({
  listen: { address: "unix:c.sock", tls: { cert: "a.crt", key: "a.key" } },
  upstream: { url: "https://backend.example", tls: {}, timeouts: {}, healthCheck: { path: "/healthz" } },
  limits: {},
  timeouts: {},
  issuer: { url: "https://api.example/__issuer", keys: {} },
  identity: { account: "a", files: [{ path: "token", audience: "b" }] },
  tokenEndpoint: { authenticate: ["apiKey"], audiences: ["a"] },
  log: {},
  authenticators: {
    apiKey: { type: "apiKey", keys: [{ subject: "a", sha256: "0".repeat(64) }] },
    jwt: { type: "jwt", issuer: "https://login.example", audience: "a" },
    basic: {
      type: "basic",
      users: [
        { username: "a", passwordHash: "$2b$04$eImiTXuWVxfM37uY4JANjOeXqjV3uWqPzV2h1yY0vQ7Zg1Y4Vn9a2" },
      ],
    },
    clientCertificate: { type: "clientCertificate", from: ["10.0.0.1"] },
    trustedHeader: { type: "trustedHeader", header: "X-User", from: ["10.0.0.1"] },
  },
  authenticate: ["anonymous"],
  token: {},
  policies: [{ name: "a", match: {}, module: { file: "a.mjs" } }],
});

/** What keys in Redis must have; a file has keys of one source alone. */
const REDIS = { url: "rediss://redis.example", encryptionKey: "0".repeat(64), tls: {} };

/** The file with another value at this place, or without one; of a list its first entry is meant. */
function fileWith(path: string, value?: unknown): string {
  const file = parse(FILE) as Values;
  // Without authenticators nobody could ask there.
  if (path === "authenticators") delete file.tokenEndpoint;
  if (path.startsWith("issuer.keys.redis.")) (file.issuer as Values).keys = { redis: REDIS };
  const keys = path.split(".");
  const last = keys.pop() ?? "";
  const map = keys.reduce<Values>((values, key) => {
    const inner = values[key];
    return (Array.isArray(inner) ? inner[0] : inner) as Values;
  }, file);
  if (value === undefined) delete map[last];
  else map[last] = value;
  return stringify(file);
}

/** What a text is taken for, without functions. */
function configurationOf(text: string): unknown {
  return JSON.parse(JSON.stringify(parseConfig(text, { file: "sidecar.yaml", env: {} }).config));
}

test("docs/configuration.md lists the keys that the schema has; `npm run reference` writes them anew", () => {
  const page = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");
  expect(page).toBe(withReference(page));
});

test("each link of the reference belongs to a key", () => {
  const paths = ENTRIES.map(({ path }) => path);
  expect(Object.keys(LINKS).filter((path) => !paths.includes(path))).toEqual([]);
});

const WRITTEN = ENTRIES.flatMap(({ path, schema }) => {
  const [, value] = /^`([^`]*)`$/.exec(descriptionOf(schema).standard) ?? [];
  return value === undefined ? [] : [[path, value] as const];
});

test.each(WRITTEN)("%s: %s, written into the file, changes nothing, as it is the default", (path, value) => {
  expect(configurationOf(fileWith(path, parse(value)))).toEqual(configurationOf(fileWith(path)));
});

test("most keys have a default that can be compared", () => {
  expect(WRITTEN.length).toBeGreaterThan(60);
});

/** What a default that is said in words is, in {@link FILE}. */
const SAID = [
  ["listen.http2", true],
  ["issuer.keys.overlap", "28h"],
  ["identity.subject", "a"],
  ["identity.files.expiresIn", "10h"],
  ["authenticators.apiKey.header", "Authorization"],
  ["authenticators.apiKey.scheme", "Bearer"],
  ["authenticators.jwt.header", "Authorization"],
  ["tokenEndpoint.algorithm", "EdDSA"],
  ["token.algorithm", "EdDSA"],
  ["policies.match", {}],
  ["policies.authenticate", ["anonymous"]],
  ["policies.token", {}],
  ["policies.upstream", { url: "https://backend.example", tls: {}, healthCheck: { path: "/healthz" } }],
] as const;

test.each(SAID)("the default of %s that the reference describes is what is used", (path, value) => {
  const entry = ENTRIES.find((one) => one.path === path);
  expect(descriptionOf(entry?.schema ?? {}).standard).not.toBe("");
  expect(configurationOf(fileWith(path, value))).toEqual(configurationOf(fileWith(path)));
});

test.each(Object.entries(SAME_KEYS))("each key of %s is listed where those of %s are", (path, other) => {
  const entry = ENTRIES.find((one) => one.path === path);
  const listed = ENTRIES.map((one) => one.path);
  const keys = [...keysIn(entry?.schema)];

  expect(keys.length).toBeGreaterThan(2);
  expect(keys.filter((key) => !listed.includes(`${other}.${key}`))).toEqual([]);
});

function keysIn({ properties = {}, anyOf = [], items }: JsonSchema = {}): Set<string> {
  return new Set([
    ...Object.keys(properties),
    ...[...anyOf, ...(items ? [items] : [])].flatMap((schema) => [...keysIn(schema)]),
  ]);
}
