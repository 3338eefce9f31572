import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { expect, test, vi } from "vitest";
import { apiKeyEntry } from "../support/api-keys.ts";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { withoutRequests } from "../support/log.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";
import { rawHandshake } from "../support/websocket.ts";

/** A file in which nothing is there that only policies need. */
const yamlIn = (folder: string) => `
issuer: {url: "https://orders.example.com/__issuer", keys: {directory: ${join(folder, "keys")}}}
identity: {account: a, files: [{path: ${join(folder, "token")}, audience: a}]}
authenticators:
  partners: {type: apiKey, header: X-Api-Key, keys: [${apiKeyEntry("a-key", "acme")}]}
  ops: {type: basic, htpasswd: ${join(folder, "missing")}}
tokenEndpoint: {authenticate: [partners], audiences: ["https://api.example.com"]}
authenticate: [anonymous]
policies:
  - {name: own-code, match: {path: /code}, module: ${join(folder, "missing.mjs")}}
  - {name: ops, match: {path: "/ops/*rest"}, authenticate: [ops], token: {algorithm: ES256}}
  - {name: others}
`;

test("an issuer alone publishes the keys of every policy, issues tokens to clients, and forwards nothing", async () => {
  await using backend = await startBackend();
  using folder = temporaryFolder();
  await using issuer = await startSidecar(backend.url, {
    yaml: yamlIn(folder.path),
    issuerOnly: true,
  });
  const jwks = createRemoteJWKSet(new URL(`${issuer.url}/__issuer/.well-known/jwks.json`));
  const response = await fetch(`${issuer.url}/__issuer/token`, {
    method: "POST",
    headers: { authorization: `Basic ${btoa("acme:a-key")}` },
    body: new URLSearchParams({ grant_type: "client_credentials", resource: "https://api.example.com" }),
  });
  const { access_token: token } = (await response.json()) as { access_token: string };
  expect((await jwtVerify(token, jwks)).payload.sub).toBe("acme");
  expect(
    jwks
      .jwks()
      ?.keys.map(({ alg }) => alg)
      .sort(),
  ).toEqual(["ES256", "EdDSA", "RS256"]);

  for (const path of ["/", "/code", "/ops/1", "/__issuer", "/__issuer/other", "/livez"]) {
    const refused = await fetch(`${issuer.url}${path}`, { headers: { "x-api-key": "a-key" } });
    expect([path, refused.status]).toEqual([path, 404]);
  }
  expect(statusesOf(await sendRaw(issuer.port, rawHandshake("/chat")))).toEqual([404]);
  expect(backend.requests).toEqual([]);
  expect(existsSync(join(folder.path, "token"))).toBe(false);
});

test("serve --issuer-only says so, and forwards nothing after a reload either", async () => {
  await using backend = await startBackend();
  using folder = temporaryFolder();
  const file = join(folder.path, "sidecar.yaml");
  writeFileSync(file, `listen: 127.0.0.1:0\nadmin: false\nupstream: ${backend.url}\n`);
  await using issuer = await startCommand(["serve", "--issuer-only"], { cwd: folder.path });
  expect(withoutRequests(issuer.output().stderr)).toMatch(
    /^listening on .*\nforwarding {4}nothing: the issuer's endpoints alone are served\nissuer /,
  );

  writeFileSync(file, `listen: 127.0.0.1:0\nadmin: false\nupstream: ${backend.url}\npublicUrl: https://a\n`);
  await vi.waitFor(() => expect(issuer.output().stderr).toContain("is used from now on"), 5000);

  expect((await fetch(issuer.url)).status).toBe(404);
  expect((await fetch(`${issuer.url}/__issuer/.well-known/jwks.json`)).status).toBe(200);
  expect(backend.requests).toEqual([]);
});
