import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { decodeJwt } from "jose";
import { describe, expect, test } from "vitest";
import { openStage } from "../../src/cli/rehearsal.ts";
import { makeRehearsalKeys } from "../../src/cli/rehearsal-keys.ts";
import { parseConfig } from "../../src/index.ts";
import { fieldValues } from "../../src/policy/caller-request.ts";
import { startBackend } from "../support/backend.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { sendRaw } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";
import { ca, get, startTlsSidecar } from "../support/tls-sidecar.ts";

const TOKEN =
  "token: {additionalClaims: {ip: $request(ip), host: $request(host), origin: $request(origin)}}\n";
/** Every test connects from 127.0.0.1. */
const TRUSTED = `trustedProxies: [127.0.0.1, 10.0.0.0/8, "fd00::/8"]\n${TOKEN}`;

/** One request with these field lines, and what became of it. */
async function send(lines: readonly string[], yaml = TRUSTED, host = "sidecar.internal:8080") {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, { yaml });
  const fields = [`Host: ${host}`, ...lines, "Connection: close"].join("\r\n");
  const answer = await sendRaw(sidecar.port, `GET /a?b HTTP/1.1\r\n${fields}\r\n\r\n`);
  const [received] = backend.requests;
  const { headers = {} } = received ?? {};
  const token = headers.authorization?.replace("Bearer ", "");
  return {
    status: Number(answer.slice(9, 12)),
    code: /"code":"(\w+)"/.exec(answer)?.[1],
    detail: /"detail":"([^"]*)"/.exec(answer)?.[1],
    headers,
    claims: token === undefined ? {} : decodeJwt(token),
  };
}

describe("from a trusted peer the client's address is the nearest one that is no trusted proxy's", () => {
  async function expectClient(_title: string, value: string, address: string, onwards: string) {
    const { headers, claims } = await send([`X-Forwarded-For: ${value}`]);

    expect(claims.ip).toBe(address);
    expect(headers["x-forwarded-for"]).toBe(onwards);
    expect(headers).not.toHaveProperty("forwarded");
  }

  test.each([
    ["one hop", "203.0.113.7", "203.0.113.7", "203.0.113.7, 127.0.0.1"],
    ["what stands left of it is forgotten", "6.6.6.6, 203.0.113.7", "203.0.113.7", "203.0.113.7, 127.0.0.1"],
    [
      "a chain of trusted proxies",
      "6.6.6.6, 203.0.113.7, 10.0.0.2, 10.0.0.1",
      "203.0.113.7",
      "203.0.113.7, 10.0.0.2, 10.0.0.1, 127.0.0.1",
    ],
    ["trusted proxies alone", "10.0.0.2,10.0.0.1", "10.0.0.2", "10.0.0.2, 10.0.0.1, 127.0.0.1"],
    ["IPv6, in its usual spelling", "2001:DB8::0:7", "2001:db8::7", "2001:db8::7, 127.0.0.1"],
    ["an IPv6 proxy", "203.0.113.7, fd00::1", "203.0.113.7", "203.0.113.7, fd00::1, 127.0.0.1"],
    ["an IPv4 address within IPv6", "::ffff:203.0.113.7", "203.0.113.7", "203.0.113.7, 127.0.0.1"],
    ["a port behind it", "203.0.113.7:4711", "203.0.113.7", "203.0.113.7, 127.0.0.1"],
    ["IPv6 with a port", "[2001:db8::7]:4711", "2001:db8::7", "2001:db8::7, 127.0.0.1"],
    ["empty elements", ", 203.0.113.7,, ", "203.0.113.7", "203.0.113.7, 127.0.0.1"],
  ])("%s", expectClient);

  test.each([
    ["unknown", "203.0.113.7, unknown, 10.0.0.1", "10.0.0.1", "10.0.0.1, 127.0.0.1"],
    ["a text", "203.0.113.7, someone", "127.0.0.1", "127.0.0.1"],
    ["a number too large", "203.0.113.7, 1.2.3.256", "127.0.0.1", "127.0.0.1"],
    ["a range", "203.0.113.7, 10.0.0.0/8", "127.0.0.1", "127.0.0.1"],
    ["a zone", "203.0.113.7, fe80::1%eth0", "127.0.0.1", "127.0.0.1"],
    ["the word for a Unix socket", "203.0.113.7, unix", "127.0.0.1", "127.0.0.1"],
  ])("an element that names no address ends the way: %s", expectClient);

  test("several lines are one list", async () => {
    const { headers } = await send([
      "X-Forwarded-For: 6.6.6.6, 203.0.113.7",
      "X-Forwarded-For: 10.0.0.2",
      "x-forwarded-for: 10.0.0.1",
    ]);

    expect(headers["x-forwarded-for"]).toBe("203.0.113.7, 10.0.0.2, 10.0.0.1, 127.0.0.1");
  });
});

