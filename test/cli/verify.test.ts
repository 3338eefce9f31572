import { type ChildProcess, spawn } from "node:child_process";
import { createPrivateKey } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { decodeJwt, decodeProtectedHeader, exportSPKI, importJWK, SignJWT } from "jose";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { createIssuer, type Issuer } from "../../src/index.ts";
import { startBackend } from "../support/backend.ts";
import { EXECUTABLE, temporaryFolder } from "../support/command-line.ts";
import { startSidecar, type TestSidecar } from "../support/sidecar.ts";
import { runHere } from "./in-process.ts";

const HINT = "(--help shows how it is used)\n";
const ISSUER = "https://id.example.com/__issuer";

/** A folder whose keys are those of `issuer`, and which is configured as it is. */
const folder = temporaryFolder();
let issuer: Issuer;
let token: string;

beforeAll(async () => {
  const write = (name: string, content: string) => writeFileSync(join(folder.path, name), content);
  const config = `upstream: http://127.0.0.1:9\nissuer: {url: "${ISSUER}"}\n`;
  write("sidecar.yaml", config);
  issuer = await createIssuer({ url: ISSUER, keys: { directory: join(folder.path, "keys") } });
  write("jwks.json", JSON.stringify(issuer.jwks()));
  token = await issuer.signJwt({ subject: "me", audience: "orders", additionalClaims: { role: "admin" } });
});
afterAll(async () => {
  await issuer.close();
  folder[Symbol.dispose]();
});
afterEach(() => {
  vi.useRealTimers();
});

const verify = (...arguments_: string[]) => runHere(["verify", ...arguments_], { cwd: folder.path });

/** What is said of a token that is refused. */
async function refusalOf(...arguments_: string[]): Promise<string> {
  const { code, stdout, stderr } = await verify(...arguments_);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(/^countersign: [^\n]+\n$/);
  return stderr.slice("countersign: ".length, -1).replace(/^the token is refused: /, "");
}

/** A token under the issuer's own key, which the issuer itself would not sign. */
async function signed(
  claims: Record<string, unknown>,
  header: Record<string, unknown> = {},
): Promise<string> {
  const [name = ""] = readdirSync(join(folder.path, "keys"));
  const { keys } = JSON.parse(readFileSync(join(folder.path, "keys", name), "utf8"));
  return await new SignJWT(claims)
    .setProtectedHeader({ alg: "EdDSA", kid: keys[0].kid, ...header })
    .sign(createPrivateKey(keys[0].privateKey));
}

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
const inAnHour = () => Math.floor(Date.now() / 1000) + 3600;

describe("a valid token", () => {
  test("is printed with its header and claims, and for how long it is valid", async () => {
    const { code, stdout, stderr } = await verify(token);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ header: decodeProtectedHeader(token), claims: decodeJwt(token) });
    expect(stderr).toBe("valid for 60 minutes more\n");
  });

  test("is told to a program with --json", async () => {
    const { code, stdout, stderr } = await verify("--json", token);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(JSON.parse(stdout)).toEqual({
      valid: true,
      header: decodeProtectedHeader(token),
      claims: decodeJwt(token),
    });
  });

  test.each([
    ["with the prefix as one argument", (jwt: string) => `Bearer ${jwt}`],
    ["with another prefix", (jwt: string) => `Token  ${jwt}`],
    ["as a whole field line", (jwt: string) => `Authorization: Bearer ${jwt}\r\n`],
    ["with a line end", (jwt: string) => `${jwt}\n`],
  ])("is taken %s", async (_what, dress) => {
    expect(await verify(dress(token))).toMatchObject({ code: 0 });
  });

  test("is for the audience that is asked for, also where it has several", async () => {
    expect(await verify(token, "--audience", "orders")).toMatchObject({ code: 0 });
    const several = await issuer.signJwt({ subject: "me", audience: ["billing", "orders"] });
    expect(await verify(several, "--audience", "orders")).toMatchObject({ code: 0 });
  });

  test("is of the issuer that is asked for", async () => {
    const other = await issuer.signJwt({ subject: "me", additionalClaims: { iss: "other" } });
    expect(await verify(other, "-c", "sidecar.yaml", "--issuer", "other")).toMatchObject({ code: 0 });
  });
});

