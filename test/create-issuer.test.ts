import { execFile } from "node:child_process";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from "jose";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import {
  ConfigError,
  type CreateIssuerOptions,
  createIssuer,
  createSidecar,
  type Issuer,
  KeyError,
  type KeyEvent,
  parseConfig,
  type SignJwtOptions,
} from "../src/index.ts";
import { temporaryFolder } from "./support/command-line.ts";
import { storedRingIn } from "./support/stored-ring.ts";

const URL_ = "https://id.example.com";
/** 2026-01-01T00:00:00Z, in seconds. */
const NOW = 1_767_225_600;

/** An issuer that is closed after the test. Without `keys` they are in memory. */
async function issuerWith(options: Partial<CreateIssuerOptions> = {}): Promise<Issuer> {
  const issuer = await createIssuer({
    url: URL_,
    keys: { ephemeral: true },
    now: () => NOW * 1000,
    ...options,
  });
  onTestFinished(() => issuer.close());
  return issuer;
}

function verify(issuer: Issuer, token: string, at = NOW) {
  const keys = createLocalJWKSet(issuer.jwks() as unknown as JSONWebKeySet);
  return jwtVerify(token, keys, { currentDate: new Date(at * 1000) });
}

const pem = (key: KeyObject, passphrase?: string) =>
  key.export({
    type: "pkcs8",
    format: "pem",
    ...(passphrase !== undefined && { cipher: "aes-256-cbc", passphrase }),
  }) as string;
const ed25519 = () => generateKeyPairSync("ed25519").privateKey;
const ec = () => generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;

/** The newest ring in a directory, as it is stored. */
function ringIn(directory: string): Record<string, unknown>[] {
  return storedRingIn(directory).keys;
}

describe("the keys come from", () => {
  test("a directory, where they are made, and found again", async () => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "keys");
    const first = await issuerWith({ keys: { directory } });
    const token = await first.signJwt({ subject: "me" });
    const second = await issuerWith({ keys: { directory } });
    expect(second.jwks()).toEqual(first.jwks());
    expect((await verify(second, token)).payload.sub).toBe("me");
  });

  test("./keys where nothing is said, from the working directory", async () => {
    using folder = temporaryFolder();
    const before = process.cwd();
    process.chdir(folder.path);
    try {
      const issuer = await createIssuer({ url: URL_ });
      expect(ringIn(join(folder.path, "keys"))).toMatchObject([{ kid: issuer.jwks().keys[0]?.kid }]);
      await issuer.close();
    } finally {
      process.chdir(before);
    }
  });

  test("files, which are read again when they change", async () => {
    using folder = temporaryFolder();
    const files = ["a.pem", "b.pem"].map((name) => join(folder.path, name));
    for (const file of files) writeFileSync(file, pem(ed25519()), { mode: 0o600 });
    const events: KeyEvent[] = [];
    const issuer = await issuerWith({ keys: { files }, onKeyEvent: (event) => events.push(event) });
    const [first, second] = issuer.jwks().keys;
    expect(decodeProtectedHeader(await issuer.signJwt({ subject: "me" })).kid).toBe(first?.kid);

    const contents = files.map((file) => readFileSync(file));
    for (const [index, file] of files.toReversed().entries()) writeFileSync(file, contents[index] ?? "");
    await issuer.refreshKeys();

    expect(issuer.jwks().keys.map(({ kid }) => kid)).toEqual([second?.kid, first?.kid]);
    expect(decodeProtectedHeader(await issuer.signJwt({ subject: "me" })).kid).toBe(second?.kid);
    expect(events).toContainEqual(
      expect.objectContaining({ kind: "key", kid: second?.kid, state: "active" }),
    );
  });

  test.each([
    ["in PEM", () => pem(ed25519()), undefined],
    ["in PEM on one line", () => pem(ed25519()).replaceAll("\n", "\\n"), undefined],
    ["in encrypted PEM", () => pem(ed25519(), "open sesame"), "open sesame"],
    ["as a JWK", () => JSON.stringify(ed25519().export({ format: "jwk" })), undefined],
  ])("a variable, %s", async (_what, make, passphrase) => {
    const keys = { env: "KEY", ...(passphrase !== undefined && { passphrase }) };
    const issuer = await issuerWith({ keys, env: { KEY: make() } });
    expect((await verify(issuer, await issuer.signJwt({ subject: "me" }))).payload.sub).toBe("me");
  });

  test("memory, other ones each time", async () => {
    const [first, second] = [await issuerWith(), await issuerWith()];
    expect(first.jwks().keys[0]?.kid).not.toBe(second.jwks().keys[0]?.kid);
  });

  test("nowhere where a file or variable is missing: KeyError", async () => {
    await expect(issuerWith({ keys: { files: ["/nonexistent/a.pem"] } })).rejects.toThrow(KeyError);
    await expect(issuerWith({ keys: { env: "KEY" }, env: {} })).rejects.toMatchObject({
      code: "ERR_KEY",
      message: "the environment variable KEY: not set; expected a private key in PEM or as a JWK",
    });
    await expect(
      issuerWith({ algorithm: "RS256", keys: { env: "KEY" }, env: { KEY: pem(ec()) } }),
    ).rejects.toThrow("RS256 needs an RSA key, and this is an EC key on P-256");
  });
});

