import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { startBackend } from "../../support/backend.ts";
import { createCa, issueForServer, writeTlsFiles } from "../../support/certificates.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { startSidecar } from "../../support/sidecar.ts";
import { examine, startExamined } from "./sidecar.ts";

const KEY = {
  kty: "OKP",
  crv: "Ed25519",
  x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
  kid: "a",
  use: "sig",
  alg: "EdDSA",
};

/** What an issuer answers; what is left out is as it should be. */
interface Answers {
  readonly issuer?: unknown;
  readonly jwksUri?: unknown;
  readonly discovery?: readonly [status: number, body: string];
  readonly jwks?: readonly [status: number, body: string];
  readonly keys?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly type?: string;
  readonly date?: string;
}

/** Examines an issuer that answers like this, from without. */
async function examineIssuer(answers: Answers) {
  using folder = temporaryFolder();
  await using issuer = await startBackend(({ url = "", headers: { host } }, response) => {
    const own = `http://${host}/issuer`;
    const isDiscovery = url === "/issuer/.well-known/openid-configuration";
    const [status, body] = isDiscovery
      ? (answers.discovery ?? [
          200,
          JSON.stringify({
            issuer: "issuer" in answers ? answers.issuer : own,
            jwks_uri: "jwksUri" in answers ? answers.jwksUri : `${own}/keys`,
          }),
        ])
      : (answers.jwks ?? [200, JSON.stringify({ keys: answers.keys ?? [KEY] })]);
    response.sendDate = answers.date === undefined;
    if (answers.date) response.setHeader("date", answers.date);
    if (answers.type !== "") response.setHeader("content-type", answers.type ?? "application/json");
    response.writeHead(status, answers.headers ?? { "cache-control": "public, max-age=60" }).end(body);
  });
  return await examine(folder.path, "--url", `${issuer.url}/issuer`);
}

test("--url alone looks at the issuer from without: documents, clock and caching", async () => {
  const { code, findings } = await examineIssuer({});
  expect(code).toBe(0);
  expect(findings.map(({ check, state }) => `${check} ${state}`)).toEqual([
    expect.stringMatching(/^runtime /),
    ...["issuer ok", "discovery ok", "clock ok", "JWK Set ok", "caching ok"],
  ]);
});

test.each<[string, Answers, string, string]>([
  ["a document that is not routed", { discovery: [404, ""] }, "discovery", "is answered with 404"],
  [
    "a redirect, which verifiers do not follow",
    { discovery: [302, ""] },
    "discovery",
    "is answered with 302",
  ],
  ["a page in its place", { discovery: [200, "<html>"] }, "discovery", "is no JSON document"],
  ["a document of another issuer", { issuer: "http://a/b" }, "discovery", 'is "http://a/b", and'],
  ["one with a slash too many", { issuer: "http://a/" }, "discovery", "is expected"],
  ["no jwks_uri", { jwksUri: undefined }, "discovery", "has no jwks_uri"],
  ["a jwks_uri that is none", { jwksUri: "file:///etc/passwd" }, "discovery", "has no jwks_uri"],
  [
    "a JWK Set elsewhere, where nobody listens",
    { jwksUri: "http://127.0.0.1:9/k" },
    "JWK Set",
    "cannot be reached",
  ],
  ["a JWK Set that is not routed", { jwks: [502, ""] }, "JWK Set", "is answered with 502"],
  ["a JWK Set that is too large", { jwks: [200, `"${"a".repeat(2 ** 20)}"`] }, "JWK Set", "is larger than"],
  ["a JWK Set that is no JSON", { jwks: [200, "["] }, "JWK Set", "is no JSON document"],
  ["one without keys", { keys: [] }, "JWK Set", "there is no key in it"],
  ["keys that are no list", { keys: "a" }, "JWK Set", "there is no key in it"],
  ["a key without a kid", { keys: [{ ...KEY, kid: undefined }] }, "JWK Set", "key 1 of the list has no kid"],
  ["a key twice", { keys: [KEY, KEY] }, "JWK Set", "key a stands there twice"],
  ["a key without a type", { keys: [{ ...KEY, kty: undefined }] }, "JWK Set", "key a has no kty"],
  ["a key to encrypt with", { keys: [{ ...KEY, use: "enc" }] }, "JWK Set", "key a is not for signatures"],
  ["a secret's algorithm", { keys: [{ ...KEY, alg: "HS256" }] }, "JWK Set", "has no alg of a public key"],
  ["a private key", { keys: [{ ...KEY, d: "secret" }] }, "JWK Set", "key a shows its private members"],
  ["nothing but null", { keys: [null] }, "JWK Set", "has no kid"],
])("%s fails", async (_what, answers, check, found) => {
  const { code, of, text } = await examineIssuer(answers);
  expect(code).toBe(1);
  const failures = of(check).filter(({ state }) => state === "fail");
  expect(failures.map((finding) => finding.found).join("\n")).toContain(found);
  expect(failures.every(({ remedy }) => remedy !== undefined)).toBe(true);
  expect(text).not.toContain("secret");
});

