import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { LINGER_MILLISECONDS } from "../../../src/gateway/client/client-response.ts";
import { MAX_FORM_BYTES } from "../../../src/gateway/token-endpoint/form.ts";
import { connectHttp2, LISTEN_HTTP2 } from "../../support/http2-client.ts";
import { exchange, sendRaw, statusesOf } from "../../support/raw-client.ts";
import { startSidecar } from "../../support/sidecar.ts";
import {
  ACME_KEY,
  API,
  answerOf,
  basic,
  CLIENT_CREDENTIALS,
  JWT_TYPE,
  startTokenEndpoint,
  type TestTokenEndpoint,
  TOKEN_EXCHANGE,
} from "../../support/token-endpoint.ts";

const FORM = `grant_type=${CLIENT_CREDENTIALS}`;
const TYPE = "application/x-www-form-urlencoded";

let endpoint: TestTokenEndpoint;

beforeAll(async () => {
  endpoint = await startTokenEndpoint();
  return () => endpoint[Symbol.asyncDispose]();
});

/** Sends any body at all, as the client `acme`. */
async function post(body: string | Uint8Array<ArrayBuffer>, headers: Readonly<Record<string, string>> = {}) {
  return answerOf(
    await fetch(endpoint.url, {
      method: "POST",
      body,
      headers: { "content-type": TYPE, ...basic("acme", ACME_KEY), ...headers },
    }),
  );
}

describe("the metadata", () => {
  const metadataOf = async ({ sidecar }: TestTokenEndpoint) =>
    (await (await fetch(`${sidecar.issuer.url}/.well-known/openid-configuration`)).json()) as object;

  test("names the endpoint, and what it takes", async () => {
    expect(await metadataOf(endpoint)).toMatchObject({
      token_endpoint: endpoint.url,
      token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "none"],
      grant_types_supported: [CLIENT_CREDENTIALS, TOKEN_EXCHANGE],
    });
  });

  test("names only the grant that clients with a secret can use, and the other is refused", async () => {
    await using other = await startTokenEndpoint({ callers: "authenticate: [partners]" });
    expect(await metadataOf(other)).toMatchObject({
      token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
      grant_types_supported: [CLIENT_CREDENTIALS],
    });
    expect((await other.exchange()).body.error).toBe("unsupported_grant_type");
  });

  test("names only the exchange where no client has a secret, and the other is refused", async () => {
    await using other = await startTokenEndpoint({ callers: "authenticate: [login], publicClients: [app]" });
    expect(await metadataOf(other)).toMatchObject({
      token_endpoint_auth_methods_supported: ["none"],
      grant_types_supported: [TOKEN_EXCHANGE],
    });
    const answer = await other.ask({ grant_type: CLIENT_CREDENTIALS, client_id: "app" });
    expect(answer.body.error).toBe("unsupported_grant_type");
  });

  test("has another URL for the endpoint where the configuration says so", async () => {
    const url = "https://api.example.com/__issuer/token";
    await using other = await startTokenEndpoint({ endpoint: `audiences: [${API}], url: ${url}` });
    expect(await metadataOf(other)).toMatchObject({ token_endpoint: url });
  });
});

describe("without the key tokenEndpoint", () => {
  test("there is none, and the metadata says nothing of one", async () => {
    await using sidecar = await startSidecar("http://127.0.0.1:9");
    const response = await fetch(`${sidecar.issuer.url}/token`, { method: "POST", body: FORM });
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ code: "ERR_ISSUER_PATH_UNKNOWN" });
    expect(sidecar.issuer.metadata()).not.toHaveProperty("token_endpoint");
  });
});

test("tokens are asked for with POST alone", async () => {
  for (const method of ["GET", "HEAD", "PUT", "DELETE"]) {
    const response = await fetch(`${endpoint.url}?${FORM}`, { method, headers: basic("acme", ACME_KEY) });
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe("POST, OPTIONS");
  }
});