describe("signJwt", () => {
  test("signs what it is told, for an hour, without an audience", async () => {
    const issuer = await issuerWith();
    const { payload, protectedHeader } = await verify(issuer, await issuer.signJwt({ subject: "me" }));
    expect(payload).toEqual({ iss: URL_, sub: "me", iat: NOW, exp: NOW + 3600 });
    expect(protectedHeader).toEqual({ alg: "EdDSA", kid: issuer.jwks().keys[0]?.kid, typ: "JWT" });
  });

  test.each<[Partial<SignJwtOptions>, Record<string, unknown>]>([
    [{ audience: "a" }, { aud: "a" }],
    [{ audience: ["a", "b"] }, { aud: ["a", "b"] }],
    [{ audience: ["a"] }, { aud: ["a"] }],
    [{ audience: undefined }, {}],
    [{ expiresIn: 300 }, { exp: NOW + 300 }],
    [{ expiresIn: "5m" }, { exp: NOW + 300 }],
    [{ expiresIn: "2 hours" }, { exp: NOW + 7200 }],
    [{ expiresIn: undefined }, {}],
    [{ notBefore: true }, { nbf: NOW }],
    [{ notBefore: false, tokenId: false }, {}],
    [{ tokenId: true }, { jti: expect.stringMatching(/^[0-9a-f-]{36}$/) }],
    [{ additionalClaims: {} }, {}],
    [{ additionalClaims: { iss: "other" } }, { iss: "other" }],
    [
      { additionalClaims: { n: 1.5, yes: true, nothing: null, list: ["a", { b: null }], text: "é" } },
      { n: 1.5, yes: true, nothing: null, list: ["a", { b: null }], text: "é" },
    ],
    [{ additionalClaims: { constructor: "a", toString: "b" } }, { constructor: "a", toString: "b" }],
  ])("%j shows in the token", async (options, claims) => {
    const issuer = await issuerWith();
    const { payload } = await verify(issuer, await issuer.signJwt({ subject: "me", ...options }));
    expect(payload).toEqual({ iss: URL_, sub: "me", iat: NOW, exp: NOW + 3600, ...claims });
  });

  test("takes the defaults of the issuer", async () => {
    const issuer = await issuerWith({ algorithm: "ES256", expiresIn: "10m" });
    const { payload, protectedHeader } = await verify(issuer, await issuer.signJwt({ subject: "me" }));
    expect(payload.exp).toBe(NOW + 600);
    expect(protectedHeader.alg).toBe("ES256");
  });

  test("signs with any of algorithms, each with a key of its own", async () => {
    const issuer = await issuerWith({ algorithms: ["ES256", "ES384", "EdDSA"] });
    for (const algorithm of ["EdDSA", "ES256", "ES384"] as const) {
      const { protectedHeader } = await verify(issuer, await issuer.signJwt({ subject: "me", algorithm }));
      expect(protectedHeader.alg).toBe(algorithm);
    }
    expect(issuer.jwks().keys.map(({ alg }) => alg)).toEqual(["EdDSA", "ES256", "ES384"]);
    expect(issuer.metadata().id_token_signing_alg_values_supported).toEqual(["EdDSA", "ES256", "ES384"]);
  });

  test("does not sign with an algorithm that has no key", async () => {
    const issuer = await issuerWith();
    await expect(issuer.signJwt({ subject: "me", algorithm: "RS256" })).rejects.toMatchObject({
      code: "ERR_KEY",
      message: "the issuer: there is no key that signs with RS256",
    });
  });

  test("makes a new token each time", async () => {
    let now = NOW;
    const issuer = await issuerWith({ now: () => now * 1000 });
    const first = await issuer.signJwt({ subject: "me" });
    now += 1;
    expect(decodeJwt(await issuer.signJwt({ subject: "me" })).iat).toBe(Number(decodeJwt(first).iat) + 1);
  });

  const DURATION = 'expiresIn: expected a duration such as "5m" or a number of seconds';
  const CLAIMS = "additionalClaims: expected a map of JSON values";
  const circle: Record<string, unknown> = {};
  circle.circle = circle;

  test.each<[string, object, string]>([
    ["no subject", { subject: undefined }, "subject: expected a string that is not empty"],
    ["an empty subject", { subject: "" }, "subject: expected a string that is not empty"],
    ["a subject that is a number", { subject: 5 }, "subject: expected a string that is not empty"],
    ["an empty audience", { audience: "" }, "audience: expected a string that is not empty"],
    ["no audience in the list", { audience: [] }, "audience: expected at least one"],
    [
      "an empty audience in the list",
      { audience: ["a", ""] },
      "audience: expected a string that is not empty",
    ],
    ["an audience that is a map", { audience: {} }, "audience: expected a string that is not empty"],
    ["an audience that is null", { audience: null }, "audience: expected a string that is not empty"],
    ["no lifetime", { expiresIn: 0 }, DURATION],
    ["a negative lifetime", { expiresIn: -5 }, DURATION],
    ["a lifetime that is no number", { expiresIn: Number.NaN }, DURATION],
    ["a lifetime without end", { expiresIn: Number.POSITIVE_INFINITY }, DURATION],
    ["half a second", { expiresIn: 0.5 }, DURATION],
    ["a lifetime in words", { expiresIn: "soon" }, DURATION],
    ["a lifetime without its unit", { expiresIn: "300" }, DURATION],
    ["sub as a claim", { additionalClaims: { sub: "x" } }, "additionalClaims.sub cannot be set; use subject"],
    [
      "aud as a claim",
      { additionalClaims: { aud: "x" } },
      "additionalClaims.aud cannot be set; use audience",
    ],
    ["exp as a claim", { additionalClaims: { exp: 1 } }, "additionalClaims.exp cannot be set; use expiresIn"],
    [
      "iat as a claim",
      { additionalClaims: { iat: 1 } },
      "additionalClaims.iat cannot be set; it is the time of signing",
    ],
    ["nbf as a claim", { additionalClaims: { nbf: 1 } }, "additionalClaims.nbf cannot be set; use notBefore"],
    ["jti as a claim", { additionalClaims: { jti: "x" } }, "additionalClaims.jti cannot be set; use tokenId"],
    ["claims that are a list", { additionalClaims: ["a"] }, CLAIMS],
    ["claims that are a text", { additionalClaims: "a=b" }, CLAIMS],
    ["claims with a circle", { additionalClaims: circle }, CLAIMS],
    ["claims with a bigint", { additionalClaims: { n: 1n } }, CLAIMS],
    ["claims that toJSON makes a text", { additionalClaims: { toJSON: () => "x" } }, CLAIMS],
    ["claims that toJSON makes nothing", { additionalClaims: { toJSON: () => undefined } }, CLAIMS],
    [
      "an unknown algorithm",
      { algorithm: "HS256" },
      "algorithm: expected one of EdDSA, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512",
    ],
    [
      "no algorithm at all",
      { algorithm: "none" },
      "algorithm: expected one of EdDSA, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512",
    ],
  ])("refuses %s", async (_what, options, message) => {
    const issuer = await issuerWith();
    await expect(issuer.signJwt({ subject: "me", ...options } as SignJwtOptions)).rejects.toMatchObject({
      name: "CountersignError",
      code: "ERR_TOKEN_REQUEST",
      message,
    });
  });

  test.each<[string, () => object]>([
    ["toJSON that adds aud", () => ({ toJSON: () => ({ aud: "everybody" }) })],
    ["toJSON", () => ({ toJSON: () => ({ sub: "root", exp: 9e9 }) })],
    ["toJSON of its prototype", () => Object.create({ toJSON: () => ({ sub: "root", exp: 9e9 }) })],
    ["a prototype", () => Object.create({ sub: "root", exp: 9e9 })],
    [
      "a getter that changes its mind",
      () => {
        let reads = 0;
        return {
          get role() {
            reads += 1;
            return reads === 1 ? "reader" : "admin";
          },
        };
      },
    ],
    ["__proto__ in JSON", () => JSON.parse('{"__proto__": {"sub": "root"}, "a": 1}')],
  ])("%s cannot bring a reserved claim in", async (_what, claims) => {
    const issuer = await issuerWith();
    const token = await issuer
      .signJwt({ subject: "me", additionalClaims: claims() as never })
      .catch((error: { code: string }) => {
        expect(error.code).toBe("ERR_TOKEN_REQUEST");
        return undefined;
      });
    if (token === undefined) return;
    const { payload } = await verify(issuer, token);
    expect(payload).toMatchObject({ iss: URL_, sub: "me", exp: NOW + 3600 });
    expect(payload).not.toHaveProperty("aud");
    expect(payload.role).not.toBe("admin");
  });

  test("takes its claims as JSON has them, and as they were when it was called", async () => {
    const issuer = await issuerWith({ algorithm: "ES384" });
    const claims = { at: new Date(0), gone: undefined, list: [1, undefined], inner: { a: 1 } };
    const signing = issuer.signJwt({ subject: "me", additionalClaims: claims as never });
    claims.inner.a = 2;
    const { payload } = await verify(issuer, await signing);
    expect(payload).toMatchObject({ at: "1970-01-01T00:00:00.000Z", list: [1, null], inner: { a: 1 } });
    expect(payload).not.toHaveProperty("gone");
  });
});