describe("from a trusted peer the scheme and the host are believed too", () => {
  test("in the URL of the request, and in what the backend is told", async () => {
    const { headers, claims } = await send([
      "X-Forwarded-For: 203.0.113.7",
      "X-Forwarded-Proto: https",
      "X-Forwarded-Host: API.example.com:444",
      "X-Forwarded-Port: 1",
    ]);

    expect(claims).toMatchObject({
      aud: "https://API.example.com:444/a?b",
      origin: "https://API.example.com:444",
      host: "api.example.com",
    });
    expect(headers).toMatchObject({
      host: "sidecar.internal:8080",
      "x-forwarded-proto": "https",
      "x-forwarded-host": "API.example.com:444",
    });
    expect(headers).not.toHaveProperty("x-forwarded-port");
  });

  test.each([
    ["HTTPS", "https"],
    ["wss", "https"],
    ["ws", "http"],
    ["", "http"],
    // Proxies need not all add an element, so that it is not known whose the first is.
    ["https, http", "http"],
    ["http,https", "https"],
  ])("X-Forwarded-Proto: %s is %s", async (value, scheme) => {
    const { headers, claims } = await send(["X-Forwarded-For: 203.0.113.7", `X-Forwarded-Proto: ${value}`]);

    expect(headers["x-forwarded-proto"]).toBe(scheme);
    expect(claims.aud).toBe(`${scheme}://sidecar.internal:8080/a?b`);
  });

  test("publicUrl counts before them", async () => {
    const { claims } = await send(
      ["X-Forwarded-Proto: http", "X-Forwarded-Host: other.example"],
      `publicUrl: https://api.example.com/base\n${TRUSTED}`,
    );

    expect(claims).toMatchObject({
      aud: "https://api.example.com/base/a?b",
      origin: "https://api.example.com",
      host: "other.example",
    });
  });

  test.each([
    ["X-Forwarded-Proto: ftp"],
    ["X-Forwarded-Proto: https://"],
    ["X-Forwarded-Host: user@a"],
    ["X-Forwarded-Host: a/b"],
    ["X-Forwarded-Host: a b"],
    ["X-Forwarded-Host: a..b"],
    ["Forwarded: proto=ftp"],
    ['Forwarded: host="user@a"'],
  ])("%s is refused", async (line) => {
    expect(await send([line])).toMatchObject({ status: 400, code: "ERR_FORWARDED_INVALID", headers: {} });
  });
});