describe("invalid_request is answered to a body", () => {
  test.each([
    ["of another type", FORM, { "content-type": "application/json" }],
    ["of a type that only begins so", FORM, { "content-type": `${TYPE}x` }],
    ["in another character set", FORM, { "content-type": `${TYPE};charset=utf-16` }],
    ["that is compressed", FORM, { "content-encoding": "gzip" }],
    ["that is empty", "", {}],
    ["that is not in UTF-8", new Uint8Array([...Buffer.from(`${FORM}&x=`), 0xff]), {}],
    ["with a parameter twice", `${FORM}&scope=a&scope=a`, {}],
  ])("%s", async (_, body, headers) => {
    const answer = await post(body, headers as Record<string, string>);
    expect(answer).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });

  test("whose parameters stand in the query", async () => {
    const response = await fetch(`${endpoint.url}?${FORM}`, {
      method: "POST",
      headers: { "content-type": TYPE, ...basic("acme", ACME_KEY) },
    });
    expect(await answerOf(response)).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });
});

test.each([`${TYPE};charset=UTF-8`, `${TYPE} ; charset="utf-8"`, TYPE.toUpperCase()])(
  "a body may be of the type %s",
  async (contentType) => {
    expect((await post(FORM, { "content-type": contentType })).status).toBe(200);
  },
);

test("parameters that nobody knows, and those without a value, count as left out", async () => {
  expect((await post(`${FORM}&scope=&x=1&__proto__=2&constructor=3`)).status).toBe(200);
});

