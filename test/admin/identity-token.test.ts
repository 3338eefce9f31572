import { lookup } from "node:dns/promises";
import { writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import { beforeAll, describe, expect, test } from "vitest";
import { runHere } from "../cli/in-process.ts";
import { startBackend } from "../support/backend.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { type AdminSidecar, startAdminSidecar } from "./sidecar.ts";

const IDENTITY = `identity:
  account: my-account
  project: my-project
  deployment: copper-bedbug-main-53c4947
  environment_type: production
`;
const EC_IDENTITY = "identity: {account: a, algorithm: ES256}\n";
const GUARD = { "x-countersign-identity": "true" };

let sidecar: AdminSidecar;
beforeAll(async () => {
  sidecar = await startAdminSidecar({ yaml: IDENTITY });
  return () => sidecar[Symbol.asyncDispose]();
});

const ask = (query = "", headers: Record<string, string> = GUARD, on: AdminSidecar = sidecar) =>
  fetch(`${on.adminUrl}/identity/token${query}`, { headers });

/** Sends a request as these lines; `Host` and the guard are there unless the lines say otherwise. */
async function askRaw(requestLine: string, lines: readonly string[] = [], on: AdminSidecar = sidecar) {
  const has = (name: string) => lines.some((line) => line.toLowerCase().startsWith(`${name}:`));
  const all = [
    requestLine,
    ...(has("host") ? [] : ["Host: localhost"]),
    ...(has("x-countersign-identity") ? [] : ["X-Countersign-Identity: true"]),
    ...lines,
    "Connection: close",
  ];
  const answer = await sendRaw(on.adminPort, `${all.join("\r\n")}\r\n\r\n`);
  return { status: statusesOf(answer)[0], answer, body: answer.slice(answer.indexOf("\r\n\r\n") + 4) };
}

const TARGET = "GET /identity/token HTTP/1.1";
const isToken = (text: string) => /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text);

describe("a token", () => {
  test("says which deployment this is, and verifies by discovery", async () => {
    const response = await ask("?audience=https://my-api.example.com");
    expect(response.status).toBe(200);
    const token = await response.text();
    const discovery = await fetch(`${sidecar.issuer.url}/.well-known/openid-configuration`);
    const { issuer, jwks_uri } = (await discovery.json()) as { issuer: string; jwks_uri: string };
    const { payload, protectedHeader } = await jwtVerify(token, createRemoteJWKSet(new URL(jwks_uri)), {
      issuer,
      audience: "https://my-api.example.com",
      algorithms: ["RS256"],
    });
    const { iat = 0 } = payload;
    expect(payload).toEqual({
      account: "my-account",
      project: "my-project",
      deployment: "copper-bedbug-main-53c4947",
      environment_type: "production",
      iss: sidecar.issuer.url,
      sub: "my-account/my-project/copper-bedbug-main-53c4947",
      aud: "https://my-api.example.com",
      iat,
      exp: iat + 36_000,
    });
    expect(protectedHeader).toEqual({ alg: "RS256", kid: expect.any(String), typ: "JWT" });
  });

  test("is plain text, kept by nobody", async () => {
    const response = await ask();
    expect(isToken(await response.text())).toBe(true);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "content-type": "text/plain; charset=utf-8",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    });
    expect(response.headers.has("access-control-allow-origin")).toBe(false);
  });

  test("is wrapped with format=json, with the time of its end", async () => {
    const response = await ask("?format=json&audience=a");
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(response.headers.get("cache-control")).toBe("no-store");
    const body = (await response.json()) as { id_token: string; expires_at: number };
    expect(Object.keys(body)).toEqual(["id_token", "expires_at"]);
    expect(body.expires_at).toBe(decodeJwt(body.id_token).exp);
    expect(decodeJwt(body.id_token).aud).toBe("a");
  });

  test("has no aud where none is asked for", async () => {
    expect(decodeJwt(await (await ask()).text())).not.toHaveProperty("aud");
  });

  test("is for the audience as it was encoded in the query", async () => {
    const audience = "urn:a b&c=d+é";
    expect(decodeJwt(await (await ask(`?audience=${encodeURIComponent(audience)}`)).text()).aud).toBe(
      audience,
    );
  });

  test("is used again until half its life has passed", async () => {
    let now = Date.parse("2026-01-01T00:00:00Z");
    await using own = await startAdminSidecar({ yaml: EC_IDENTITY, now: () => now });
    const tokenAfter = async (seconds: number, query = "") => {
      now += seconds * 1000;
      return await (await ask(query, GUARD, own)).text();
    };
    const first = await tokenAfter(0);
    // It is made anew beside the requests from three eighths of its life on; up to there nothing else can happen.
    expect(await tokenAfter(13_499)).toBe(first);
    expect(await tokenAfter(0, "?audience=other")).not.toBe(first);
    const later = await tokenAfter(4501);
    expect(later).not.toBe(first);
    expect(Number(decodeJwt(later).exp) - now / 1000).toBeGreaterThanOrEqual(18_000);
    const late = await tokenAfter(18_000);
    expect(decodeJwt(late).iat).toBe(now / 1000);
  });

  test("is not used again once its key was withdrawn", async () => {
    using folder = temporaryFolder();
    const yaml = `issuer: {keys: {directory: ${join(folder.path, "keys")}}}\n${EC_IDENTITY}`;
    writeFileSync(join(folder.path, "sidecar.yaml"), `upstream: http://127.0.0.1:9\n${yaml}`);
    await using own = await startAdminSidecar({ yaml });
    const token = async () => await (await ask("", GUARD, own)).text();
    const before = await token();
    expect(await token()).toBe(before);

    await runHere(["keys", "rotate", "--emergency", "--identity"], { cwd: folder.path });
    await own.issuer.refreshKeys();

    const kids = own.issuer.jwks().keys.map(({ kid }) => kid);
    expect(kids).not.toContain(decodeProtectedHeader(before).kid);
    expect(kids).toContain(decodeProtectedHeader(await token()).kid);
  });
});