describe("a token for longer than configured", () => {
  const keysIn = (folder: { path: string }) => join(folder.path, "keys");

  test("has its key kept for as long, which is on disk before it is signed", async () => {
    using folder = temporaryFolder();
    const directory = keysIn(folder);
    const issuer = await issuerWith({ expiresIn: "1h", keys: { directory } });
    expect(ringIn(directory)).toMatchObject([{ longestLifetimeSeconds: 3600 }]);
    await issuer.signJwt({ subject: "me", expiresIn: "1h" });
    expect(ringIn(directory)).toMatchObject([{ longestLifetimeSeconds: 3600 }]);
    await issuer.signJwt({ subject: "me", expiresIn: "90d" });
    expect(ringIn(directory)).toMatchObject([{ longestLifetimeSeconds: 7_776_000 }]);
  });

  test("verifies to its end, however often its key was rotated", async () => {
    using folder = temporaryFolder();
    let now = NOW;
    const issuer = await issuerWith({
      keys: { directory: keysIn(folder), rotateEvery: "7d", overlap: "1h" },
      now: () => now * 1000,
    });
    const long = await issuer.signJwt({ subject: "me", expiresIn: "60d" });
    const { kid } = decodeProtectedHeader(long);
    for (let day = 1; day < 60; day++) {
      now = NOW + day * 86_400;
      await issuer.refreshKeys();
    }
    expect(decodeProtectedHeader(await issuer.signJwt({ subject: "me" })).kid).not.toBe(kid);
    expect((await verify(issuer, long, now)).payload.sub).toBe("me");
    now += 30 * 86_400;
    await issuer.refreshKeys();
    expect(issuer.jwks().keys.map((key) => key.kid)).not.toContain(kid);
  });

  test("is not signed where that cannot be stored", async () => {
    using folder = temporaryFolder();
    const issuer = await issuerWith({ keys: { directory: keysIn(folder) } });
    rmSync(keysIn(folder), { recursive: true });
    await expect(issuer.signJwt({ subject: "me", expiresIn: "90d" })).rejects.toMatchObject({
      code: "ERR_KEY",
      message: `${keysIn(folder)}: the key ring is gone; the keys in memory go on. Put it back, or restart to use what is there`,
    });
    // Others go on.
    expect(decodeJwt(await issuer.signJwt({ subject: "me" })).sub).toBe("me");
  });
});

