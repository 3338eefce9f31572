import { decodeJwt } from "jose";
import { describe, expect, test } from "vitest";
import { startRawBackend } from "../support/raw-backend.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

const DOCUMENTS = [
  "/__issuer/.well-known/openid-configuration",
  "/.well-known/oauth-authorization-server/__issuer",
  "/__issuer/.well-known/jwks.json",
];

/** Every way to say under which name a server was reached. */
const POISON = [
  "X-Forwarded-Host: evil.example",
  "X-Forwarded-Proto: https",
  "X-Forwarded-Port: 1",
  "X-Forwarded-Prefix: /evil.example",
  "X-Forwarded-Server: evil.example",
  "X-Host: evil.example",
  "X-Original-Host: evil.example",
  "X-HTTP-Host-Override: evil.example",
  "Forwarded: host=evil.example;proto=https",
].join("\r\n");

const ISSUER = "https://id.example.com/__issuer";

describe.each([
  ["the one that is configured", `issuer: {url: "${ISSUER}", keys: {ephemeral: true}}`, ISSUER],
  ["the listener's own", "", undefined],
])("the issuer is %s, whatever a request says", (_, yaml, configured) => {
  test.each(DOCUMENTS)("in %s", async (path) => {
    await using backend = await startRawBackend();
    await using sidecar = await startSidecar(backend.url, { yaml });
    const issuer = configured ?? `${sidecar.url}/__issuer`;

    for (const target of [path, `http://evil.example${path}`]) {
      const answer = await sendRaw(
        sidecar.port,
        `GET ${target} HTTP/1.1\r\nHost: evil.example\r\n${POISON}\r\nConnection: close\r\n\r\n`,
      );
      expect(statusesOf(answer)).toEqual([200]);
      expect(answer).not.toContain("evil.example");
      if (!path.endsWith("jwks.json")) {
        expect(answer).toContain(`"issuer":"${issuer}"`);
        expect(answer).toContain(`"jwks_uri":"${issuer}/.well-known/jwks.json"`);
      }
    }
    expect(backend.received()).toBe("");
  });

  test("in the tokens of requests", async () => {
    await using backend = await startRawBackend();
    await using sidecar = await startSidecar(backend.url, { yaml });

    for (const target of ["/", "http://evil.example/"])
      await sendRaw(
        sidecar.port,
        `GET ${target} HTTP/1.1\r\nHost: evil.example\r\n${POISON}\r\nConnection: close\r\n\r\n`,
      );

    const tokens = [...backend.received().matchAll(/^authorization: Bearer (\S+)\r$/gim)];
    expect(tokens.map(([, token = ""]) => decodeJwt(token).iss)).toEqual(
      Array(2).fill(configured ?? `${sidecar.url}/__issuer`),
    );
  });
});