describe("the field that no page sends by accident", () => {
  test.each([
    ["is missing", {}],
    ["is empty", { "x-countersign-identity": "" }],
    ["says something else", { "x-countersign-identity": "1" }],
    ["says True", { "x-countersign-identity": "True" }],
  ])("%s, and the request is refused", async (_what, headers) => {
    const response = await ask("", headers as Record<string, string>);
    expect(response.status).toBe(403);
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(await response.json()).toEqual({
      title: "Forbidden",
      status: 403,
      code: "ERR_IDENTITY_REQUEST_REFUSED",
      detail: "send the field X-Countersign-Identity: true, which no web page can send by accident",
    });
  });

  test.each([
    ["twice", ["X-Countersign-Identity: true", "X-Countersign-Identity: true"]],
    ["under another name", ["X_Countersign_Identity: true", "X-Countersign-Identity: "]],
  ])("%s is refused", async (_what, lines) => {
    expect((await askRaw(TARGET, lines)).status).toBe(403);
  });

  test("may be in any case", async () => {
    const { status, body } = await askRaw(TARGET, ["x-COUNTERSIGN-identity: true"]);
    expect([status, isToken(body)]).toEqual([200, true]);
  });
});

describe("a request that a proxy passed on is refused:", () => {
  test.each([
    "X-Forwarded-For: 10.0.0.1",
    "x-forwarded-for: 127.0.0.1",
    "X-Forwarded-For:",
    "X-Forwarded-Host: localhost",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Port: 80",
    "X-Forwarded-Anything: 1",
    "Forwarded: for=10.0.0.1",
    "Via: 1.1 proxy",
    "VIA: 1.1 proxy",
  ])("%s", async (line) => {
    const { status, answer, body } = await askRaw(TARGET, [line]);
    const name = line.slice(0, line.indexOf(":")).toLowerCase();
    expect(status).toBe(403);
    expect(answer).toMatch(/^cache-control: no-store\r$/m);
    expect(JSON.parse(body)).toMatchObject({
      code: "ERR_IDENTITY_REQUEST_REFUSED",
      detail: `a request with ${name} came through a proxy; ask from this machine, without one`,
    });
  });

  // Some programs read these as the same names.
  test.each(["X_Forwarded_For: 10.0.0.1", "X.Forwarded.Host: evil.example", "x-forwarded_proto: https"])(
    "%s, in another spelling",
    async (line) => {
      const { status, body } = await askRaw(TARGET, [line]);
      expect(status).toBe(403);
      expect(isToken(body)).toBe(false);
    },
  );

  test.each([
    ["a field continued on the next line", ["X-Note: a", " X-Forwarded-For: 10.0.0.1"]],
    ["a name with a space behind it", ["X-Forwarded-For : 10.0.0.1"]],
    ["a name with a tab before it", ["\tX-Forwarded-For: 10.0.0.1"]],
    ["a bare carriage return", ["X-Note: a\rX-Forwarded-For: 10.0.0.1"]],
    ["a bare line feed", ["X-Note: a\nX-Forwarded-For: 10.0.0.1"]],
    ["a NUL", ["X-Note: a\0b"]],
  ])("%s hides nothing", async (_what, lines) => {
    const { status, body } = await askRaw(TARGET, lines);
    expect([400, 403]).toContain(status);
    expect(isToken(body)).toBe(false);
  });
});

