import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/index.ts";

const KEY = Buffer.alloc(32, 7).toString("base64");
const UPSTREAM = "upstream: http://127.0.0.1:9000\n";

function parse(keys: string) {
  const env = { KEY, PASSWORD: "hidden-password" };
  return parseConfig(`${UPSTREAM}issuer:\n  keys:\n    ${keys}\n`, { file: "sidecar.yaml", env }).config;
}

const sourceOf = (redis: string, more = "") => parse(`${more}redis: ${redis}`).issuer.keys;

function refusalOf(keys: string): string {
  try {
    parse(keys);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("taken");
}

describe("issuer.keys.redis", () => {
  test("is one server, encrypted, with the times of a directory and two clocks in addition", () => {
    expect(sourceOf("{url: redis://redis.internal, encryptionKey: $env(KEY)}")).toEqual({
      kind: "redis",
      rotation: {
        everySeconds: 30 * 86_400,
        overlapSeconds: 28 * 3600,
        fleet: { clockSkewSeconds: 30, jwksMaxAgeSeconds: 300 },
      },
      redis: {
        place: { kind: "server", server: { host: "redis.internal", port: 6379 }, database: 0 },
        prefix: "countersign:",
        credentials: { username: undefined, password: undefined },
        tls: undefined,
        encryption: { text: KEY },
      },
    });
  });

  test.each([
    ["redis://127.0.0.1:7000/4", { server: { host: "127.0.0.1", port: 7000 }, database: 4 }],
    ["redis://[::1]:7000/", { server: { host: "::1", port: 7000 }, database: 0 }],
    ["rediss://cache.example", { server: { host: "cache.example", port: 6379 }, database: 0 }],
    ["unix:/run/redis.sock", { server: { socketPath: "/run/redis.sock" }, database: 0 }],
  ])("url: %s", (url, place) => {
    expect(sourceOf(`{url: "${url}", encryptionKey: $env(KEY)}`)).toMatchObject({ redis: { place } });
  });

  test("rediss: is TLS, and so are sentinels and clusters that have the key tls; paths start from the folder of the file", () => {
    const tls = {
      ca: undefined,
      cert: undefined,
      key: undefined,
      serverName: undefined,
      skipVerification: false,
    };
    expect(sourceOf("{url: rediss://a, encryptionKey: $env(KEY)}")).toMatchObject({ redis: { tls } });
    expect(sourceOf("{cluster: [a, b], tls: {ca: ca.crt}, encryptionKeyFile: ring.key}")).toMatchObject({
      redis: {
        tls: { ...tls, ca: resolve("ca.crt") },
        encryption: { file: join(process.cwd(), "ring.key") },
      },
    });
  });

  test("sentinels and nodes of a cluster have the ports of their kind", () => {
    expect(
      sourceOf(
        "{sentinel: {master: ring, nodes: [a, 'b:1', '[::1]:2'], password: $env(PASSWORD)}, username: u, encryptionKey: $env(KEY)}",
      ),
    ).toMatchObject({
      redis: {
        credentials: { username: "u", password: undefined },
        place: {
          kind: "sentinel",
          master: "ring",
          sentinels: [
            { host: "a", port: 26_379 },
            { host: "b", port: 1 },
            { host: "::1", port: 2 },
          ],
          credentials: { username: undefined, password: "hidden-password" },
        },
      },
    });
    expect(sourceOf("{cluster: [a], encryptionKey: $env(KEY)}")).toMatchObject({
      redis: { place: { kind: "cluster", nodes: [{ host: "a", port: 6379 }] } },
    });
  });

  const ENCRYPTION =
    "expected 32 bytes in base64, such as `openssl rand -base64 32` prints, or in hex; of several, with spaces or lines between, the first encrypts";
  const URL =
    'expected a URL such as "redis://127.0.0.1:6379", "rediss://redis.internal:6380/2" or "unix:/run/redis.sock"';

  test.each([
    [`"${KEY}"`],
    [`"${Buffer.from(KEY, "base64").toString("hex")}"`],
    [`"${KEY} ${Buffer.alloc(32, 8).toString("base64url")}"`],
  ])("encryptionKey: %s", (key) => {
    expect(sourceOf(`{url: redis://a, encryptionKey: ${key}}`)).toMatchObject({ kind: "redis" });
  });

  test.each([
    ["too-short", "short"],
    ["31 bytes", Buffer.alloc(31).toString("base64")],
    ["33 bytes", Buffer.alloc(33).toString("base64")],
    ["words", "correct horse battery staple"],
    ["a second one that is none", `${KEY} nonsense`],
  ])("an encryptionKey is refused without being told: %s", (_, key) => {
    const refusal = refusalOf(`redis: {url: redis://a, encryptionKey: "${key}"}`);
    expect(refusal).toBe(`sidecar.yaml:4:44 issuer.keys.redis.encryptionKey: ${ENCRYPTION}`);
  });

  test.each([
    [
      "{encryptionKey: $env(KEY)}",
      "12 issuer.keys.redis: expected one of the keys url, sentinel and cluster",
    ],
    [
      "{url: redis://a, cluster: [b], encryptionKey: $env(KEY)}",
      "12 issuer.keys.redis: expected one of the keys url, sentinel and cluster",
    ],
    [
      "{url: redis://a}",
      "12 issuer.keys.redis: expected one of the keys encryptionKey and encryptionKeyFile: private keys are not stored in the clear",
    ],
    [
      "{url: redis://a, encryptionKey: $env(KEY), encryptionKeyFile: b}",
      "12 issuer.keys.redis: expected one of the keys encryptionKey and encryptionKeyFile: private keys are not stored in the clear",
    ],
    ["{url: http://a, encryptionKey: $env(KEY)}", `18 issuer.keys.redis.url: ${URL}`],
    ["{url: redis://a/b, encryptionKey: $env(KEY)}", `18 issuer.keys.redis.url: ${URL}`],
    ["{url: redis://a?b, encryptionKey: $env(KEY)}", `18 issuer.keys.redis.url: ${URL}`],
    [
      "{url: redis://u:p@a, encryptionKey: $env(KEY)}",
      "18 issuer.keys.redis.url: expected a URL without user name and password; they have keys of their own beside it",
    ],
    [
      "{url: redis://a, tls: {}, encryptionKey: $env(KEY)}",
      "34 issuer.keys.redis.tls: has no effect: the URL does not begin with rediss:",
    ],
    [
      "{url: rediss://a, tls: {cert: a}, encryptionKey: $env(KEY)}",
      "42 issuer.keys.redis.tls.cert: needs the key key: its private key",
    ],
    ["{cluster: [], encryptionKey: $env(KEY)}", "22 issuer.keys.redis.cluster: expected at least one"],
    [
      "{cluster: ['a:0'], encryptionKey: $env(KEY)}",
      '23 issuer.keys.redis.cluster[0]: expected a host and a port such as "redis-1.internal:6379"',
    ],
    [
      "{url: rediss://a, tls: {ca: a, dangerouslySkipVerification: true}, encryptionKey: $env(KEY)}",
      "40 issuer.keys.redis.tls.ca: has no effect: dangerouslySkipVerification takes any certificate",
    ],
    [
      "{url: redis://a, clockSkew: 4s, encryptionKey: $env(KEY)}",
      "40 issuer.keys.redis.clockSkew: expected at least 5 s: over a network clocks cannot be compared better",
    ],
    [
      "{url: redis://a, pasword: b, encryptionKey: $env(KEY)}",
      "29 issuer.keys.redis.pasword: unknown key `pasword`; did you mean `password`?",
    ],
  ])("%s is refused", (redis, problem) => {
    expect(refusalOf(`redis: ${redis}`)).toBe(`sidecar.yaml:4:${problem}`);
  });

  test("its clocks belong to the time that a new key waits", () => {
    expect(
      refusalOf(
        "rotateEvery: 10m\n    overlap: 5m\n    redis: {url: redis://a, encryptionKey: $env(KEY), clockSkew: 5m}",
      ),
    ).toBe(
      "sidecar.yaml:4:18 issuer.keys.rotateEvery: expected at least 960 s, which is overlap and a minute and twice clockSkew: a key cannot be replaced before its successor has been published for that long",
    );
  });

  test("takes no passphrase: it has a key", () => {
    expect(refusalOf("passphrase: a\n    redis: {url: redis://a, encryptionKey: $env(KEY)}")).toBe(
      "sidecar.yaml:4:17 issuer.keys.passphrase: not for redis: its encryptionKey encrypts the ring",
    );
  });

  test("warns of certificates that nobody checks, and of many keys at once", () => {
    const text = `${UPSTREAM}issuer: {keys: {rotateEvery: 10m, overlap: 5m, redis: {url: rediss://a, tls: {dangerouslySkipVerification: true}, encryptionKey: "${KEY}"}}}\n`;
    const { warnings } = parseConfig(text, { file: "sidecar.yaml", env: {} });
    expect(warnings.map(({ key, message }) => `${key}: ${message}`)).toEqual([
      expect.stringMatching(
        /^issuer\.keys\.rotateEvery: about \d+ keys of an algorithm are published at once/,
      ),
      expect.stringMatching(/^issuer\.keys\.redis\.tls\.dangerouslySkipVerification: whoever is on the way/),
    ]);
  });

  test("shows nobody its secrets", () => {
    const { describe: shown } = parse(
      "redis: {url: redis://a, password: $env(PASSWORD), encryptionKey: $env(KEY)}",
    );
    const text = JSON.stringify(shown());
    expect(text).toContain("redis://a");
    expect(text).not.toContain(KEY);
    expect(text).not.toContain("hidden-password");
  });
});
