import { describe, expect, test } from "vitest";
import { apiKeyEntry } from "../support/api-keys.ts";
import { startRawBackend } from "../support/raw-backend.ts";
import { exchange, sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";
import { startTlsSidecar } from "../support/tls-sidecar.ts";

/** No test comes from the range that is believed. */
const YAML = `
authenticators:
  edge: {type: trustedHeader, header: X-Remote-User, from: [192.0.2.0/24], claims: {email: X-Remote-Email}}
  mesh: {type: clientCertificate, from: [192.0.2.0/24]}
  keys: {type: apiKey, header: X-Api-Key, keys: [${apiKeyEntry("acme-key", "acme")}]}
authenticate: [edge, mesh, keys, anonymous]
token: {audience: backend, headerName: X-Service-Token, tokenPrefix: "", additionalClaims: {who: $header(X-Remote-User), via: $user(email)}}
policies:
  - {name: no-token, match: {path: /no-token}, token: none}
  - {name: nobody, match: {path: /anonymous}, authenticate: [anonymous]}
  - {name: refused, match: {path: /refused}, authenticate: [edge, mesh]}
  - {name: kept, match: {path: /keys}, authenticate: [keys]}
  - {name: rest}
`;

const SPELLINGS = [
  ["as it is", "X-Remote-User: forged"],
  ["in small letters", "x-remote-user: forged"],
  ["in capitals", "X-REMOTE-USER: forged"],
  ["with _", "X_Remote_User: forged"],
  ["with .", "X.Remote.User: forged"],
  ["mixed", "X-Remote_User: forged"],
  ["with what no name has", "X~Remote!User: forged"],
  ["twice", "X-Remote-User: forged\r\nX-Remote-User: forged"],
  ["twice, in two spellings", "x_remote_user: forged\r\nX-Remote-User: forged"],
  ["named in Connection", "X-Remote-User: forged\r\nConnection: X-Remote-User"],
  ["named in Connection in another spelling", "X-Remote-User: forged\r\nConnection: x_remote_user"],
  ["the field of a claim", "X-Remote-Email: forged\r\nx_remote_email: forged"],
  ["Client-Cert", "Client-Cert: :forged:\r\nClient_Cert: :forged:\r\nClient-Cert-Chain: :forged:"],
  [
    "said to come from a proxy",
    "X-Remote-User: forged\r\nX-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1",
  ],
] as const;

const REQUESTS = [
  ["proxied", "GET / HTTP/1.1", "", 200],
  ["without a token", "GET /no-token HTTP/1.1", "", 200],
  ["anonymous", "GET /anonymous HTTP/1.1", "", 200],
  ["known by something else", "GET /keys HTTP/1.1", "X-Api-Key: acme-key\r\n", 200],
  ["OPTIONS", "OPTIONS / HTTP/1.1", "", 200],
  ["HEAD", "HEAD / HTTP/1.1", "", 200],
  ["to upgrade", "GET / HTTP/1.1", "Upgrade: websocket\r\nConnection: upgrade\r\n", 200],
  ["401", "GET /refused HTTP/1.1", "", 401],
] as const;

describe.each(SPELLINGS)(
  "a field that says who is calling, from a peer that is not believed, %s,",
  (_title, lines) => {
    test("makes nobody of anybody, and does not reach the backend, on any path", async () => {
      // HEAD has no body.
      await using backend = await startRawBackend((socket, data) => {
        const body = data.startsWith("HEAD") ? "" : "ok";
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${body}`);
      });
      await using sidecar = await startSidecar(backend.url, { yaml: YAML });
      for (const [title, requestLine, more, status] of REQUESTS) {
        const answer = await sendRaw(
          sidecar.port,
          `${requestLine}\r\nHost: a\r\nConnection: close\r\n${more}${lines}\r\n\r\n`,
        );
        expect([title, ...statusesOf(answer)]).toEqual([title, status]);
        expect(answer).not.toContain("forged");
      }
      expect(backend.requestLines()).toHaveLength(REQUESTS.filter(([, , , status]) => status === 200).length);
      expect(backend.received()).not.toMatch(/forged|^x.remote.|^client.cert/im);
      expect(subjectsIn(backend.received())).toEqual([
        "api-gateway",
        "api-gateway",
        "acme",
        ...Array(3).fill("api-gateway"),
      ]);
      expect(payloadsIn(backend.received()).some((payload) => "who" in payload || "via" in payload)).toBe(
        false,
      );
    });
  },
);

test("nor does one in the trailers of a chunked body", async () => {
  await using backend = await startRawBackend((socket, data) => {
    if (data.includes("0\r\n\r\n")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  await using sidecar = await startSidecar(backend.url, { yaml: YAML });
  const answer = await sendRaw(
    sidecar.port,
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Remote-User\r\nConnection: close\r\n\r\n" +
      "3\r\nabc\r\n0\r\nX-Remote-User: forged\r\nx_remote_user: forged\r\nClient-Cert: :forged:\r\n\r\n",
  );
  expect(statusesOf(answer)).toEqual([200]);
  expect(backend.received()).not.toMatch(/forged|^trailer:/im);
  expect(subjectsIn(backend.received())).toEqual(["api-gateway"]);
});

test("a proxy that is believed cannot be made to say a second thing by another spelling of it", async () => {
  await using backend = await startRawBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: YAML.replace("from: [192.0.2.0/24], claims", "from: [127.0.0.1], claims").replaceAll(
      "X-Remote-User, from",
      "X-Remote-User, forwardCredential: true, from",
    ),
  });
  const answer = await sendRaw(
    sidecar.port,
    "GET / HTTP/1.1\r\nHost: a\r\nX_Remote_User: forged\r\nX-Remote-User: carol\r\nx.remote.email: forged\r\nConnection: close\r\n\r\n",
  );
  expect(statusesOf(answer)).toEqual([200]);
  expect(backend.received().match(/^x.remote.*$/gim)).toEqual(["X-Remote-User: carol"]);
  expect(payloadsIn(backend.received())).toMatchObject([{ sub: "carol", who: "carol" }]);
});

describe("whoever ends TLS takes out what a client says of its certificate (RFC 9440 §2.4)", () => {
  test.each([
    ["with no certificate asked for", "none", ""],
    [
      "with the certificate of the connection",
      "optional",
      "authenticators: {mesh: {type: clientCertificate}}\nauthenticate: [mesh, anonymous]\n",
    ],
    [
      "with proxies in front that are believed",
      "none",
      "authenticators: {mesh: {type: clientCertificate, from: [192.0.2.0/24]}}\nauthenticate: [mesh, anonymous]\n",
    ],
  ] as const)("%s", async (_title, clientCertificate, yaml) => {
    await using backend = await startRawBackend();
    await using tls = await startTlsSidecar(backend.url, { clientCertificate, yaml });
    const answer = await exchange(
      await tls.connect(),
      "GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: :forged:\r\nclient_cert: :forged:\r\nClient-Cert-Chain: :forged:\r\nConnection: close\r\n\r\n",
    );
    expect(statusesOf(answer)).toEqual([200]);
    expect(backend.received()).not.toContain("forged");
  });

  test("and where another ends it, what a stranger says in front of it", async () => {
    await using backend = await startRawBackend();
    await using sidecar = await startSidecar(backend.url, {
      yaml: "authenticators: {mesh: {type: clientCertificate, from: [192.0.2.0/24]}}\nauthenticate: [anonymous]\n",
    });
    const answer = await sendRaw(
      sidecar.port,
      "GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: :forged:\r\nClient-Cert-Chain: :forged:\r\nConnection: close\r\n\r\n",
    );
    expect(statusesOf(answer)).toEqual([200]);
    expect(backend.received()).not.toContain("forged");
  });
});

/** What each token in a recording says. */
function payloadsIn(received: string): Record<string, unknown>[] {
  return [...received.matchAll(/^x-service-token: [\w-]+\.([\w-]+)\./gim)].map(([, payload = ""]) =>
    JSON.parse(Buffer.from(payload, "base64url").toString()),
  );
}

function subjectsIn(received: string): unknown[] {
  return payloadsIn(received).map(({ sub }) => sub);
}