describe("the name that the client used for this listener", () => {
  test.each([
    "localhost",
    "LOCALHOST:8081",
    "localhost.",
    "127.0.0.1",
    "127.0.0.1:8081",
    "192.0.2.7",
    "[::1]",
    "[::1]:8081",
    "[2001:DB8::1]",
  ])("may be %s", async (host) => {
    const { status, body } = await askRaw(TARGET, [`Host: ${host}`]);
    expect([status, isToken(body)]).toEqual([200, true]);
  });

  test.each([
    "evil.example",
    "evil.example:8081",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "127.0.0.1.nip.io",
    "sidecar.localhost",
    // Some resolvers read these as 127.0.0.1; a browser has normalised them before it sends.
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "[::1].evil.example",
  ])("may not be %s, which may resolve to anything (DNS rebinding)", async (host) => {
    const { status, body } = await askRaw(TARGET, [`Host: ${host}`]);
    expect(status).toBe(400);
    expect(JSON.parse(body)).toMatchObject({ code: "ERR_HOST_INVALID" });
  });

  test.each([
    ["missing", ["GET /identity/token HTTP/1.1", "X-Countersign-Identity: true", "Connection: close"]],
    [
      "there twice",
      [TARGET, "Host: localhost", "Host: evil.example", "X-Countersign-Identity: true", "Connection: close"],
    ],
    [
      "a user's at a host",
      [TARGET, "Host: localhost@evil.example", "X-Countersign-Identity: true", "Connection: close"],
    ],
    [
      "a list",
      [TARGET, "Host: localhost, evil.example", "X-Countersign-Identity: true", "Connection: close"],
    ],
  ])("is %s, and the request is refused", async (_what, lines) => {
    const answer = await sendRaw(sidecar.adminPort, `${lines.join("\r\n")}\r\n\r\n`);
    expect(statusesOf(answer)).toEqual([400]);
    expect(answer).toContain('"code":"ERR_HOST_INVALID"');
  });

  test("may be the one that the listener was opened with", async () => {
    const name = hostname();
    const isMine = await lookup(name, 4).then(
      () => true,
      () => false,
    );
    const own = isMine ? name : "localhost";
    await using named = await startAdminSidecar({ yaml: `admin: "${own.toUpperCase()}:0"\n${EC_IDENTITY}` });
    const response = await fetch(`http://${own}:${named.adminPort}/identity/token`, { headers: GUARD });
    expect(response.status).toBe(200);
  });
});

describe("the query", () => {
  test.each([
    ["?audience=", 403, "ERR_AUDIENCE_NOT_ALLOWED", "the audience is empty"],
    [
      `?audience=${"a".repeat(1025)}`,
      400,
      "ERR_REQUEST_MALFORMED",
      "an audience has at most 1024 characters",
    ],
    ["?audience", 403, "ERR_AUDIENCE_NOT_ALLOWED", "the audience is empty"],
    ["?audience=a&audience=b", 400, "ERR_REQUEST_MALFORMED", "there is more than one parameter audience"],
    ["?audience=a&audience=a", 400, "ERR_REQUEST_MALFORMED", "there is more than one parameter audience"],
    ["?audience=a&%61udience=b", 400, "ERR_REQUEST_MALFORMED", "there is more than one parameter audience"],
    ["?format=json&format=text", 400, "ERR_REQUEST_MALFORMED", "there is more than one parameter format"],
    ["?format=xml", 400, "ERR_REQUEST_MALFORMED", "format is text or json"],
    ["?format=", 400, "ERR_REQUEST_MALFORMED", "format is text or json"],
    ["?audiance=a", 400, "ERR_REQUEST_MALFORMED", "the parameters here are audience and format"],
    ["?Audience=a", 400, "ERR_REQUEST_MALFORMED", "the parameters here are audience and format"],
    ["?audience=a&x", 400, "ERR_REQUEST_MALFORMED", "the parameters here are audience and format"],
  ])("%s is answered %i %s", async (query, status, code, detail) => {
    const response = await ask(query);
    expect(response.status).toBe(status);
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(await response.json()).toMatchObject({ code, detail });
  });

  test("may name the audiences that identity.audiences has, and must name one", async () => {
    await using own = await startAdminSidecar({
      yaml: "identity: {account: a, algorithm: ES256, audiences: [https://one.example, two]}",
    });
    const answerTo = async (query: string) => {
      const response = await ask(query, GUARD, own);
      const text = await response.text();
      return response.status === 200 ? decodeJwt(text).aud : JSON.parse(text).detail;
    };
    expect(await answerTo("?audience=https://one.example")).toBe("https://one.example");
    expect(await answerTo("?audience=two")).toBe("two");
    for (const other of ["three", "TWO", "two%20", "https://one.example/"])
      expect(await answerTo(`?audience=${other}`)).toBe("this audience is not one of identity.audiences");
    expect(await answerTo("")).toBe("name an audience: identity.audiences says which there may be");
  });
});