test.each<[string, Answers, string, string, string]>([
  ["no Cache-Control", { headers: {} }, "caching", "warn", "without Cache-Control"],
  ["no-store", { headers: { "cache-control": "no-store" } }, "caching", "warn", "for each token"],
  ["both", { headers: { "cache-control": "no-store, max-age=60" } }, "caching", "warn", "for each token"],
  ["no max-age", { headers: { "cache-control": "public" } }, "caching", "warn", "for each token"],
  ["no Date", { date: "" }, "clock", "warn", "no Date"],
  ["s-maxage alone", { headers: { "cache-control": "s-maxage=60" } }, "caching", "warn", "for each token"],
  ["a clock that is 30 s ahead", { date: dateIn(30) }, "clock", "warn", "s ahead of this one"],
  [
    "an answer from a cache",
    { date: dateIn(-3600), headers: { "cache-control": "max-age=60", age: "3600" } },
    "clock",
    "ok",
    "agree",
  ],
  ["a clock that is an hour behind", { date: dateIn(-3600) }, "clock", "fail", "s behind this one"],
])("%s: %s says so", async (_what, answers, check, state, found) => {
  const { code, of } = await examineIssuer(answers);
  expect(of(check)).toEqual([
    {
      check,
      state,
      found: expect.stringContaining(found),
      ...(state !== "ok" && { remedy: expect.anything() }),
    },
  ]);
  expect(code).toBe(state === "fail" ? 1 : 0);
});

test.each([
  ["", "comes with no Content-Type"],
  ["binary/octet-stream", "comes with Content-Type binary/octet-stream"],
])("documents of the type %j are told, each", async (type, found) => {
  const { code, of } = await examineIssuer({ type });
  expect(code).toBe(0);
  const warning = { state: "warn", found: expect.stringContaining(found) };
  expect(of("discovery")).toMatchObject([{ state: "ok" }, warning]);
  expect(of("JWK Set")).toMatchObject([warning, { state: "ok" }]);
});

test.each(["application/json; charset=utf-8", "application/jwk-set+json"])("%s is JSON", async (type) => {
  const { findings } = await examineIssuer({ type });
  expect(findings.filter(({ state, check }) => state !== "ok" && check !== "runtime")).toEqual([]);
});

function dateIn(seconds: number): string {
  return new Date(Date.now() + seconds * 1000).toUTCString();
}

