import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { apiKeyEntry } from "../support/api-keys.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { startIdentityProvider, type TestIdentityProvider } from "../support/identity-provider.ts";
import { startRig } from "./support.ts";

const GET = "GET / HTTP/1.1";

describe("Connection cannot take the token field away (CVE-2021-32813, CVE-2024-45410, CVE-2026-33805)", () => {
  test.each([
    ["named", "Connection: close, x-service-token"],
    ["in capitals", "Connection: close\r\nCONNECTION: X-SERVICE-TOKEN"],
    ["on several lines", "Connection: close\r\nConnection: x-a, X-Service-Token\r\nX-A: 1"],
    ["with upgrade", "Connection: close, upgrade, x-service-token\r\nUpgrade: websocket"],
    ["in another spelling", "Connection: close, x_service_token, x.service.token"],
  ])("%s", async (_, fields) => {
    await using rig = await startRig();

    expect(await rig.send(`${GET}\r\nHost: a\r\n${fields}\r\n\r\n`)).toEqual([200]);

    await rig.expectForwarded(GET);
    expect(rig.backend.received()).not.toMatch(/^connection: (?!keep-alive\r$)/im);
  });
});

describe("a client's token field never reaches the backend, in any spelling (CVE-2025-64484, CVE-2026-39858)", () => {
  test.each([
    "X-Service-Token",
    "x-service-token",
    "X-SERVICE-TOKEN",
    "X_Service_Token",
    "x.service.token",
    "X-Service_Token",
    "X~Service!Token",
  ])("%s", async (name) => {
    await using rig = await startRig();

    await rig.send(`${GET}\r\nHost: a\r\n${name}: forged\r\nConnection: close\r\n\r\n`);

    await rig.expectForwarded(GET);
    expect(rig.backend.received()).not.toContain("forged");
  });

  test("repeated", async () => {
    await using rig = await startRig();

    await rig.send(
      `${GET}\r\nHost: a\r\nX-Service-Token: forged\r\nx_service_token: forged\r\nX-Service-Token: forged\r\nConnection: close\r\n\r\n`,
    );

    await rig.expectForwarded(GET);
    expect(rig.backend.received()).not.toContain("forged");
  });

  test("on a path whose policy sends no token", async () => {
    await using rig = await startRig();

    await rig.send(
      "GET /open HTTP/1.1\r\nHost: a\r\nX-Service-Token: forged\r\nx_service_token: forged\r\nConnection: close\r\n\r\n",
    );

    expect(rig.backend.requestLines()).toEqual(["GET /open HTTP/1.1"]);
    expect(rig.backend.received()).not.toMatch(/forged|x.service.token/i);
  });

  test("with a request to upgrade, which stays a plain request", async () => {
    await using rig = await startRig();

    await rig.send(
      `${GET}\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nX-Service-Token: forged\r\n\r\n`,
    );

    await rig.expectForwarded(GET);
    expect(rig.backend.received()).not.toMatch(/forged|^upgrade:/im);
  });

  test("in the trailers of a chunked body", async () => {
    await using rig = await startRig();

    await rig.send(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Service-Token\r\nConnection: close\r\n\r\n" +
        "3\r\nabc\r\n0\r\nX-Service-Token: forged\r\n\r\n",
    );

    await rig.expectForwarded("POST / HTTP/1.1");
    expect(rig.backend.received()).not.toMatch(/forged|^trailer:/im);
  });
});

test("fields named like members of every object do no harm (CVE-2026-21710)", async () => {
  await using rig = await startRig();

  await rig.send(
    `${GET}\r\nHost: a\r\n__proto__: x\r\nconstructor: y\r\nhasOwnProperty: z\r\nConnection: close\r\n\r\n`,
  );

  await rig.expectForwarded(GET);
  expect(({} as Record<string, unknown>).x).toBeUndefined();
});