describe("a token is refused", () => {
  test("where it expired, which it is said how long ago", async () => {
    vi.setSystemTime(Date.now() + 3_600_000 + 7_200_000);
    expect(await refusalOf(token)).toBe("it expired 2 hours ago");
  });

  test("where it is not valid yet", async () => {
    const later = Math.floor(Date.now() / 1000) + 600;
    const early = await signed({ iss: ISSUER, nbf: later, exp: inAnHour() });
    expect(await refusalOf(early)).toBe(`its claim nbf is ${later}, which does not hold now`);
  });

  test("where it is for another audience, or for none", async () => {
    expect(await refusalOf(token, "--audience", "billing")).toBe(
      'its claim aud is "orders", and "billing" is expected',
    );
    expect(await refusalOf(await issuer.signJwt({ subject: "me" }), "--audience", "billing")).toBe(
      "it has no claim aud",
    );
  });

  test("where it is of another issuer", async () => {
    const other = await issuer.signJwt({ subject: "me", additionalClaims: { iss: "https://evil.example" } });
    expect(await refusalOf(other)).toBe(
      `its claim iss is "https://evil.example", and "${ISSUER}" is expected`,
    );
    expect(await refusalOf(token, "-c", "sidecar.yaml", "--issuer", "https://a.example")).toBe(
      `its claim iss is "${ISSUER}", and "https://a.example" is expected`,
    );
  });

  test("where it never expires", async () => {
    expect(await refusalOf(await signed({ iss: ISSUER }))).toBe("it has no claim exp");
  });

  test.each([
    [
      "its claims were changed",
      (jwt: string) => jwt.replace(/\.[^.]+\./, `.${part({ iss: ISSUER, exp: 9e9 })}.`),
    ],
    [
      "its signature was changed",
      (jwt: string) =>
        jwt.replace(/\.([^.])([^.]+)$/, (_, first, rest) => `.${first === "A" ? "B" : "A"}${rest}`),
    ],
    ["its signature was cut", (jwt: string) => jwt.slice(0, -20)],
  ])("where %s", async (_what, spoil) => {
    expect(await refusalOf(spoil(token))).toBe(
      "its signature is not that of the key; the token was changed, or cut",
    );
  });

  test("where it says that it needs no signature", async () => {
    const none = `${part({ alg: "none" })}.${part({ iss: ISSUER, exp: inAnHour() })}.`;
    expect(await refusalOf(none)).toBe('"alg" (Algorithm) Header Parameter value not allowed');
  });

  test("where it is signed with the public key as a shared secret", async () => {
    const [jwk] = issuer.jwks().keys;
    const publicKey = await importJWK({ ...jwk }, "EdDSA", { extractable: true });
    const forge = (secret: string) =>
      new SignJWT({ iss: ISSUER, exp: inAnHour() })
        .setProtectedHeader({ alg: "HS256", kid: String(jwk?.kid) })
        .sign(Buffer.from(secret));
    for (const secret of [await exportSPKI(publicKey as CryptoKey), JSON.stringify(jwk)])
      expect(await refusalOf(await forge(secret))).toBe(
        '"alg" (Algorithm) Header Parameter value not allowed',
      );
  });

  test("where its key is not published", async () => {
    const stranger = await createIssuer({ url: ISSUER, keys: { ephemeral: true } });
    const jwt = await stranger.signJwt({ subject: "me" });
    const { kid } = decodeProtectedHeader(jwt);
    expect(await refusalOf(jwt)).toBe(
      `the JWK Set has no key for it (kid "${kid}", alg "EdDSA"); it was signed by another issuer, or its key is gone`,
    );
    await stranger.close();
  });

  test.each([
    ["garbage", "Invalid Compact JWS"],
    ["a.b", "Invalid Compact JWS"],
    ["a.b.c", "JWS Protected Header is invalid"],
    ["..", "JWS Protected Header is invalid"],
  ])("where it is none: %s", async (garbage, message) => {
    expect(await refusalOf(garbage)).toContain(message);
  });

  test("and a program is told so with --json", async () => {
    const { code, stdout, stderr } = await verify("--json", token, "--audience", "billing");
    expect({ code, stderr }).toEqual({ code: 1, stderr: "" });
    expect(JSON.parse(stdout)).toEqual({
      valid: false,
      code: "ERR_TOKEN_REFUSED",
      reason: 'its claim aud is "orders", and "billing" is expected',
    });
  });

  test.each(["iss", "aud"])("and what its %s holds cannot steer the terminal", async (claim) => {
    const hostile = "\x1b[2J\x9b31m\x7f\u2028\r\ncountersign: the token is valid";
    const jwt = await signed({ iss: ISSUER, aud: "orders", exp: inAnHour(), [claim]: hostile });
    const said = await refusalOf(jwt, "--audience", "billing");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    expect(said).not.toMatch(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/);
    expect(said).toContain(`its claim ${claim} is `);
  });
});