describe("getIdToken", () => {
  const identity = { account: "a", project: "p", deployment: "d", environment_type: "preview" };

  test("says which deployment this is, with RS256 for ten hours", async () => {
    const issuer = await issuerWith({ identity });
    const { payload, protectedHeader } = await verify(issuer, await issuer.getIdToken({ audience: "you" }));
    expect(payload).toEqual({
      ...{ iss: URL_, sub: "a/p/d", aud: "you", iat: NOW, exp: NOW + 36_000 },
      ...identity,
    });
    expect(protectedHeader.alg).toBe("RS256");
    expect(issuer.metadata().claims_supported).toEqual([
      ...["iss", "sub", "aud", "iat", "exp", "nbf", "jti"],
      ...Object.keys(identity),
    ]);
  });

  test("needs no audience, and none is in the token", async () => {
    const issuer = await issuerWith({ identity: { subject: "me", algorithm: "ES256" } });
    for (const token of [await issuer.getIdToken(), await issuer.getIdToken({})])
      expect(decodeJwt(token)).toEqual({ iss: URL_, sub: "me", iat: NOW, exp: NOW + 36_000 });
  });

  test("gives the same token while half its life is left, and a new one afterwards", async () => {
    let now = NOW;
    const issuer = await issuerWith({
      identity: { ...identity, algorithm: "ES256", expiresIn: 1000 },
      now: () => now * 1000,
    });
    const first = await issuer.getIdToken({ audience: "a" });
    now += 374;
    expect(await issuer.getIdToken({ audience: "a" })).toBe(first);
    expect(await issuer.getIdToken({ audience: "b" })).not.toBe(first);
    now = NOW + 500;
    expect(decodeJwt(await issuer.getIdToken({ audience: "a" })).iat).toBe(now);
  });

  test("is for the audiences that are allowed alone", async () => {
    const issuer = await issuerWith({ identity: { ...identity, algorithm: "ES256", audiences: ["a", "b"] } });
    expect(decodeJwt(await issuer.getIdToken({ audience: "b" })).aud).toBe("b");
    const code = "ERR_AUDIENCE_NOT_ALLOWED";
    await expect(issuer.getIdToken({ audience: "c" })).rejects.toMatchObject({
      code,
      message: "this audience is not one of identity.audiences",
    });
    await expect(issuer.getIdToken()).rejects.toMatchObject({
      code,
      message: "name an audience: identity.audiences says which there may be",
    });
    await expect(issuer.getIdToken({ audience: "" })).rejects.toMatchObject({
      code,
      message: "the audience is empty",
    });
  });

  test("is refused without identity", async () => {
    const issuer = await issuerWith();
    await expect(issuer.getIdToken({ audience: "a" })).rejects.toMatchObject({
      code: "ERR_IDENTITY_UNKNOWN",
      message: "no `identity` is configured for this issuer",
    });
  });
});

