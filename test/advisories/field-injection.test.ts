import { decodeJwt } from "jose";
import { describe, expect, test } from "vitest";
import { ConfigError, parseConfig } from "../../src/index.ts";
import { startRig, TOKEN_FIELD } from "./support.ts";

/** A string of YAML that says the characters by their numbers. */
const quoted = (text: string) => JSON.stringify(text);

const CHARACTERS: readonly (readonly [name: string, character: string])[] = [
  ["CR", "\r"],
  ["LF", "\n"],
  ["NUL", "\0"],
  ["DEL", "\x7f"],
  ["a character of Latin-1", "é"],
  ["a character beyond Latin-1", "名"],
  ["a character whose low byte is LF", "\u010a"],
];

describe.each(CHARACTERS)("%s does not get onto the wire", (_, character) => {
  test.each([
    ["headerName", (text: string) => `token: {headerName: ${quoted(text)}}`],
    ["tokenPrefix", (text: string) => `token: {tokenPrefix: ${quoted(text)}}`],
    [
      "originalTokenHeader",
      (text: string) =>
        `authenticators: {login: {type: jwt, issuer: "https://login.example.com", audience: a, originalTokenHeader: ${quoted(text)}}}\nauthenticate: [login]`,
    ],
  ])("by %s: the configuration is refused", (key, yaml) => {
    const text = `upstream: http://127.0.0.1:9\n${yaml(`X-A${character}X-Forged`)}\n`;
    let refusal: unknown;
    try {
      parseConfig(text, { file: "sidecar.yaml" });
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toBeInstanceOf(ConfigError);
    expect((refusal as ConfigError).message).toContain(`${key}: `);
  });

  test("by a claim: the token holds it encoded", async () => {
    const text = `a${character}X-Forged: 1`;
    await using rig = await startRig(`
token:
  headerName: X-Service-Token
  tokenPrefix: ""
  audience: backend
  subject: $query(who)
  additionalClaims: {static: ${quoted(text)}, query: $query(who), param: $param(id), list: [$query(who)], ${quoted(text)}: 1}
policies: [{name: all, match: {path: "/orders/:id"}}]
`);
    const encoded = encodeURIComponent(text);
    // Of encoded controls in a path nothing gets as far as a claim.
    const inPath = /\p{Cc}/u.test(character) ? "1" : encoded;

    expect(
      await rig.send(`GET /orders/${inPath}?who=${encoded} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`),
    ).toEqual([200]);

    await rig.expectForwarded(`GET /orders/${inPath}?who=${encoded} HTTP/1.1`);
    const received = rig.backend.received();
    expect(received).not.toMatch(/^x-forged/im);
    const [, token = ""] = new RegExp(`^${TOKEN_FIELD}: (\\S+)\r$`, "im").exec(received) ?? [];
    expect(decodeJwt(token)).toMatchObject({
      sub: text,
      static: text,
      query: text,
      param: decodeURIComponent(inPath),
      list: [text],
      [text]: 1,
    });
  });
});

test("bytes of Latin-1 in a field become a claim, and nothing else", async () => {
  await using rig = await startRig(`
token: {headerName: X-Service-Token, tokenPrefix: "", audience: backend, subject: $header(x-note)}
`);

  expect(
    await rig.send("GET / HTTP/1.1\r\nHost: a\r\nX-Note: a\x85b\xe9\r\nConnection: close\r\n\r\n"),
  ).toEqual([200]);

  await rig.expectForwarded("GET / HTTP/1.1");
});

test("a reference to what every object has finds nothing (CVE-2026-21710)", async () => {
  await using rig = await startRig(`
token:
  headerName: X-Service-Token
  tokenPrefix: ""
  audience: backend
  additionalClaims:
    a: $header(constructor)
    b: $query(constructor)
    c: $query(__proto__)
    d: $user(constructor)
    e: $user(__proto__.polluted)
`);

  expect(await rig.send("GET /?a=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).toEqual([200]);

  const [, token = ""] = /^x-service-token: (\S+)\r$/im.exec(rig.backend.received()) ?? [];
  expect(Object.keys(decodeJwt(token)).toSorted()).toEqual(["aud", "exp", "iat", "iss", "sub"]);
});