describe("where callers are known,", () => {
  let login: TestIdentityProvider;
  beforeAll(async () => {
    login = await startIdentityProvider();
  });
  const folder = temporaryFolder();
  afterAll(async () => {
    await login[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });
  const moduleOf = (name: string, source: string) => {
    const path = join(folder.path, `${name}.mjs`);
    writeFileSync(path, source);
    return path;
  };
  const failing = moduleOf("failing", "export default () => { throw new Error('it fails'); };");
  const meddling = moduleOf(
    "meddling",
    `export default ({ request }) => {
      request.headers["x-service-token"] = request.headers["x-original-token"] = "forged";
      return {};
    };`,
  );
  const KEYS = `keys: [${apiKeyEntry("acme-key", "acme")}]`;

  /** Credentials in the very fields that Countersign sets, and forwarded where that may be. */
  const yaml = () => `
authenticators:
  login: {type: jwt, issuer: "${login.url}", audience: orders, algorithms: [ES256], originalTokenHeader: X-Original-Token, forwardCredential: true}
  in-place: {type: apiKey, header: X-Service-Token, forwardCredential: true, ${KEYS}}
  in-second: {type: apiKey, header: X-Original-Token, forwardCredential: true, ${KEYS}}
  edge: {type: trustedHeader, header: X-Other-Token, from: [127.0.0.1], claims: {token: X-Original-Token}, forwardCredential: true}
token: {headerName: X-Service-Token, tokenPrefix: "", audience: backend}
policies:
  - {name: open, match: {path: /open}, token: none, authenticate: [login, anonymous]}
  - {name: other, match: {path: /other}, authenticate: [edge, anonymous], token: {headerName: X-Other-Token}}
  - {name: login, match: {path: /login}, authenticate: [login]}
  - {name: in-place, match: {path: /in-place}, authenticate: [in-place]}
  - {name: in-second, match: {path: /in-second}, authenticate: [in-second]}
  - {name: failing, match: {path: /failing}, authenticate: [login, anonymous], module: {file: ${failing}}}
  - {name: meddling, match: {path: /meddling}, authenticate: [login, anonymous], module: {file: ${meddling}}}
  - {name: rest, authenticate: [login, in-second, anonymous]}
`;
  const request = (path: string, ...lines: string[]) =>
    `GET ${path} HTTP/1.1\r\n${["Host: a", "Connection: close", ...lines].join("\r\n")}\r\n\r\n`;
  const FORGED = [
    ...["X-Service-Token: forged", "x_service_token: forged", "X.Service.Token: forged"],
    ...["X-Original-Token: forged", "x_original_token: forged", "X-ORIGINAL-TOKEN: forged"],
  ];
  const bearer = async () => `Authorization: Bearer ${await login.sign()}`;

  test.each(["/", "/meddling", "/login"])("forged fields do not reach the backend: %s", async (path) => {
    await using rig = await startRig(yaml());
    // Of the forged ones none is the credential here.
    const jwt = await login.sign();
    expect(await rig.send(request(path, ...FORGED, `Authorization: Bearer ${jwt}`))).toEqual([200]);
    await rig.expectForwarded(`GET ${path} HTTP/1.1`);
    expect(rig.backend.received()).not.toContain("forged");
    expect(rig.backend.received().match(/^x.original.token: .*$/gim)).toEqual([`X-Original-Token: ${jwt}`]);
  });

  test("nor those of anonymous callers, on a path without a token and on one with another field", async () => {
    await using rig = await startRig(yaml());
    for (const path of ["/open", "/other"]) expect(await rig.send(request(path, ...FORGED))).toEqual([200]);
    expect(rig.backend.requestLines()).toHaveLength(2);
    expect(rig.backend.received()).not.toMatch(/forged|x.(original|service).token/i);
  });

  test("Connection does not take away the caller's own token, which goes on in its own field", async () => {
    await using rig = await startRig(yaml());
    const nominating = "Connection: x-original-token, x-service-token, authorization";
    for (const path of ["/login", "/open"])
      expect(await rig.send(request(path, nominating, ...FORGED, await bearer()))).toEqual([200]);
    expect(rig.backend.received()).not.toContain("forged");
    expect(rig.backend.received().match(/^x-original-token: ey/gim)).toHaveLength(2);
    expect(rig.backend.received().match(/^x-service-token: ey/gim)).toHaveLength(1);
  });

  test.each([
    ["/in-place", "X-Service-Token: acme-key"],
    ["/in-second", "X-Original-Token: acme-key"],
  ])(
    "a credential in a field that Countersign sets is not forwarded, even where it is to be: %s",
    async (path, field) => {
      await using rig = await startRig(yaml());
      expect(await rig.send(request(path, field))).toEqual([200]);
      await rig.expectForwarded(`GET ${path} HTTP/1.1`);
      expect(rig.backend.received()).not.toContain("acme-key");
    },
  );

  test("what a proxy in front may say it does not say in the field of a token", async () => {
    await using rig = await startRig(yaml());
    expect(await rig.send(request("/other", "X-Other-Token: carol", "x_other_token: carol"))).toEqual([200]);
    expect(await rig.send(request("/open", "X-Other-Token: carol"))).toEqual([200]);
    expect(rig.backend.received()).not.toContain("carol");
    expect(rig.backend.received().match(/^x.other.token: ../gim)).toEqual(["X-Other-Token: ey"]);
  });

  test("where the code of a policy fails nothing is forwarded, with a token or without", async () => {
    await using rig = await startRig(yaml());
    expect(await rig.send(request("/failing", ...FORGED))).toEqual([503]);
    expect(await rig.send(request("/failing", await bearer()))).toEqual([503]);
    expect(rig.backend.received()).toBe("");
    expect(rig.sidecar.failures).toMatchObject(
      Array(2).fill({ code: "ERR_MODULE_FAILED", cause: "it fails" }),
    );
  });

  test("a request that is refused goes nowhere, forged fields or not", async () => {
    await using rig = await startRig(yaml());
    for (const path of ["/", "/open", "/login", "/in-place", "/in-second"])
      expect(
        await rig.send(
          request(
            path,
            "Authorization: Bearer forged",
            "X-Service-Token: forged",
            "X-Original-Token: forged",
          ),
        ),
      ).toEqual([401]);
    expect(rig.backend.received()).toBe("");
  });
});