describe("Forwarded (RFC 7239) from a trusted peer", () => {
  test.each([
    [
      "one hop",
      'for=203.0.113.7;proto=https;host="api.example.com:444";by=_edge',
      { ip: "203.0.113.7", aud: "https://api.example.com:444/a?b" },
    ],
    [
      "any case, and an unknown parameter",
      "FOR=203.0.113.7;Proto=HTTPS;secret=x",
      { ip: "203.0.113.7", aud: "https://sidecar.internal:8080/a?b" },
    ],
    ["IPv6", 'for="[2001:db8::7]:4711"', { ip: "2001:db8::7", aud: "http://sidecar.internal:8080/a?b" }],
    [
      "spaces around semicolons",
      "for=203.0.113.7 ; proto=https",
      { ip: "203.0.113.7", aud: "https://sidecar.internal:8080/a?b" },
    ],
    [
      "scheme and host are those of the client's hop",
      "for=6.6.6.6;proto=http;host=evil.example, for=203.0.113.7;proto=https;host=api.example.com, for=10.0.0.1;proto=http;host=inner",
      { ip: "203.0.113.7", aud: "https://api.example.com/a?b" },
    ],
    [
      "a hop that hides its address still says the rest",
      "for=6.6.6.6;host=evil.example, for=_hidden;proto=https;host=api.example.com",
      { ip: "127.0.0.1", aud: "https://api.example.com/a?b" },
    ],
    [
      "so does one without an address",
      "for=6.6.6.6, proto=https",
      { ip: "127.0.0.1", aud: "https://sidecar.internal:8080/a?b" },
    ],
    ["an escaped character in a quoted text", 'for="203.0.113\\.7"', { ip: "203.0.113.7" }],
  ])("%s", async (_, value, expected) => {
    expect((await send([`Forwarded: ${value}`])).claims).toMatchObject(expected);
  });

  test("goes on with a hop of the peer's, from the client's hop on", async () => {
    const { headers } = await send([
      'Forwarded: for=6.6.6.6, for="[2001:db8::7]";proto=https',
      "Forwarded: for=10.0.0.1;by=_edge",
    ]);

    expect(headers.forwarded).toBe(
      'for="[2001:db8::7]";proto=https, for=10.0.0.1;by=_edge, for=127.0.0.1;proto=http;host="sidecar.internal:8080"',
    );
    expect(headers["x-forwarded-for"]).toBe("2001:db8::7, 10.0.0.1, 127.0.0.1");
    expect(headers["x-forwarded-proto"]).toBe("https");
  });

  test.each([
    ["an open quote", 'for="203.0.113.7'],
    ["a line that a quote spans", 'for="'],
    ["no value", "for"],
    ["an empty value", "for="],
    ["a colon outside of quotes", "for=203.0.113.7:80"],
    ["IPv6 outside of quotes", "for=2001:db8::7"],
    ["a parameter twice", "for=203.0.113.7;for=203.0.113.8"],
    ["nothing between two parameters", "for=203.0.113.7 proto=https"],
    ["a space around the equals sign", "for = 203.0.113.7"],
    ["a text behind a quote", 'for="203.0.113.7"x'],
  ])("is refused with %s", async (_, value) => {
    // Also where another line is as it should be.
    const { status, code, headers } = await send([`Forwarded: ${value}`, 'Forwarded: for="203.0.113.7"']);

    expect({ status, code, headers }).toEqual({ status: 400, code: "ERR_FORWARDED_INVALID", headers: {} });
  });
});

describe("both families at once", () => {
  const X = ["X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: api.example.com"];

  test.each([
    ["another address", "for=203.0.113.8;proto=https;host=api.example.com"],
    ["another scheme", "for=203.0.113.7;proto=http;host=api.example.com"],
    ["another host", "for=203.0.113.7;proto=https;host=evil.example"],
    ["no address", "proto=https;host=api.example.com"],
    ["no scheme", "for=203.0.113.7;host=api.example.com"],
    ["no host", "for=203.0.113.7;proto=https"],
  ])("are refused where Forwarded says %s", async (_, value) => {
    const { status, code, detail, headers } = await send([...X, `Forwarded: ${value}`]);

    expect({ status, code, headers }).toEqual({ status: 400, code: "ERR_FORWARDED_AMBIGUOUS", headers: {} });
    expect(detail).toMatch(/let the proxy in front set one of the two and remove the other/);
  });

  test.each([0, 1, 2])("are refused where a field of X-Forwarded-* is not there", async (left) => {
    const lines = X.filter((_, index) => index !== left);
    const whole = "Forwarded: for=203.0.113.7;proto=https;host=api.example.com";

    expect(await send([...lines, whole])).toMatchObject({ status: 400, code: "ERR_FORWARDED_AMBIGUOUS" });
  });

  test("go on where they say the same", async () => {
    const { headers, claims } = await send([
      ...X,
      'Forwarded: for="203.0.113.7:4711";proto=https;host=API.example.com',
    ]);

    expect(claims).toMatchObject({ ip: "203.0.113.7", aud: "https://api.example.com/a?b" });
    expect(headers.forwarded).toMatch(
      /^for="203\.0\.113\.7:4711";proto=https;host=API\.example\.com, for=127\.0\.0\.1;/,
    );
  });

  test("are one where the other is empty", async () => {
    expect(await send([...X, "Forwarded:"])).toMatchObject({ status: 200, claims: { ip: "203.0.113.7" } });
  });
});