describe("what a valid token claims cannot steer the terminal", () => {
  test.each([["as text"], ["as JSON"]])("%s", async (form) => {
    const claims = { iss: ISSUER, exp: inAnHour(), note: "\x1b]0;mine\x07\x9b31m\x7f\u2028" };
    const { code, stdout } = await verify(await signed(claims), ...(form === "as JSON" ? ["--json"] : []));
    expect(code).toBe(0);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    expect(stdout).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]/);
    expect(JSON.parse(stdout).claims).toEqual(claims);
  });
});

describe("the keys are", () => {
  test("those of the configuration, where -c or the folder names one", async () => {
    expect(await verify("-c", "sidecar.yaml", token)).toMatchObject({ code: 0 });
    using empty = temporaryFolder();
    expect(await runHere(["verify", token], { cwd: empty.path })).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: there is no ./sidecar.yaml here: name the configuration with -c FILE; countersign init writes a first one\n${HINT}`,
    });
  });

  test("those of a file with --jwks, which says nothing of the issuer", async () => {
    expect(await verify("--jwks", "jwks.json", token)).toMatchObject({ code: 0 });
    const other = await issuer.signJwt({ subject: "me", additionalClaims: { iss: "https://a.example" } });
    expect(await verify("--jwks", "jwks.json", other)).toMatchObject({ code: 0 });
    expect(await refusalOf("--jwks", "jwks.json", "--issuer", ISSUER, other)).toBe(
      `its claim iss is "https://a.example", and "${ISSUER}" is expected`,
    );
  });

  test.each([
    ["none.json", /^--jwks: none\.json cannot be read as a JWK Set: ENOENT: no such file/],
    ["sidecar.yaml", /^--jwks: sidecar\.yaml cannot be read as a JWK Set: /],
  ])("not those of --jwks %s, which is wrong usage", async (file, message) => {
    const { code, stdout, stderr } = await verify("--jwks", file, token);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr.slice("countersign: ".length)).toMatch(message);
  });

  test.each([["ephemeral", "{ephemeral: true}"]])(
    "not those in the memory of a sidecar: its JWK Set has them",
    async (name, keys) => {
      writeFileSync(
        join(folder.path, `${name}.yaml`),
        `upstream: http://127.0.0.1:9\nissuer: {keys: ${keys}}\n`,
      );
      expect(await verify("-c", `${name}.yaml`, token)).toEqual({
        code: 2,
        stdout: "",
        stderr: `countersign: the keys are in the memory of the running sidecar alone; name its JWK Set with --jwks URL\n${HINT}`,
      });
    },
  );

  test("none where the directory has none yet", async () => {
    writeFileSync(
      join(folder.path, "other.yaml"),
      `upstream: http://127.0.0.1:9\nissuer: {url: "${ISSUER}", keys: {directory: other}}\n`,
    );
    expect(await refusalOf("-c", "other.yaml", token)).toMatch(/^the JWK Set has no key for it/);
  });
});