describe("the documents", () => {
  test("jwks() has the public members alone, and cannot be changed", async () => {
    const issuer = await issuerWith({ algorithms: ["ES256"] });
    expect(issuer.jwks().keys.map((key) => Object.keys(key).toSorted())).toEqual([
      ["alg", "crv", "kid", "kty", "use", "x"],
      ["alg", "crv", "kid", "kty", "use", "x", "y"],
    ]);
    expect(Object.isFrozen(issuer.jwks())).toBe(true);
    expect(Object.isFrozen(issuer.jwks().keys)).toBe(true);
    expect(issuer.jwks().keys.every(Object.isFrozen)).toBe(true);
  });

  test("metadata() names the issuer and where its keys are", async () => {
    const issuer = await issuerWith({ url: "https://id.example.com/tenants/a" });
    expect(issuer.url).toBe("https://id.example.com/tenants/a");
    expect(issuer.metadata()).toEqual({
      issuer: "https://id.example.com/tenants/a",
      jwks_uri: "https://id.example.com/tenants/a/.well-known/jwks.json",
      response_types_supported: ["id_token"],
      subject_types_supported: ["public"],
      id_token_signing_alg_values_supported: ["EdDSA"],
      claims_supported: ["iss", "sub", "aud", "iat", "exp", "nbf", "jti"],
    });
  });

  test("are the same objects while nothing changes, and others after a rotation", async () => {
    using folder = temporaryFolder();
    let now = NOW;
    const issuer = await issuerWith({
      keys: { directory: join(folder.path, "keys"), rotateEvery: "2d", overlap: "1h" },
      now: () => now * 1000,
    });
    const before = [issuer.jwks(), issuer.metadata()];
    now += 3600;
    await issuer.refreshKeys();
    await issuer.signJwt({ subject: "me" });
    expect([issuer.jwks() === before[0], issuer.metadata() === before[1]]).toEqual([true, true]);

    now = NOW + 2 * 86_400 - 3660;
    await issuer.refreshKeys();
    expect(issuer.jwks()).not.toBe(before[0]);
    expect(issuer.jwks().keys).toHaveLength(2);
    expect(issuer.metadata()).toEqual(before[1]);
  });

  test("jwksMaxAge is for whoever serves them", async () => {
    expect((await issuerWith()).jwksMaxAgeSeconds).toBe(300);
    expect((await issuerWith({ jwksMaxAge: "1h" })).jwksMaxAgeSeconds).toBe(3600);
  });
});

