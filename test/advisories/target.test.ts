import { describe, expect, test } from "vitest";
import { startRig } from "./support.ts";

const REST = "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

describe("a path that two readers could take for two is refused (CVE-2025-66490, CVE-2026-41059, CVE-2019-9901)", () => {
  test.each([
    "/a/../b",
    "/a/%2e%2e/b",
    "/a%2fb",
    "/a%5cb",
    "/a\\b",
    "/a//b",
    "//evil.example/b",
    "/a;b",
    "/a#b",
    "/a%00b",
    "/a%252e%252e%252fb",
    "/a%",
  ])("%s", async (path) => {
    await using rig = await startRig();

    expect(await rig.send(`GET ${path} ${REST}`)).toEqual([400]);

    expect(rig.backend.received()).toBe("");
  });
});

test("an encoded letter cannot dodge a policy, and goes on as it came", async () => {
  await using rig = await startRig();

  await rig.send(`GET /%6fpen ${REST}`);

  expect(rig.backend.requestLines()).toEqual(["GET /%6fpen HTTP/1.1"]);
  expect(rig.backend.received()).not.toMatch(/x-service-token/i);
});

test("an absolute-form target goes to the upstream in origin form, and its host counts", async () => {
  await using rig = await startRig();

  expect(await rig.send(`GET http://other.example:81/a?b ${REST}`)).toEqual([200]);

  await rig.expectForwarded("GET /a?b HTTP/1.1");
  expect(rig.backend.received()).toMatch(/^host: other\.example:81\r$/im);
  expect(rig.backend.received()).not.toMatch(/^host: a\r$/im);
});

test.each([
  ["GET *", 400],
  ["CONNECT evil.example:443", 405],
  ["CONNECT /", 405],
  ["GET http://[", 400],
  ["GET http://user@evil.example/", 400],
  ["GET http:///a", 400],
  ["GET ftp://evil.example/", 400],
  ["GET evil.example", 400],
])("%s is answered %i, also as an upgrade, and nothing is forwarded", async (requestLine, status) => {
  await using rig = await startRig();

  expect(await rig.send(`${requestLine} ${REST}`)).toEqual([status]);
  expect(
    await rig.send(
      `${requestLine} HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n`,
    ),
  ).toEqual([status]);

  expect(rig.backend.received()).toBe("");
});

describe("with encoded separators let through, no reading of a path gets past the issuer or a policy", () => {
  const yaml = `
token: {headerName: X-Service-Token, tokenPrefix: "", audience: backend}
allowInPath: [encodedSlash, encodedBackslash]
policies:
  - {name: admin, match: {path: "/admin/*rest"}}
  - {name: rest, token: none}
`;

  test.each([
    ["/__issuer%2f.well-known%2fjwks.json", 404],
    ["/__issuer%5cx", 404],
    ["/__issuer%252fx", 404],
    ["/.well-known%2foauth-authorization-server/__issuer", 404],
    ["/admin%2fx", 400],
    ["/admin%5cx", 400],
    ["/%2561dmin/x", 400],
  ])("%s is answered %i", async (path, status) => {
    await using rig = await startRig(yaml);

    expect(await rig.send(`GET ${path} ${REST}`)).toEqual([status]);

    expect(rig.backend.received()).toBe("");
  });

  test("a path that every reading gives to the same policy goes on", async () => {
    await using rig = await startRig(yaml);

    await rig.send(`GET /admin/a%2fb ${REST}`);

    await rig.expectForwarded("GET /admin/a%2fb HTTP/1.1");
  });
});