describe("the request", () => {
  test.each(["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "PROPFIND"])(
    "is not answered a token for %s: 405 with Allow",
    async (method) => {
      const { status, answer } = await askRaw(`${method} /identity/token HTTP/1.1`, ["Content-Length: 0"]);
      expect(status).toBe(405);
      expect(answer).toMatch(/^allow: GET\r$/m);
      expect(answer).not.toContain("eyJ");
    },
  );

  test("is not answered by a body that a HEAD must not have", async () => {
    const { answer, body } = await askRaw("HEAD /identity/token HTTP/1.1");
    expect(answer).toMatch(/^HTTP\/1\.1 405 /);
    expect(body).toBe("");
  });

  test.each([
    "/",
    "/identity",
    "/identity/",
    "/identity/token/",
    "/identity/token/x",
    "/identity/tokens",
    "/Identity/Token",
    "//identity/token",
    "/identity//token",
    "/identity/%74oken",
    "/identity%2Ftoken",
    "/identity/token;a=b",
    "/./identity/token",
    "/x/../identity/token",
    "/identity/%2e/token",
    "/identity/token#x",
    "/identity\\token",
    "http://localhost/identity/token",
    "http://evil.example/identity/token",
    "HTTP://127.0.0.1/identity/token",
    "//localhost/identity/token",
    "/metrics/",
    "/__issuer/.well-known/jwks.json",
    "*",
  ])("for %s is answered 404", async (path) => {
    const { status, body } = await askRaw(`GET ${path} HTTP/1.1`);
    expect(status).toBe(404);
    expect(JSON.parse(body)).toMatchObject({
      code: "ERR_ADMIN_PATH_UNKNOWN",
      detail: "this listener serves /livez, /readyz, /metrics, /config, /identity/token",
    });
  });

  test("may be of HTTP/1.0 without Host, but for the guard", async () => {
    const send = (guard: string) =>
      sendRaw(sidecar.adminPort, `GET /identity/token HTTP/1.0\r\n${guard}\r\n`);
    expect(statusesOf(await send("X-Countersign-Identity: true\r\n"))).toEqual([200]);
    expect(statusesOf(await send(""))).toEqual([403]);
  });

  test("to tunnel is refused", async () => {
    const { answer } = await askRaw("CONNECT localhost:80 HTTP/1.1");
    expect(statusesOf(answer)).toEqual([405]);
  });
});

describe("where there is no such thing", () => {
  test("without identity the path is unknown, and it is said why", async () => {
    await using own = await startAdminSidecar({ yaml: "" });
    const response = await ask("", GUARD, own);
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({
      code: "ERR_ADMIN_PATH_UNKNOWN",
      detail: "no `identity` is configured for this issuer",
    });
  });

  test("with admin: false nothing listens", async () => {
    await using own = await startAdminSidecar({ yaml: `admin: false\n${EC_IDENTITY}` });
    expect(own.adminUrl).toBeUndefined();
    expect(isToken(await own.issuer.getIdToken())).toBe(true);
  });

  test("on the proxy's listener the path is the backend's, and no token comes back", async () => {
    await using backend = await startBackend();
    await using own = await startAdminSidecar({ yaml: EC_IDENTITY, upstream: backend.url });
    const response = await fetch(`${own.url}/identity/token`, { headers: GUARD });
    expect(await response.text()).toBe("ok");
    expect(backend.requests.map(({ url }) => url)).toEqual(["/identity/token"]);
    // What the backend got is the token of a request.
    expect(decodeJwt(backend.requests[0]?.headers.authorization?.slice(7) ?? "").sub).toBe("api-gateway");
  });

  test("below the issuer's path the proxy's listener has none either", async () => {
    const response = await fetch(`${sidecar.url}/__issuer/identity/token`, { headers: GUARD });
    expect(response.status).toBe(404);
  });
});
