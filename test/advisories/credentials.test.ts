import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { startSidecar as startPrintingSidecar } from "../../src/cli/running.ts";
import { parseConfig } from "../../src/index.ts";
import { apiKeyEntry } from "../support/api-keys.ts";
import { temporaryFolder } from "../support/command-line.ts";
import {
  DISCOVERY_PATH,
  JWKS_PATH,
  startIdentityProvider,
  type TestIdentityProvider,
} from "../support/identity-provider.ts";
import { keptLog } from "../support/log.ts";
import { startRawBackend } from "../support/raw-backend.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

/** bcrypt of "correct horse", as htpasswd prints it. */
const PASSWORD_HASH = "$2y$05$9y/PfwezazO0PjA7cc/muuLpKxF2RAbQ2Id.iYtvOYVFx7tI53/5K";

const basic = (credentials: string) => `Basic ${Buffer.from(credentials, "latin1").toString("base64")}`;

let login: TestIdentityProvider;
beforeAll(async () => {
  login = await startIdentityProvider();
});
afterAll(() => login[Symbol.asyncDispose]());
afterEach(() => {
  vi.restoreAllMocks();
});

const authenticators = () => `
authenticators:
  keys: {type: apiKey, header: X-Api-Key, keys: [${apiKeyEntry("acme-key", "acme")}]}
  ops: {type: basic, users: [{username: ops, passwordHash: "${PASSWORD_HASH}"}]}
  login: {type: jwt, issuer: "${login.url}", audience: orders, algorithms: [ES256]}
authenticate: [keys, ops, login, anonymous]
`;

