import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startSidecar as startPrintingSidecar } from "../../src/cli/running.ts";
import { parseConfig } from "../../src/index.ts";
import { apiKeyEntry } from "../support/api-keys.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { JWKS_PATH, startIdentityProvider } from "../support/identity-provider.ts";
import { keptLog } from "../support/log.ts";
import { startRawBackend } from "../support/raw-backend.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { storedRingIn } from "../support/stored-ring.ts";

/** bcrypt of "correct horse", as htpasswd prints it. */
const PASSWORD_HASH = "$2y$05$9y/PfwezazO0PjA7cc/muuLpKxF2RAbQ2Id.iYtvOYVFx7tI53/5K";

/** What is printed, whichever way. */
let printed = "";
beforeEach(() => {
  printed = "";
  for (const method of ["log", "info", "warn", "error", "debug"] as const)
    vi.spyOn(console, method).mockImplementation((...values) => {
      printed += `${values.join(" ")}\n`;
    });
  for (const stream of [process.stdout, process.stderr])
    vi.spyOn(stream, "write").mockImplementation((text) => {
      printed += String(text);
      return true;
    });
});
afterEach(() => vi.restoreAllMocks());

test.each(["json", "pretty"] as const)(
  "%s: no credential, token or private key is in any line of the log, nor in an answer, whatever fails",
  async (format) => {
    using folder = temporaryFolder();
    const module = join(folder.path, "policy.mjs");
    writeFileSync(module, "export default () => { throw new Error('it fails'); };");
    await using login = await startIdentityProvider();
    const tokens: string[] = [];
    await using backend = await startRawBackend((socket, data) => {
      tokens.push(...(data.match(/eyJ[\w.-]+/g) ?? []));
      if (data.startsWith("GET /reset")) socket.resetAndDestroy();
      else if (data.startsWith("GET /garbage")) socket.end(`${data}\r\n\r\n`);
      else if (data.startsWith("GET /cut")) socket.end("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
      else socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    const directory = join(folder.path, "keys");
    const { config } = parseConfig(
      `
listen: 127.0.0.1:0
upstream: ${backend.url}
issuer: {keys: {directory: ${directory}}}
authenticators:
  keys: {type: apiKey, header: X-Api-Key, keys: [${apiKeyEntry("secret-of-acme", "acme")}]}
  query: {type: apiKey, query: key, keys: [${apiKeyEntry("secret-of-query", "acme")}]}
  ops: {type: basic, users: [{username: ops, passwordHash: "${PASSWORD_HASH}"}]}
  login: {type: jwt, issuer: "${login.url}", audience: orders, algorithms: [ES256]}
authenticate: [keys, query, ops, login]
policies:
  - {name: module, match: {path: /module}, module: {file: ${module}}}
  - {name: unreachable, match: {path: /unreachable}, upstream: "http://127.0.0.1:1"}
  - {name: rest}
`,
      { file: "sidecar.yaml" },
    );
    const good = await login.sign();
    const bad = await login.sign({ aud: "billing-secret" });
    const basic = (text: string) => `Authorization: Basic ${btoa(text)}`;
    const credentials = [
      "X-Api-Key: secret-of-acme",
      "X-Api-Key: wrong-secret",
      basic("ops:correct horse"),
      basic("ops:wrong-password"),
      `Authorization: Bearer ${good}`,
      `Authorization: Bearer ${bad}`,
    ];
    const { log, lines } = keptLog({ subject: "plain", format });
    const { sidecar, running } = await startPrintingSidecar(config, log);
    const [key] = storedRingIn(directory).keys as [Record<string, unknown>];
    const privateKey = JSON.stringify(key).match(/[\w+/-]{40,}/g) ?? [];
    const answers: string[] = [];
    const statuses = new Set<number>();
    try {
      const send = async (target: string, ...fields: string[]) => {
        const answer = await sendRaw(
          Number(new URL(running.url).port),
          `GET ${target} HTTP/1.1\r\n${["Host: a", "Connection: close", ...fields].join("\r\n")}\r\n\r\n`,
        );
        answers.push(answer);
        for (const status of statusesOf(answer)) statuses.add(status);
      };
      for (const credential of credentials)
        for (const path of [
          "/",
          "/module",
          "/unreachable",
          "/reset",
          "/garbage",
          "/cut",
          "//",
          `/?${"q".repeat(7000)}`,
        ])
          await send(path, credential);
      for (const path of ["/", "/unreachable", "//"])
        for (const secret of ["secret-of-query", "wrong-secret"]) await send(`${path}?key=${secret}`);
      login.rotate();
      login.answer(JWKS_PATH, (_request, response) => response.writeHead(500).end());
      await send("/", `Authorization: Bearer ${await login.sign()}`);
    } finally {
      await sidecar.close();
    }

    printed += lines.join("");
    // So that what is looked for in the log has really happened.
    expect([...statuses].toSorted()).toEqual([200, 400, 401, 431, 502, 503]);
    expect(printed).toMatch(
      /ERR_UPSTREAM_BROKEN[\s\S]*ERR_UPSTREAM_UNREACHABLE|ERR_UPSTREAM_UNREACHABLE[\s\S]*ERR_UPSTREAM_BROKEN/,
    );
    expect(tokens.length).toBeGreaterThan(0);
    const secrets = [
      "secret",
      "correct horse",
      "wrong-password",
      PASSWORD_HASH,
      ...privateKey.filter((text) => text !== key.kid),
    ];
    for (const text of [printed, ...answers]) {
      for (const secret of secrets) expect(text).not.toContain(secret);
      expect(text).not.toMatch(/eyJ/);
    }
  },
);