describe("which policy a request matches", () => {
  const POLICIES = `
policies:
  - {name: api, match: {hosts: [api.example.com]}, token: {subject: api}}
  - {name: rest, token: {subject: rest}}
`;

  test("is told by the host that is believed, where the backend does not see Host", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: `${TRUSTED}upstream: {url: "${backend.url}", preserveHost: false}\n${POLICIES}`,
    });

    await sendRaw(
      sidecar.port,
      "GET / HTTP/1.1\r\nHost: sidecar.internal\r\nX-Forwarded-Host: api.example.com\r\nConnection: close\r\n\r\n",
    );

    const [received] = backend.requests;
    expect(decodeJwt(received?.headers.authorization?.slice(7) ?? "").sub).toBe("api");
    expect(received?.headers.host).toBe(`127.0.0.1:${backend.port}`);
  });

  test.each([
    ["api.example.com", "other.example"],
    ["other.example", "api.example.com"],
  ])(
    "must be the same for Host %s and the believed host %s, where the backend sees Host",
    async (host, believed) => {
      const { status, code, detail } = await send(
        [`X-Forwarded-Host: ${believed}`],
        TRUSTED + POLICIES,
        host,
      );

      expect({ status, code }).toEqual({ status: 400, code: "ERR_FORWARDED_AMBIGUOUS" });
      expect(detail).toMatch(/let the proxy keep Host, or set preserveHost/);
    },
  );

  test.each([
    ["sidecar.internal", "other.example", "rest"],
    ["api.example.com:8080", "API.example.com.", "api"],
  ])("is no question where Host %s and the believed host %s lead to one", async (host, believed, sub) => {
    const { claims } = await send([`X-Forwarded-Host: ${believed}`], TRUSTED + POLICIES, host);

    expect(claims.sub).toBe(sub);
  });
});

describe("who may say who is calling is told by the peer alone", () => {
  const yaml = (from: string) => `
${TRUSTED}
authenticators: {edge: {type: trustedHeader, header: X-User, from: [${from}]}}
authenticate: [edge, anonymous]
`;

  test("not by an address in X-Forwarded-For", async () => {
    const lines = ["X-Forwarded-For: 203.0.113.7", "X-User: alice"];
    const { headers, claims } = await send(lines, yaml("203.0.113.7"));

    expect(claims).toMatchObject({ sub: "api-gateway", ip: "203.0.113.7" });
    expect(headers).not.toHaveProperty("x-user");
  });

  test("and a peer that may goes on to do so for others", async () => {
    const { claims } = await send(["X-Forwarded-For: 203.0.113.7", "X-User: alice"], yaml("127.0.0.1"));

    expect(claims).toMatchObject({ sub: "alice", ip: "203.0.113.7" });
  });
});