describe("Expect: 100-continue (RFC 9110 §10.1.1)", () => {
  const post = (fields: string, body = "") =>
    `POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n${fields}\r\n\r\n${body}`;

  test.each([
    ["an API key", async () => "X-Api-Key: wrong"],
    ["a password", async () => `Authorization: ${basic("ops:wrong")}`],
    ["a JWT", async () => `Authorization: Bearer ${await login.sign({ aud: "billing" })}`],
    ["two credentials", async () => "X-Api-Key: acme-key\r\nX-Api-Key: acme-key"],
  ])(
    "with a bad credential is answered 401 without a 100, and nothing is forwarded: %s",
    async (_title, field) => {
      await using backend = await startRawBackend();
      await using sidecar = await startSidecar(backend.url, { yaml: authenticators() });
      expect(statusesOf(await sendRaw(sidecar.port, post(await field())))).toEqual([401]);
      expect(backend.received()).toBe("");
    },
  );

  test.each([
    ["an API key", async () => "X-Api-Key: acme-key"],
    ["a password", async () => `Authorization: ${basic("ops:correct horse")}`],
    ["a JWT", async () => `Authorization: Bearer ${await login.sign()}`],
  ])("with a good one is answered 100, and the backend does not see the field: %s", async (_title, field) => {
    await using backend = await startRawBackend((socket, data) => {
      if (data.endsWith("hello")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    await using sidecar = await startSidecar(backend.url, { yaml: authenticators() });
    expect(statusesOf(await sendRaw(sidecar.port, post(await field(), "hello")))).toEqual([100, 200]);
    expect(backend.received()).not.toMatch(/^expect:/im);
  });
});

describe("what a client sends does not forge a line of the log, nor steer a terminal", () => {
  // What Node.js lets through in a field: a tab, and the bytes from 0x80 on, of which some are controls of Latin-1.
  const STEERING = "x\ty\x85\x9b31m\x90";

  test.each([
    ["an API key", () => `X-Api-Key: ${STEERING}`],
    ["a scheme and a token", () => `Authorization: Bearer ${STEERING}`],
    ["a password", () => `Authorization: ${basic("ops:\n\x1b[31mforged")}`],
    ["a user name", () => `Authorization: ${basic("ops\r\nforged:x")}`],
    [
      "a JWT that is none",
      () => `Authorization: Bearer ${Buffer.from("{\n\x1b").toString("base64url")}.e30.AA`,
    ],
  ])("%s is told to nobody", async (_title, field) => {
    await using backend = await startRawBackend();
    const events: unknown[] = [];
    await using sidecar = await startSidecar(backend.url, {
      yaml: authenticators(),
      onPolicyEvent: (event) => events.push(event),
    });
    const answer = await sendRaw(
      sidecar.port,
      `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${field()}\r\n\r\n`,
    );
    expect(statusesOf(answer)).toEqual([401]);
    expect(answer.replaceAll(/\r\n|\n$/g, "")).not.toMatch(/forged|\p{Cc}/u);
    expect([...sidecar.failures, ...events]).toEqual([]);
    expect(backend.received()).toBe("");
  });

  test("claims with controls go into the token, and nowhere else as they are", async () => {
    await using backend = await startRawBackend();
    await using sidecar = await startSidecar(backend.url, { yaml: authenticators() });
    const jwt = await login.sign({ sub: "dave\r\nX-Forged: 1\0" });
    const answer = await sendRaw(
      sidecar.port,
      `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer ${jwt}\r\n\r\n`,
    );
    expect(statusesOf(answer)).toEqual([200]);
    expect(backend.received()).not.toMatch(/forged/i);
  });

  test.each(["json", "pretty"] as const)(
    "%s: what the code of a policy says of a request is one line on standard error",
    async (format) => {
      using folder = temporaryFolder();
      const file = join(folder.path, "policy.mjs");
      writeFileSync(
        file,
        "export default ({request: {params, headers}, user}) => { throw new Error(`no order ${params.id} of ${user.sub} for ${headers['x-note']}`); };",
      );
      const { log, lines } = keptLog({ format, subject: "none" });
      const { config } = parseConfig(
        `
listen: 127.0.0.1:0
upstream: http://127.0.0.1:9
issuer: {keys: {ephemeral: true}}${authenticators()}
policies: [{name: orders, match: {path: "/orders/:id"}, module: {file: ${file}}}]
`,
        { file: "sidecar.yaml" },
      );
      const { sidecar, running } = await startPrintingSidecar(config, log);
      const jwt = await login.sign({ sub: "dave\r\n2027 forged\x1b[31m" });
      lines.length = 0;
      try {
        const answer = await sendRaw(
          Number(new URL(running.url).port),
          `GET /orders/1%C2%85%E2%80%AE HTTP/1.1\r\nHost: a\r\nX-Note: ${STEERING}\r\nAuthorization: Bearer ${jwt}\r\nConnection: close\r\n\r\n`,
        );
        expect(statusesOf(answer)).toEqual([503]);
        expect(answer).not.toContain("forged");
      } finally {
        await sidecar.close();
      }
      expect(lines).toHaveLength(1);
      expect(lines[0]).toContain("of dave\\r\\n2027 forged\\u001b[31m");
      expect(lines[0]?.slice(0, -1)).not.toMatch(/\p{Cc}|\p{Bidi_Control}/u);
    },
  );
});

test("a credential that cannot be checked is told to nobody either", async () => {
  const jwt = await login.sign();
  await using backend = await startRawBackend();
  const events: unknown[] = [];
  await using sidecar = await startSidecar(backend.url, {
    yaml: `
authenticators:
  keys: {type: apiKey, header: X-Api-Key, keys: [${apiKeyEntry("acme-key", "acme")}]}
  login: {type: jwt, issuer: "${login.url}", audience: orders, algorithms: [ES256], jwksUri: "http://127.0.0.1:9/jwks"}
authenticate: [keys, login, anonymous]
`,
    onPolicyEvent: (event) => events.push(event),
  });
  const answer = await sendRaw(
    sidecar.port,
    `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Api-Key: a-wrong-key\r\nAuthorization: Bearer ${jwt}\r\n\r\n`,
  );
  expect(statusesOf(answer)).toEqual([503]);
  expect(sidecar.failures).toMatchObject([{ code: "ERR_AUTHENTICATION_UNAVAILABLE" }]);
  expect(events).toHaveLength(1);
  const told = answer + JSON.stringify([sidecar.failures, events]);
  for (const secret of ["a-wrong-key", ...jwt.split(".")]) expect(told).not.toContain(secret);
  // What an operator may know of the provider is not the caller's business.
  expect(answer).not.toContain("127.0.0.1:9");
  expect(backend.received()).toBe("");
});

describe("a client that leaves while it is not known yet who it is", () => {
  test.each([
    ["by a FIN", "GET /left HTTP/1.1\r\nHost: a", false],
    ["by a reset", "GET /left HTTP/1.1\r\nHost: a", true],
    ["in its body", "POST /left HTTP/1.1\r\nHost: a\r\nContent-Length: 10", true],
    ["before its body", "POST /left HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10", true],
  ])("%s: its request is not forwarded, and nothing else is harmed", async (_title, head, isReset) => {
    await using provider = await startIdentityProvider();
    const waiting: ServerResponse[] = [];
    provider.answer(JWKS_PATH, (_request, response) => waiting.push(response));
    await using backend = await startRawBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `
authenticators: {login: {type: jwt, issuer: "${provider.url}", audience: orders, algorithms: [ES256]}}
authenticate: [login]
`,
    });
    const fields = `Authorization: Bearer ${await provider.sign()}\r\n\r\n`;
    const leaver = connect(sidecar.port, "127.0.0.1");
    leaver.on("error", () => {});
    leaver.write(`${head}\r\n${fields}abc`);
    await vi.waitFor(() => expect(waiting).toHaveLength(1), { interval: 2 });
    // Both have been read when a request that came after them has been answered.
    const elsewhere = () => sendRaw(sidecar.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect(statusesOf(await elsewhere())).toEqual([401]);
    const closed = once(leaver, "close");
    if (isReset) leaver.resetAndDestroy();
    else leaver.destroy();
    await closed;
    expect(statusesOf(await elsewhere())).toEqual([401]);

    const stays = sendRaw(sidecar.port, `GET /stays HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields}`);
    const jwks = JSON.stringify(await provider.jwks());
    provider.answer(JWKS_PATH, undefined);
    for (const response of waiting) response.end(jwks);

    expect(statusesOf(await stays)).toEqual([200]);
    expect(backend.requestLines()).toEqual(["GET /stays HTTP/1.1"]);
    expect(provider.requests).toEqual([DISCOVERY_PATH, JWKS_PATH]);
    expect(sidecar.failures).toEqual([]);
  });
});