describe("an issuer URL that cannot be reached from here", () => {
  const issuer = ", url: 'http://127.0.0.1:9/id/__issuer'";

  test("is a warning, and the listener itself is asked", async () => {
    await using backend = await startBackend();
    await using running = await startExamined(backend.url, { issuer });
    const { code, of } = await examine(running.folder);
    expect(code).toBe(0);
    expect(of("issuer")).toEqual([
      {
        check: "issuer",
        state: "warn",
        found: `http://127.0.0.1:9/id/__issuer cannot be reached from here: nobody listens there; the listener was asked instead, ${running.sidecar.url}`,
        remedy: expect.stringContaining("see to it that they reach it"),
      },
    ]);
    for (const check of ["discovery", "JWK Set", "signing key", "token"])
      expect(of(check)).toMatchObject([{ state: "ok" }]);
  });

  test("is asked at the Unix socket of the listener", async () => {
    using folder = temporaryFolder();
    await using backend = await startBackend();
    const yaml = `listen: [unix:${join(folder.path, "c.sock")}, 127.0.0.1:0]\n`;
    await using running = await startExamined(backend.url, { issuer, yaml });
    expect((await examine(running.folder)).of("token")).toMatchObject([{ state: "ok" }]);
  });

  test("fails where the listener does not answer either", async () => {
    await using backend = await startBackend();
    await using running = await startExamined(backend.url, { issuer });
    await running.sidecar.close();
    const { code, of } = await examine(running.folder);
    expect(code).toBe(1);
    expect(of("issuer")).toMatchObject([
      {
        state: "fail",
        found: expect.stringContaining("nor does the listener answer"),
        remedy: expect.anything(),
      },
    ]);
  });

  test("is not known where the port is open: that fails", async () => {
    using folder = temporaryFolder();
    const file = "upstream: http://127.0.0.1:9\nlisten: 127.0.0.1:0\nadmin: false\n";
    writeFileSync(join(folder.path, "sidecar.yaml"), file);
    expect((await examine(folder.path)).of("issuer")).toMatchObject([
      { state: "fail", found: "its URL is not known before the sidecar runs" },
    ]);
  });

  test("because its certificate is not trusted here: the listener is asked without a look at that", async () => {
    using folder = temporaryFolder();
    const ca = await createCa();
    writeTlsFiles(folder.path, await issueForServer(ca), ca);
    const yamlAt = (port: number) => `listen:
  address: 127.0.0.1:${port}
  tls: {cert: "${folder.path}/tls.crt", key: "${folder.path}/tls.key"}
issuer: {keys: {directory: "${folder.path}/keys"}}
admin: false
`;
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, { yaml: yamlAt(0) });
    writeFileSync(join(folder.path, "sidecar.yaml"), `upstream: ${backend.url}\n${yamlAt(sidecar.port)}`);
    const { code, of } = await examine(folder.path);
    expect(code).toBe(0);
    expect(of("issuer")).toMatchObject([
      {
        state: "warn",
        found: expect.stringMatching(/certificate/),
        remedy: expect.stringContaining("NODE_EXTRA_CA_CERTS"),
      },
    ]);
    expect(of("token")).toMatchObject([{ state: "ok" }]);
    // From without nothing else is known that could be asked.
    using elsewhere = temporaryFolder();
    const { of: ofOther } = await examine(elsewhere.path, "--url", `${sidecar.url}/__issuer`);
    expect(ofOther("issuer")).toMatchObject([{ state: "fail", found: expect.stringMatching(/certificate/) }]);
  });
});

test("a verifier that expects another issuer than the configured one refuses the token", async () => {
  await using backend = await startBackend();
  await using running = await startExamined(backend.url);
  const { code, of } = await examine(
    running.folder,
    "--url",
    `http://localhost:${running.sidecar.port}/__issuer`,
  );
  expect(code).toBe(1);
  expect(of("discovery")).toMatchObject([{ state: "fail" }]);
  expect(of("token")).toMatchObject([{ state: "fail", found: expect.stringContaining('"iss"') }]);
});

test("a JWK Set that is cached for longer than it says is told", async () => {
  await using backend = await startBackend();
  await using running = await startExamined(backend.url);
  running.configure({ issuer: ", jwksMaxAge: 1m" });
  expect((await examine(running.folder)).of("caching")).toMatchObject([
    { state: "warn", found: "verifiers keep the JWK Set for 300 s, and 60 s is configured" },
  ]);
});