describe("a body that is too large", () => {
  test("is not read where it says so itself", async () => {
    const answer = await sendRaw(
      endpoint.sidecar.port,
      `POST /__issuer/token HTTP/1.1\r\nHost: a\r\nContent-Type: ${TYPE}\r\nContent-Length: ${MAX_FORM_BYTES + 1}\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).toContain('"error":"invalid_request"');
    expect(answer).toMatch(/\r\nconnection: close\r\n/i);
  });

  test("is read no further than to there where it does not", async () => {
    const pieces = async function* () {
      for (let i = 0; i <= MAX_FORM_BYTES; i += 4096) yield Buffer.alloc(4096, "a");
    };
    const response = await fetch(endpoint.url, {
      method: "POST",
      body: ReadableStream.from(pieces()),
      duplex: "half",
      headers: { "content-type": TYPE },
    });
    expect(response.status).toBe(413);
  });
});

test("a client that expects 100-continue is told to go on", async () => {
  const socket = connect(endpoint.sidecar.port, "127.0.0.1");
  const first = new Promise<string>((resolve) => socket.once("data", (data) => resolve(String(data))));
  const { authorization = "" } = basic("acme", ACME_KEY);
  socket.write(
    `POST /__issuer/token HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nAuthorization: ${authorization}\r\nContent-Type: ${TYPE}\r\nContent-Length: ${FORM.length}\r\n\r\n`,
  );
  expect(await first).toBe("HTTP/1.1 100 Continue\r\n\r\n");
  expect(await exchange(socket, FORM)).toMatch(/^HTTP\/1\.1 200 /);
});

test("a client that expects 100-continue is not told to send a body that nobody wants", async () => {
  const answer = await sendRaw(
    endpoint.sidecar.port,
    `POST /__issuer/token HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n`,
  );
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
});

test("two Authorization fields are refused", async () => {
  const { authorization = "" } = basic("acme", ACME_KEY);
  const answer = await sendRaw(
    endpoint.sidecar.port,
    `POST /__issuer/token HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: ${authorization}\r\nAuthorization: ${authorization}\r\nContent-Type: ${TYPE}\r\nContent-Length: ${FORM.length}\r\n\r\n${FORM}`,
  );
  expect(answer).toContain('"error":"invalid_request"');
});

test("a client that leaves in mid-body leaves nothing behind", async () => {
  const socket = connect(endpoint.sidecar.port, "127.0.0.1");
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.write(
    `POST /__issuer/token HTTP/1.1\r\nHost: a\r\nContent-Type: ${TYPE}\r\nContent-Length: 100\r\n\r\ngrant_type=`,
    () => socket.resetAndDestroy(),
  );
  await new Promise((resolve) => socket.once("close", resolve));
  expect((await post(FORM)).status).toBe(200);
  expect(endpoint.sidecar.failures).toEqual([]);
});

test("tokens can be had in HTTP/2", async () => {
  await using other = await startTokenEndpoint({ yaml: LISTEN_HTTP2 });
  using client = await connectHttp2(other.sidecar.url);
  const fields = { ":method": "POST", ":path": "/__issuer/token", "content-type": TYPE };
  const answer = await client.request({ ...fields, ...basic("acme", ACME_KEY) }, FORM);
  expect(answer.status).toBe(200);
  expect(JSON.parse(answer.body)).toMatchObject({ token_type: "Bearer" });
});

describe("a page in a browser", () => {
  const origin = { origin: "https://app.example.com" };

  test("may ask, and read the answer, where there are clients without a secret", async () => {
    const preflight = await fetch(endpoint.url, { method: "OPTIONS", headers: origin });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
    expect(preflight.headers.get("access-control-allow-methods")).toBe("POST");

    const parameters = {
      grant_type: TOKEN_EXCHANGE,
      client_id: "app",
      subject_token: await endpoint.provider.sign({ sub: "alice" }),
      subject_token_type: JWT_TYPE,
    };
    const answer = await endpoint.ask(parameters, origin);
    expect(answer.headers.get("access-control-allow-origin")).toBe("*");
    expect(await endpoint.claimsOf(answer)).toMatchObject({ sub: "alice", client_id: "app" });
    const refused = await endpoint.ask({ ...parameters, scope: "admin" }, origin);
    expect(refused.headers.get("access-control-allow-origin")).toBe("*");
  });

  test("gets one answer whatever becomes of the body of its preflight", async () => {
    const socket = connect(endpoint.sidecar.port, "127.0.0.1");
    const answer = exchange(
      socket,
      "OPTIONS /__issuer/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    await sleep(2 * LINGER_MILLISECONDS);
    socket.write("no chunk\r\n");
    expect(statusesOf(await answer)).toEqual([204]);
  });

  test("may not where every client has a secret", async () => {
    await using other = await startTokenEndpoint({ callers: "authenticate: [partners]" });
    for (const method of ["OPTIONS", "POST"]) {
      const { headers } = await fetch(other.url, { method, headers: origin });
      expect([...headers.keys()].filter((name) => name.startsWith("access-control-"))).toEqual([]);
    }
  });
});

test("above the limit of connections no tokens are given, and the keys are still served", async () => {
  await using other = await startTokenEndpoint({ yaml: "limits: {connections: 1}" });
  const { port } = other.sidecar;
  const first = connect(port, "127.0.0.1");
  await new Promise((resolve) => first.once("connect", resolve));
  const ask = (head: string) => sendRaw(port, `${head} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  expect(await ask("POST /__issuer/token")).toMatch(/^HTTP\/1\.1 503 /);
  expect(await ask("GET /__issuer/.well-known/jwks.json")).toMatch(/^HTTP\/1\.1 200 /);
  first.destroy();
});

test("a description has none of the characters that OAuth keeps out of it", async () => {
  const answers = [
    await endpoint.ask({ grant_type: 'a"\\é' }),
    await endpoint.exchange({}, { subject_token: 'é"\\.b.c' }),
    await post(`${FORM}&a"=1&a"=2`),
  ];
  for (const { body } of answers) {
    expect(body.error_description).toMatch(/^[\x20\x21\x23-\x5b\x5d-\x7e]+$/);
    expect(Object.keys(body)).toEqual(["error", "error_description"]);
  }
  // What the operator has named may be said, and is not ASCII.
  await using other = await startTokenEndpoint({ requiredClaims: ['rôle "x"'] });
  expect((await other.exchange()).body.error_description).toBe(
    "the subject_token is not good: the token has no claim r'le 'x'",
  );
});