describe("the peer of a Unix socket", () => {
  /** What goes on of a request that comes over a Unix socket. */
  async function overUnixSocket(trustedProxies: string, fields: readonly (readonly [string, string])[]) {
    const text = `upstream: http://127.0.0.1:9\nissuer: {keys: {ephemeral: true}}\ntrustedProxies: [${trustedProxies}]\n${TOKEN}`;
    const { config } = parseConfig(text, { file: "sidecar.yaml" });
    await using stage = await openStage(config, { keys: await makeRehearsalKeys(config) });
    const request = { method: "GET", url: "http://a/", fields, from: "unix" };
    const { decision } = await stage.rehearse(request);
    if (decision.kind !== "forward" || !decision.token) throw new Error("the request was not forwarded");
    const [forwardedFor] = fieldValues(decision.fields, "x-forwarded-for");
    const [forwarded] = fieldValues(decision.fields, "forwarded");
    return { forwardedFor, forwarded, ip: decodeJwt(decision.token.jwt).ip };
  }

  test("is believed where trustedProxies names unix", async () => {
    expect(await overUnixSocket("unix", [["X-Forwarded-For", "6.6.6.6, 203.0.113.7"]])).toEqual({
      forwardedFor: "203.0.113.7",
      forwarded: undefined,
      ip: "203.0.113.7",
    });
    expect(await overUnixSocket("unix", [["Forwarded", "for=203.0.113.7"]])).toEqual({
      forwardedFor: "203.0.113.7",
      forwarded: "for=203.0.113.7, for=unknown;proto=http;host=a",
      ip: "203.0.113.7",
    });
  });

  test.each([
    ["where nothing is said", "unix", []],
    ["where it is not trusted", "10.0.0.0/8", [["X-Forwarded-For", "203.0.113.7"]]],
    ["where every address is trusted", "0.0.0.0/0, '::/0'", [["X-Forwarded-For", "203.0.113.7"]]],
  ] as const)("is unknown %s", async (_, trustedProxies, fields) => {
    expect(await overUnixSocket(trustedProxies, fields)).toMatchObject({
      forwardedFor: "unknown",
      ip: "unknown",
    });
  });
});

test.each([
  ["[unix]", "127.0.0.1", "https"],
  ["[127.0.0.1, unix]", "203.0.113.7, 127.0.0.1", "https"],
  ["[127.0.0.1]", "unknown", "http"],
])("over a real Unix socket trustedProxies: %s counts", async (trustedProxies, forwardedFor, scheme) => {
  using folder = temporaryFolder();
  const socketPath = join(folder.path, "c.sock");
  await using backend = await startBackend();
  await using _sidecar = await startSidecar(backend.url, {
    yaml: `listen: unix:${socketPath}\nissuer: {url: "http://a/__issuer", keys: {ephemeral: true}}\ntrustedProxies: ${trustedProxies}\n${TOKEN}`,
  });
  const headers = { host: "a", "x-forwarded-for": "203.0.113.7, 127.0.0.1", "x-forwarded-proto": "https" };

  const request = httpRequest({ socketPath, headers, agent: false }).end();
  const [response] = (await once(request, "response")) as [IncomingMessage];
  await text(response);

  expect(backend.requests[0]?.headers).toMatchObject({
    "x-forwarded-for": forwardedFor,
    "x-forwarded-proto": scheme,
  });
});

test("over HTTP/2 the scheme is that of the connection, and a trusted peer is believed", async () => {
  await using backend = await startBackend();
  await using tls = await startTlsSidecar(backend.url, { yaml: TRUSTED });
  const session = connectHttp2(tls.sidecar.url, { ca: ca.cert });
  for (const headers of [
    { ":scheme": "http" },
    { "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "http" },
  ]) {
    const stream = session.request({ ":path": "/a", ...headers });
    stream.resume().end();
    await once(stream, "close");
  }
  session.close();

  const [direct, proxied] = backend.requests.map(({ headers }) => headers);
  expect(direct).toMatchObject({
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-proto": "https",
  });
  expect(proxied).toMatchObject({ "x-forwarded-for": "203.0.113.7, 127.0.0.1", "x-forwarded-proto": "http" });
});

test("on a listener with TLS the scheme is https, whoever is trusted", async () => {
  await using backend = await startBackend();
  await using tls = await startTlsSidecar(backend.url, { yaml: TRUSTED });

  await get(`${tls.sidecar.url}/a`, { ca });
  await get(`${tls.sidecar.url}/a`, { ca, headers: { "x-forwarded-proto": "http" } });

  const [direct, proxied] = backend.requests.map(({ headers }) => headers);
  expect(direct?.["x-forwarded-proto"]).toBe("https");
  expect(decodeJwt(direct?.authorization?.slice(7) ?? "").aud).toBe(`${tls.sidecar.url}/a`);
  expect(proxied?.["x-forwarded-proto"]).toBe("http");
});
