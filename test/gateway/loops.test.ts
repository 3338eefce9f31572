import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { viaPseudonymsOf } from "../../src/gateway/via.ts";
import type { RequestRecord } from "../../src/index.ts";
import { type RecordedRequest, startBackend } from "../support/backend.ts";
import { freePort } from "../support/free-port.ts";
import { startFrontProxy } from "../support/front-proxy.ts";
import { connectHttp2 } from "../support/http2-client.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar, type TestSidecar } from "../support/sidecar.ts";

const CLOSE = "Connection: close\r\n\r\n";
const HANDSHAKE =
  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/** A sidecar on a port that is known before, and the code of each request that it got: the last to come ends first. */
async function startAt(port: number, upstreamPort: number, yaml = "") {
  const rounds: (string | undefined)[] = [];
  const sidecar = await startSidecar(`http://127.0.0.1:${upstreamPort}`, {
    yaml: `${/^listen:/m.test(yaml) ? "" : `listen: 127.0.0.1:${port}\n`}${yaml}`,
    onRequestEnd: ({ code }: RequestRecord) => rounds.push(code),
  });
  onTestFinished(() => sidecar.close());
  return { sidecar, rounds };
}

async function problemAt(url: string): Promise<{ status: number; code: unknown }> {
  const response = await fetch(url);
  const { code } = (await response.json()) as { code: unknown };
  return { status: response.status, code };
}

const LOOP = { status: 508, code: "ERR_LOOP_DETECTED" };
const ONE_ROUND = ["ERR_LOOP_DETECTED", undefined];

describe("a request that comes back is answered 508, and makes one round", () => {
  test.each([
    ["with a token", ""],
    ["with token: none", "policies: [{name: all, token: none}]\n"],
  ])("to a sidecar whose upstream is itself, %s", async (_, yaml) => {
    const port = await freePort();
    const { sidecar, rounds } = await startAt(port, port, yaml);

    expect(await problemAt(`${sidecar.url}/orders`)).toEqual(LOOP);
    await expect.poll(() => rounds).toEqual(ONE_ROUND);
  });

  test("through a plain proxy that leaves Via as it is", async () => {
    const port = await freePort();
    await using proxy = await startFrontProxy(port, (lines) => lines);
    const { sidecar, rounds } = await startAt(port, proxy.port);

    expect(await problemAt(sidecar.url)).toEqual(LOOP);
    await expect.poll(() => rounds).toEqual(ONE_ROUND);
  });

  test("between two sidecars that forward to each other", async () => {
    const [one, other] = [await freePort(), await freePort()];
    const first = await startAt(one, other);
    const second = await startAt(other, one);

    expect(await problemAt(first.sidecar.url)).toEqual(LOOP);
    await expect.poll(() => first.rounds).toEqual(ONE_ROUND);
    expect(second.rounds).toEqual([undefined]);
  });

  test("as a handshake for a WebSocket", async () => {
    const port = await freePort();
    const { rounds } = await startAt(port, port);

    const answer = await sendRaw(port, `GET /chat HTTP/1.1\r\nHost: a\r\n${HANDSHAKE}\r\n`);

    expect(statusesOf(answer)).toEqual([508]);
    await expect.poll(() => rounds).toEqual(ONE_ROUND);
  });

  test("over HTTP/2", async () => {
    const port = await freePort();
    const { sidecar, rounds } = await startAt(
      port,
      port,
      `listen: {address: "127.0.0.1:${port}", http2: true}\n`,
    );
    using client = await connectHttp2(sidecar.url);

    expect(await client.request({ ":path": "/" })).toMatchObject({ status: 508 });
    await expect.poll(() => rounds).toEqual(ONE_ROUND);
  });
});

/** The name by which a sidecar calls itself. */
const nameOf = ({ issuer }: TestSidecar) => viaPseudonymsOf(issuer)().own;