describe("of a running sidecar", () => {
  let sidecar: TestSidecar;
  let live: string;
  beforeAll(async () => {
    sidecar = await startSidecar("http://127.0.0.1:9");
    live = await sidecar.issuer.signJwt({ subject: "me" });
    return () => sidecar.close();
  });

  /** A server on which a discovery document and a JWK Set stand, or something else. */
  const serving = (listener: RequestListener) => startBackend(listener);
  const json =
    (value: unknown): RequestListener =>
    (_request, response) =>
      response.end(JSON.stringify(value));
  const DISCOVERY = "/.well-known/openid-configuration";

  test("--jwks URL has the keys", async () => {
    const { jwks_uri } = sidecar.issuer.metadata();
    expect(await verify("--jwks", jwks_uri, live)).toMatchObject({ code: 0 });
    expect(await refusalOf("--jwks", jwks_uri, token)).toMatch(/^the JWK Set has no key for it/);
  });

  test("--issuer finds the keys by discovery, and is what the token must say", async () => {
    expect(await verify("--issuer", sidecar.issuer.url, live)).toMatchObject({ code: 0 });
    const other = await sidecar.issuer.signJwt({ subject: "me", additionalClaims: { iss: "other" } });
    expect(await refusalOf("--issuer", sidecar.issuer.url, other)).toBe(
      `its claim iss is "other", and "${sidecar.issuer.url}" is expected`,
    );
  });

  test("a discovery document of another issuer is refused", async () => {
    await using server = await serving(
      json({ ...sidecar.issuer.metadata(), issuer: "https://\x1b[2J.example" }),
    );
    const said = await refusalOf("--issuer", server.url, live);
    expect(said).toBe(`${server.url}${DISCOVERY} is of another issuer: https://\\u001b[2J.example`);
  });

  test.each([
    ["is nothing", json(null), /is of another issuer: undefined$/],
    [
      "is not JSON",
      (_: unknown, response: Parameters<RequestListener>[1]) => response.end("<html>"),
      /cannot be read: .*JSON/,
    ],
    [
      "is not there",
      (_: unknown, response: Parameters<RequestListener>[1]) => response.writeHead(404).end(),
      /cannot be read: the answer is 404$/,
    ],
    [
      "is somewhere else",
      (_: unknown, response: Parameters<RequestListener>[1]) =>
        response.writeHead(302, { location: `${sidecar.issuer.url}${DISCOVERY}` }).end(),
      /cannot be read: unexpected redirect$/,
    ],
  ] as const)("a discovery document that %s is refused", async (_what, answer, message) => {
    await using server = await serving(answer);
    const said = await refusalOf("--issuer", server.url, live);
    expect(said).toMatch(message);
    expect(said.startsWith(`${server.url}${DISCOVERY} `)).toBe(true);
  });

  test("one without a jwks_uri is refused", async () => {
    let url = "";
    await using server = await serving((_request, response) => response.end(JSON.stringify({ issuer: url })));
    url = server.url;
    expect(await refusalOf("--issuer", url, live)).toBe(`${url}${DISCOVERY} has no jwks_uri that is a URL`);
  });

  test("an issuer or a JWK Set that nobody serves is said to be unreachable", async () => {
    const gone = await startBackend();
    await gone[Symbol.asyncDispose]();
    expect(await refusalOf("--issuer", gone.url, live)).toBe(
      `${gone.url}${DISCOVERY} cannot be read: connect ECONNREFUSED 127.0.0.1:${gone.port}`,
    );
    expect(await refusalOf("--jwks", `${gone.url}/jwks.json`, live)).toBe(
      `the JWK Set cannot be read: connect ECONNREFUSED 127.0.0.1:${gone.port}`,
    );
  });

  test.each([
    [
      "a redirect",
      (_: unknown, response: Parameters<RequestListener>[1]) =>
        response.writeHead(302, { location: "/x" }).end(),
    ],
    ["an error", (_: unknown, response: Parameters<RequestListener>[1]) => response.writeHead(500).end()],
    ["another document", json({ hello: "world" })],
    ["no JSON", (_: unknown, response: Parameters<RequestListener>[1]) => response.end("<html>")],
  ] as const)("%s in the place of the JWK Set is refused", async (_what, answer) => {
    await using server = await serving(answer);
    await refusalOf("--jwks", server.url, live);
  });

  test("--issuer that is no URL is wrong usage", async () => {
    const { code, stderr } = await verify("--issuer", "me", live);
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: `countersign: --issuer: expected a URL such as "http://127.0.0.1:8080/__issuer"\n${HINT}`,
    });
  });
});

describe("the token is", () => {
  const spawned: ChildProcess[] = [];
  afterEach(() => {
    for (const child of spawned.splice(0)) child.kill();
  });

  async function verifyInput(input: string, ...arguments_: string[]) {
    const child = spawn(process.execPath, [EXECUTABLE, "verify", ...arguments_], { cwd: folder.path });
    spawned.push(child);
    child.stdin?.end(input);
    const [stdout, stderr, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "close"),
    ]);
    return { code, stdout, stderr };
  }

  test("read from standard input with -, with or without its prefix", async () => {
    const { code, stdout, stderr } = await verifyInput(`Bearer ${token}\n`, "-", "--json");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(JSON.parse(stdout).claims).toEqual(decodeJwt(token));
  });

  test("not there where standard input is empty", async () => {
    expect(await verifyInput("\n", "-")).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: expected a token\n${HINT}`,
    });
  });

  test.each([
    [[], "missing required argument 'token'"],
    [[""], "expected a token"],
    [["a.b.c", "--audience", ""], "--audience: expected a string that is not empty"],
    [["a.b.c", "--jwks", "jwks.json", "--issuer", ""], "--issuer: expected a string that is not empty"],
    [["Bearer", "a.b.c"], "too many arguments for 'verify'. Expected 1 argument but got 2: Bearer, a.b.c."],
  ])("not there, which is wrong usage: %j", async (arguments_, message) => {
    expect(await verify(...arguments_)).toEqual({
      code: 2,
      stdout: "",
      stderr: `countersign: ${message}\n${HINT}`,
    });
  });
});
