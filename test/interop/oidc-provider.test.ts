import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { decodeProtectedHeader, exportJWK } from "jose";
import Provider, { type Configuration, type JWK } from "oidc-provider";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { SigningAlgorithm } from "../../src/issuer/algorithms.ts";
import { createTestClock, openTestJwt, type TestClock } from "../support/caller.ts";
import { generateTestKeyPair, type TestKeyPair } from "../support/identity-provider.ts";

const AUDIENCE = "https://orders.internal";
const CLIENT = { id: "nightly-export", secret: "a-secret-of-the-test" };

// It warns of what is right in a test: that it keeps everything in memory.
beforeAll(() => {
  vi.spyOn(console, "warn").mockReturnValue();
});
afterAll(() => {
  vi.restoreAllMocks();
});

/** What answers a caller: who it is, or that it is refused. */
type Ask = (token: string) => Promise<{ kind: string }>;

/** What verifies the tokens of an issuer. A whole sidecar would stand here as well. */
async function openVerifier(issuer: string, clock: TestClock): Promise<Disposable & { readonly ask: Ask }> {
  return openTestJwt(issuer, clock, { audiences: [AUDIENCE], algorithms: ["RS256", "ES256"] });
}

test.each(["RS256", "ES256"] as const)(
  "access tokens of oidc-provider, signed with %s, are good before, during and after a rotation, and not without their key",
  async (algorithm) => {
    const [first, second] = [
      generateTestKeyPair("first", algorithm),
      generateTestKeyPair("second", algorithm),
    ];
    const clock = createTestClock(Date.now());
    await using login = await startOidcProvider();
    await login.useKeys([first]);
    using verifier = await openVerifier(login.issuer, clock);
    const kinds = async (...tokens: string[]) =>
      (await Promise.all(tokens.map(verifier.ask))).map(({ kind }) => kind);

    const before = await login.issueToken();
    expect(decodeProtectedHeader(before)).toMatchObject({ alg: algorithm, kid: "first", typ: "at+jwt" });
    expect(await verifier.ask(before)).toMatchObject({
      kind: "user",
      user: {
        sub: CLIENT.id,
        claims: { client_id: CLIENT.id, aud: AUDIENCE, iss: login.issuer, scope: "orders.read" },
      },
    });

    await login.useKeys([second, first]);
    clock.pass(30);
    const during = await login.issueToken();
    expect(decodeProtectedHeader(during).kid).toBe("second");
    expect(await kinds(before, during)).toEqual(["user", "user"]);

    await login.useKeys([second]);
    clock.pass(30);
    // A key that nobody knows has the keys fetched again, without the first.
    const unknown = `${Buffer.from(JSON.stringify({ alg: algorithm, kid: "third" })).toString("base64url")}.${during.split(".").slice(1).join(".")}`;
    expect(await kinds(unknown)).toEqual(["invalid"]);
    expect(await kinds(before, during)).toEqual(["invalid", "user"]);

    await login.stop();
    clock.pass(30);
    expect(await kinds(during, unknown)).toEqual(["user", "unavailable"]);
  },
);

test("an opaque access token of oidc-provider, and a JWT for another resource, are refused", async () => {
  await using login = await startOidcProvider();
  await login.useKeys([generateTestKeyPair("first", "RS256")]);
  using verifier = await openVerifier(login.issuer, createTestClock(Date.now()));
  expect(await verifier.ask(await login.issueToken(null))).toMatchObject({ kind: "invalid" });
  expect(await verifier.ask(await login.issueToken("https://billing.internal"))).toEqual({
    kind: "invalid",
    reason: "the token is for another audience",
  });
});

/** An oidc-provider that is made anew with each set of keys, on the same port. */
async function startOidcProvider() {
  let handle: RequestListener = (_request, response) => response.writeHead(503).end();
  const server = createServer((request, response) => handle(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  async function stop(): Promise<void> {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  }

  return {
    issuer,
    stop,
    /** The first key signs, all are published. */
    async useKeys(keys: readonly TestKeyPair[]): Promise<void> {
      const [{ algorithm } = { algorithm: "RS256" as const }] = keys;
      const jwks = await Promise.all(keys.map(privateJwkOf));
      handle = new Provider(issuer, configurationOf(jwks, algorithm)).callback();
    },
    /** An access token for a resource, by client_credentials; without a resource it is opaque. */
    async issueToken(resource: string | null = AUDIENCE): Promise<string> {
      const parameters = { grant_type: "client_credentials", scope: "orders.read" };
      const response = await fetch(`${issuer}/token`, {
        method: "POST",
        headers: {
          authorization: `Basic ${Buffer.from(`${CLIENT.id}:${CLIENT.secret}`).toString("base64")}`,
        },
        body: new URLSearchParams({ ...parameters, ...(resource && { resource }) }),
      });
      const body = (await response.json()) as { access_token?: string };
      expect(body).toHaveProperty("access_token");
      return String(body.access_token);
    },
    [Symbol.asyncDispose]: stop,
  };
}

function configurationOf(jwks: JWK[], algorithm: SigningAlgorithm): Configuration {
  return {
    jwks: { keys: jwks },
    clients: [
      {
        client_id: CLIENT.id,
        client_secret: CLIENT.secret,
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
        id_token_signed_response_alg: algorithm as "RS256",
      },
    ],
    scopes: ["orders.read"],
    ttl: { ClientCredentials: 3600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => ({
          scope: "orders.read",
          audience: resource,
          accessTokenFormat: "jwt",
          accessTokenTTL: 3600,
          jwt: { sign: { alg: algorithm } },
        }),
      },
    },
  };
}

async function privateJwkOf({ privateKey, kid, algorithm }: TestKeyPair): Promise<JWK> {
  return { ...(await exportJWK(privateKey)), kid, alg: algorithm, use: "sig" } as JWK;
}
