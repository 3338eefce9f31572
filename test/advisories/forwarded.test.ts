import { connect } from "node:net";
import { decodeJwt } from "jose";
import { describe, expect, test } from "vitest";
import { canonicalFieldName } from "../../src/gateway/field-names.ts";
import {
  appendForwarded,
  appendXForwardedFor,
  type FieldRewriting,
  startFrontProxy,
} from "../support/front-proxy.ts";
import { exchange, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";
import { type Rig, startRig, TOKEN_FIELD } from "./support.ts";

const TOKEN = `
token:
  headerName: X-Service-Token
  tokenPrefix: ""
  audience: backend
  additionalClaims: {ip: $request(ip), url: $request(url)}
`;
/** The proxies of these tests are at this address, and the attacker at another. */
const TRUSTED = `${TOKEN}trustedProxies: [127.0.0.1]\n`;
const ATTACKER = "127.0.0.66";

/** What an attacker says of where the request comes from. */
const CLAIMS = [
  "X-Forwarded-For: 6.6.6.6",
  "x-forwarded-for: 6.6.6.7",
  "X_Forwarded_For: 6.6.6.8",
  "X.Forwarded.For: 6.6.6.9",
  "X-Forwarded-Proto: wss",
  "X-Forwarded-Host: evil.example",
  "X_Forwarded_Host: evil.example",
  "X-Forwarded-Port: 666",
  "X-Forwarded-Prefix: /evil",
  "X-Forwarded-Server: evil.example",
  "X-Real-IP: 6.6.6.6",
  "X_Real_IP: 6.6.6.6",
  "Forwarded: for=6.6.6.6;host=evil.example;proto=https",
];

/** Sends from the attacker's address; gives the statuses that came back. */
async function attack(port: number, lines: readonly string[]): Promise<number[]> {
  const socket = connect({ port, host: "127.0.0.1", localAddress: ATTACKER });
  const head = ["GET /a HTTP/1.1", "Host: api.example.com", ...lines, "Connection: close"].join("\r\n");
  return statusesOf(await exchange(socket, `${head}\r\n\r\n`));
}

/** What the backend got about forwarding, by canonical name; and the claims of its token. */
function seenBy({ backend }: Rig) {
  const fields = new Map<string, string[]>();
  for (const line of (backend.received().split("\r\n\r\n")[0] ?? "").split("\r\n").slice(1)) {
    const [name = "", value = ""] = line.split(/: (.*)/s);
    const canonical = canonicalFieldName(name);
    fields.set(canonical, [...(fields.get(canonical) ?? []), value]);
  }
  const [token = ""] = fields.get(TOKEN_FIELD) ?? [];
  const about = [...fields].filter(([name]) => /forwarded|real-ip/.test(name));
  return { about: Object.fromEntries(about), claims: decodeJwt(token) };
}

/** What an attacker sends through a proxy is answered 400, and nothing is forwarded. */
async function expectRefusal(rewrite: FieldRewriting, lines: readonly string[], yaml = TRUSTED) {
  await using rig = await startRig(yaml);
  await using proxy = await startFrontProxy(rig.sidecar.port, rewrite);

  expect(await attack(proxy.port, lines)).toEqual([400]);

  expect(rig.backend.received()).toBe("");
}

test("what a peer says that is not trusted reaches neither the backend nor the token, in any spelling", async () => {
  await using rig = await startRig(TRUSTED);

  expect(await attack(rig.sidecar.port, CLAIMS)).toEqual([200]);

  await rig.expectForwarded("GET /a HTTP/1.1");
  expect(seenBy(rig)).toMatchObject({
    about: {
      "x-forwarded-for": [ATTACKER],
      "x-forwarded-proto": ["http"],
      "x-forwarded-host": ["api.example.com"],
    },
    claims: { ip: ATTACKER, url: "http://api.example.com/a" },
  });
  expect(rig.backend.received()).not.toMatch(/6\.6\.6|evil|\b666\b|\bwss\b/);
});

test("without trustedProxies not even the loopback address is believed", async () => {
  await using rig = await startRig(TOKEN);

  await rig.send(`GET /a HTTP/1.1\r\nHost: a\r\n${CLAIMS.join("\r\n")}\r\nConnection: close\r\n\r\n`);

  await rig.expectForwarded("GET /a HTTP/1.1");
  expect(rig.backend.received()).not.toMatch(/6\.6\.6|evil|\b666\b|\bwss\b/);
  expect(seenBy(rig).claims).toMatchObject({ ip: "127.0.0.1", url: "http://a/a" });
});

test("other spellings are not believed from a trusted peer either, and do not go on", async () => {
  await using rig = await startRig(TRUSTED);
  const lines = CLAIMS.filter((line) => /^\w+[_.]/.test(line));
  expect(lines).toHaveLength(4);

  await rig.send(`GET /a HTTP/1.1\r\nHost: a\r\n${lines.join("\r\n")}\r\nConnection: close\r\n\r\n`);

  await rig.expectForwarded("GET /a HTTP/1.1");
  expect(rig.backend.received()).not.toMatch(/6\.6\.6|evil/);
  expect(seenBy(rig).claims).toMatchObject({ ip: "127.0.0.1", url: "http://a/a" });
});

describe("behind a proxy that adds to X-Forwarded-For", () => {
  test.each([
    ["an address of one's own", ["X-Forwarded-For: 6.6.6.6"]],
    ["the address of the proxy", ["X-Forwarded-For: 6.6.6.6, 127.0.0.1"]],
    ["two lines", ["X-Forwarded-For: 6.6.6.6", "x-forwarded-for: 127.0.0.1"]],
    ["a broken list", ['X-Forwarded-For: "6.6.6.6', "X-Forwarded-For: ,,;"]],
    ["another spelling", ["X_Forwarded_For: 6.6.6.6"]],
    ["Connection, which names it", ["Connection: X-Forwarded-For, X-Forwarded-Host"]],
  ])("an attacker's address stands in the token whatever it says: %s", async (_, lines) => {
    await using rig = await startRig(TRUSTED);
    await using proxy = await startFrontProxy(rig.sidecar.port, appendXForwardedFor);

    expect(await attack(proxy.port, lines)).toEqual([200]);

    await rig.expectForwarded("GET /a HTTP/1.1");
    expect(seenBy(rig).about["x-forwarded-for"]).toEqual([`${ATTACKER}, 127.0.0.1`]);
    expect(seenBy(rig).claims.ip).toBe(ATTACKER);
    expect(rig.backend.received()).not.toContain("6.6.6");
  });

  test.each([
    ["an address", "for=6.6.6.6"],
    ["a scheme and a host", "proto=https;host=evil.example"],
    ["the attacker's own address, and a host", `for=${ATTACKER};host=evil.example`],
  ])("Forwarded with %s is refused, as the proxy does not know it", async (_, value) => {
    await expectRefusal(appendXForwardedFor, [`Forwarded: ${value}`]);
  });
});

describe("behind a proxy that adds to Forwarded", () => {
  test.each([
    ["an address of one's own", ["Forwarded: for=6.6.6.6;host=evil.example"]],
    [
      "the address of the proxy",
      ["Forwarded: for=6.6.6.6;host=evil.example, for=127.0.0.1;host=evil.example"],
    ],
    ["a hop that is hidden", ["Forwarded: for=_6.6.6.6;host=evil.example"]],
  ])("an attacker's address stands in the token whatever it says: %s", async (_, lines) => {
    await using rig = await startRig(TRUSTED);
    await using proxy = await startFrontProxy(rig.sidecar.port, appendForwarded);

    expect(await attack(proxy.port, lines)).toEqual([200]);

    await rig.expectForwarded("GET /a HTTP/1.1");
    expect(seenBy(rig)).toMatchObject({
      about: {
        forwarded: [`for=${ATTACKER};proto=https, for=127.0.0.1;proto=http;host=api.example.com`],
        "x-forwarded-for": [`${ATTACKER}, 127.0.0.1`],
        "x-forwarded-proto": ["https"],
      },
      claims: { ip: ATTACKER, url: "https://api.example.com/a" },
    });
    expect(rig.backend.received()).not.toMatch(/6\.6\.6|evil/);
  });

  test.each([
    ["X-Forwarded-For", ["X-Forwarded-For: 6.6.6.6"]],
    ["X-Forwarded-Host", ["X-Forwarded-Host: evil.example"]],
    ["an open quote that would hide the proxy's own hop", ['Forwarded: for="']],
  ])("%s is refused, as it is not the proxy's", async (_, lines) => {
    await expectRefusal(appendForwarded, lines);
  });
});

test("a client whose proxy passes X-Forwarded-Host on does not get past the policy for its Host", async () => {
  const yaml = `${TRUSTED}
policies:
  - {name: public, match: {hosts: [public.example]}, token: none}
  - {name: rest}
`;
  await expectRefusal(appendXForwardedFor, ["X-Forwarded-Host: public.example"], yaml);
});

test("behind another sidecar the client is the one that this one sees", async () => {
  await using rig = await startRig(TRUSTED);
  await using front = await startSidecar(rig.sidecar.url);

  expect(await attack(front.port, CLAIMS)).toEqual([200]);

  await rig.expectForwarded("GET /a HTTP/1.1");
  expect(seenBy(rig)).toMatchObject({
    about: { "x-forwarded-for": [`${ATTACKER}, 127.0.0.1`], "x-forwarded-host": ["api.example.com"] },
    claims: { ip: ATTACKER, url: "http://api.example.com/a" },
  });
  expect(rig.backend.received()).not.toMatch(/6\.6\.6|evil|\b666\b|\bwss\b/);
});