describe("Via that names this deployment", () => {
  test.each<[string, (name: string) => string]>([
    ["alone", (name) => `Via: 1.1 ${name}`],
    ["with a protocol and a port", (name) => `Via: HTTP/1.1 ${name}:8080`],
    ["in capitals", (name) => `VIA: 1.1 ${name.toUpperCase()}`],
    ["between others", (name) => `Via: 1.1 a (b, c),1.1 ${name} (d),, 2 e`],
    ["behind a comment that is left open", (name) => `Via: 1.1 a (b, 1.1 ${name}`],
    ["on its second line", (name) => `Via: 1.1 a\r\nvia: 1.1 ${name}`],
  ])("%s is a loop", async (_, viaOf) => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url);

    const answer = await sendRaw(
      sidecar.port,
      `GET / HTTP/1.1\r\nHost: a\r\n${viaOf(nameOf(sidecar))}\r\n${CLOSE}`,
    );

    expect(statusesOf(answer)).toEqual([508]);
    expect(backend.requests).toEqual([]);
  });

  test("is no loop where it names another that is called alike", async () => {
    await using backend = await startBackend();
    await using sidecar = await startSidecar(backend.url);
    const name = nameOf(sidecar);
    const others = `1.1 countersign, 1.1 countersign-AAAAAAAAAAAA, 1.1 x${name}, 1.1 ${name}x, 1.1 ${name}.a`;

    const answer = await sendRaw(
      sidecar.port,
      `GET / HTTP/1.1\r\nHost: a\r\nVia: ${others}\r\nX-Via: 1.1 ${name}\r\n${CLOSE}`,
    );

    expect(statusesOf(answer)).toEqual([200]);
    expect(backend.requests[0]?.headers.via).toBe(`${others}, 1.1 ${name}`);
  });

  test("is refused before anybody is asked who is calling, and the issuer's documents are served all the same", async () => {
    await using sidecar = await startSidecar("http://127.0.0.1:9", {
      yaml: `
authenticators: {keys: {type: apiKey, keys: [{subject: a, sha256: "${"0".repeat(64)}"}]}}
authenticate: [keys]
`,
    });
    const statusOf = async (path: string) => {
      const request = httpRequest(sidecar.url + path, { headers: { via: `1.1 ${nameOf(sidecar)}` } }).end();
      const [response] = await once(request, "response");
      response.resume();
      return response.statusCode;
    };

    expect(await statusOf("/")).toBe(508);
    expect(await statusOf("/__issuer/.well-known/jwks.json")).toBe(200);
  });
});

test("two sidecars in a row are no loop, also where their issuers have the same URL", async () => {
  const issuer = "issuer: {url: http://127.0.0.1:8080/__issuer, keys: {ephemeral: true}}\n";
  await using backend = await startBackend();
  await using second = await startSidecar(backend.url, { yaml: issuer });
  await using first = await startSidecar(second.url, { yaml: issuer });

  expect((await fetch(first.url)).status).toBe(200);

  const [request] = backend.requests as [RecordedRequest];
  expect(request.headers.via).toBe(`1.1 ${nameOf(first)}, 1.1 ${nameOf(second)}`);
  expect(nameOf(first)).not.toBe(nameOf(second));
});

describe("the name of a deployment", () => {
  const jwksOf = (...kids: string[]) =>
    ({ keys: kids.map((kid) => ({ kid })) }) as unknown as ReturnType<TestSidecar["issuer"]["jwks"]>;
  const namesOf = (url: string, ...kids: string[]) => viaPseudonymsOf({ url, jwks: () => jwksOf(...kids) })();

  test("follows from the issuer's URL and the key that signs: all its replicas have the same", () => {
    expect(namesOf("https://a", "k1", "k2").own).toBe(namesOf("https://a", "k1").own);
    const names = [namesOf("https://a", "k1"), namesOf("https://a", "k2"), namesOf("https://b", "k1")];
    expect(new Set(names.map(({ own }) => own)).size).toBe(3);
    for (const { own } of names) expect(own).toMatch(/^countersign-[\w-]{12}$/);
  });

  test("changes with a rotation, and the names of all published keys are known", () => {
    let jwks = jwksOf("old", "next");
    const current = viaPseudonymsOf({ url: "https://a", jwks: () => jwks });
    const before = current();
    jwks = jwksOf("next", "old");
    const after = current();

    expect(after.own).toBe(namesOf("https://a", "next").own);
    for (const { all } of [before, after]) {
      expect(all).toContain(before.own.toLowerCase());
      expect(all).toContain(after.own.toLowerCase());
    }
  });

  test("is made once for each JWK Set", () => {
    const jwks = jwksOf("k1");
    const current = viaPseudonymsOf({ url: "https://a", jwks: () => jwks });
    expect(current()).toBe(current());
  });
});