describe("options that make no sense are a ConfigError with every problem, each with its key", () => {
  test.each<[object, readonly (readonly [key: string, message: string])[]]>([
    [{ url: undefined }, [["url", 'is missing; expected a URL such as "https://api.example.com"']]],
    [{ url: "id.example.com" }, [["url", 'expected a URL such as "https://api.example.com"']]],
    [{ url: "https://a/" }, [["url", "expected a URL without a slash at its end"]]],
    [{ expiresIn: "soon" }, [["expiresIn", 'expected a duration such as "5m" or a number of seconds']]],
    [
      { algorithms: ["ES265"] },
      [
        [
          "algorithms[0]",
          "expected one of EdDSA, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512; did you mean ES256?",
        ],
      ],
    ],
    [{ algorithms: "ES256" }, [["algorithms", "expected a list of algorithms"]]],
    [
      { keys: { directory: "a", env: "B" } },
      [["keys", "expected only one of the keys directory, redis, files, env, pkcs11 and ephemeral"]],
    ],
    [
      { keys: { ephemeral: true, rotateEvery: "1d" } },
      [["keys.rotateEvery", "only for a directory and redis: keys from ephemeral are not rotated here"]],
    ],
    [
      { keys: { rotateEvery: "1d" } },
      [
        [
          "keys.rotateEvery",
          "expected at least 100860 s, which is overlap and a minute: a key cannot be replaced before its successor has been published for that long",
        ],
      ],
    ],
    [
      { identity: {} },
      [
        [
          "identity",
          "expected at least one of the keys subject, account, project and deployment: whose token is it?",
        ],
      ],
    ],
    [
      { lifetimeSeconds: 5 },
      [
        [
          "lifetimeSeconds",
          "unknown key `lifetimeSeconds`; the keys here are url, algorithms, algorithm, expiresIn, jwksMaxAge, keys, identity",
        ],
      ],
    ],
    [
      { url: 5, algoritm: "ES256" },
      [
        ["url", 'expected a URL such as "https://api.example.com"'],
        ["algoritm", "unknown key `algoritm`; did you mean `algorithm`?"],
      ],
    ],
  ])("%j", async (options, problems) => {
    const error: unknown = await createIssuer({ url: URL_, ...options } as CreateIssuerOptions).catch(
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(ConfigError);
    const { code, message, problems: found } = error as ConfigError;
    expect(code).toBe("ERR_CONFIG");
    expect(found.map(({ key, message: text }) => [key, text])).toEqual(problems);
    expect(message).toBe(problems.map(([key, text]) => `createIssuer: ${key}: ${text}`).join("\n"));
  });
});

describe("the keys as time goes by", () => {
  test("are told of: a successor, its first signature, the old one's end", async () => {
    using folder = temporaryFolder();
    let now = NOW;
    const events: KeyEvent[] = [];
    const issuer = await issuerWith({
      keys: { directory: join(folder.path, "keys"), rotateEvery: "2d", overlap: "1h" },
      now: () => now * 1000,
      onKeyEvent: (event) => events.push(event),
    });
    const told = async (seconds: number) => {
      now += seconds;
      await issuer.refreshKeys();
      return events.splice(0).map((event) => (event.kind === "key" ? [event.kid, event.state] : event));
    };
    const old = issuer.jwks().keys[0]?.kid;
    expect(await told(60)).toEqual([]);
    const [[successor] = []] = (await told(2 * 86_400)) as string[][];
    expect(successor).not.toBe(old);
    expect(await told(3660)).toEqual([
      [old, "retiring"],
      [successor, "active"],
    ]);
    expect(await told(3600 + 7500)).toEqual([[old, "gone"]]);
  });

  test("are watched in their directory: another process's change is seen", async () => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "keys");
    const issuer = await issuerWith({ keys: { directory } });
    const second = await issuerWith({ keys: { directory }, algorithms: ["ES256"] });
    await vi.waitFor(
      () =>
        expect(issuer.jwks().keys.map(({ kid }) => kid)).toEqual(second.jwks().keys.map(({ kid }) => kid)),
      { timeout: 5000, interval: 25 },
    );
    expect(issuer.jwks().keys).toHaveLength(2);
  });

  /** Something that has keys in a directory, and can be closed. */
  type Opened = Pick<Issuer, "jwks" | "signJwt" | "close">;

  test.each<[string, (directory: string, onKeyEvent: () => void) => Promise<Opened>]>([
    ["an issuer's", (directory, onKeyEvent) => createIssuer({ url: URL_, keys: { directory }, onKeyEvent })],
    [
      "a sidecar's",
      async (directory, onKeyEvent) => {
        const yaml = `listen: 127.0.0.1:0\nadmin: false\nupstream: http://127.0.0.1:9\nissuer: {keys: {directory: ${directory}}}\n`;
        const sidecar = createSidecar(parseConfig(yaml, { file: "sidecar.yaml" }).config, { onKeyEvent });
        const { issuer } = await sidecar.start();
        return { ...issuer, close: () => sidecar.close() };
      },
    ],
  ])("%s are watched no more after close(), and go on to sign", async (_what, open) => {
    using folder = temporaryFolder();
    const directory = join(folder.path, "keys");
    const onKeyEvent = vi.fn();
    const closed = await open(directory, onKeyEvent);
    await closed.close();
    await closed.close();

    // Another one that is open has seen two changes: the closed one would have seen the first.
    const witness = await issuerWith({ keys: { directory } });
    for (const [index, algorithm] of (["ES256", "ES384"] as const).entries()) {
      await issuerWith({ keys: { directory }, algorithms: [algorithm] });
      await vi.waitFor(() => expect(witness.jwks().keys).toHaveLength(index + 2), {
        timeout: 5000,
        interval: 25,
      });
    }
    expect(closed.jwks().keys).toHaveLength(1);
    expect(onKeyEvent).not.toHaveBeenCalled();
    expect(decodeJwt(await closed.signJwt({ subject: "me" })).sub).toBe("me");
  });
});

test("a script that opens an issuer and signs ends by itself, closed or not", async () => {
  using folder = temporaryFolder();
  const library = fileURLToPath(new URL("../dist/index.js", import.meta.url));
  writeFileSync(
    join(folder.path, "sign.mjs"),
    `import { createIssuer } from ${JSON.stringify(library)};
const issuer = await createIssuer({ url: "https://id.example.com" });
console.log(await issuer.signJwt({ subject: "me", audience: "you" }));
`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, ["sign.mjs"], {
    cwd: folder.path,
    timeout: 10_000,
  });
  expect(decodeJwt(stdout.trim())).toMatchObject({ iss: "https://id.example.com", sub: "me", aud: "you" });
  expect(existsSync(join(folder.path, "keys", "ring.1.json"))).toBe(true);
});
