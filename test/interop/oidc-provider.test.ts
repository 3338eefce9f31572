import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { decodeJwt, decodeProtectedHeader, exportJWK, type JWTPayload } from "jose";
import Provider, { type Configuration, type JWK } from "oidc-provider";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { SigningAlgorithm } from "../../src/issuer/algorithms.ts";
import { startBackend } from "../support/backend.ts";
import { createTestClock, type TestClock } from "../support/caller.ts";
import { generateTestKeyPair, type TestKeyPair } from "../support/identity-provider.ts";
import { startSidecar } from "../support/sidecar.ts";

const AUDIENCE = "https://orders.internal";
const CLIENT = { id: "nightly-export", secret: "a-secret-of-the-test" };

// It warns of what is right in a test: that it keeps everything in memory.
beforeAll(() => {
  vi.spyOn(console, "warn").mockReturnValue();
});
afterAll(() => {
  vi.restoreAllMocks();
});

/** What a caller is answered, and what the backend hears of it. */
interface Answer {
  readonly status: number;
  /** Of the problem, where the request was refused. */
  readonly code: string | undefined;
  readonly challenge: string | null;
  /** Of the token that the backend got; `undefined` where it got no request. */
  readonly claims: JWTPayload | undefined;
}

/** Something behind which callers stand with the tokens of an issuer. */
interface Verifier extends AsyncDisposable {
  ask(token: string): Promise<Answer>;
}

/** Opens a sidecar that knows the callers of an issuer. */
async function openVerifier(issuer: string, clock: TestClock): Promise<Verifier> {
  const backend = await startBackend((request, response) => response.end(request.headers.authorization));
  const sidecar = await startSidecar(backend.url, {
    now: clock.now,
    yaml: `
authenticators:
  login: {type: jwt, issuer: "${issuer}", audience: "${AUDIENCE}", algorithms: [RS256, ES256]}
authenticate: [login]
token:
  audience: backend
  additionalClaims: {client: $user(client_id), scope: $user(scope), through: $user(iss), for: $user(aud)}
`,
  });
  return {
    async ask(token) {
      const response = await fetch(sidecar.url, { headers: { authorization: `Bearer ${token}` } });
      const body = await response.text();
      return {
        status: response.status,
        code: response.ok ? undefined : (JSON.parse(body) as { code: string }).code,
        challenge: response.headers.get("www-authenticate"),
        claims: response.ok ? decodeJwt(body.replace(/^Bearer /, "")) : undefined,
      };
    },
    async [Symbol.asyncDispose]() {
      await sidecar.close();
      await backend[Symbol.asyncDispose]();
    },
  };
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
    await using verifier = await openVerifier(login.issuer, clock);
    const statuses = async (...tokens: string[]) =>
      (await Promise.all(tokens.map(verifier.ask))).map(({ status }) => status);

    const before = await login.issueToken();
    expect(decodeProtectedHeader(before)).toMatchObject({ alg: algorithm, kid: "first", typ: "at+jwt" });
    expect((await verifier.ask(before)).claims).toMatchObject({
      sub: CLIENT.id,
      client: CLIENT.id,
      scope: "orders.read",
      through: login.issuer,
      for: AUDIENCE,
    });

    await login.useKeys([second, first]);
    clock.pass(30);
    const during = await login.issueToken();
    expect(decodeProtectedHeader(during).kid).toBe("second");
    expect(await statuses(before, during)).toEqual([200, 200]);

    await login.useKeys([second]);
    clock.pass(30);
    // A key that nobody knows has the keys fetched again, without the first.
    const unknown = `${Buffer.from(JSON.stringify({ alg: algorithm, kid: "third" })).toString("base64url")}.${during.split(".").slice(1).join(".")}`;
    expect(await statuses(unknown)).toEqual([401]);
    expect(await statuses(before, during)).toEqual([401, 200]);

    await login.stop();
    clock.pass(30);
    expect(await statuses(during, unknown)).toEqual([200, 503]);
  },
);

test("an opaque access token of oidc-provider, and a JWT for another resource, are refused", async () => {
  await using login = await startOidcProvider();
  await login.useKeys([generateTestKeyPair("first", "RS256")]);
  await using verifier = await openVerifier(login.issuer, createTestClock(Date.now()));
  expect(await verifier.ask(await login.issueToken(null))).toEqual({
    status: 401,
    code: "ERR_CREDENTIAL_INVALID",
    challenge:
      'Bearer realm="countersign", error="invalid_token", error_description="the credential is not a JWT"',
    claims: undefined,
  });
  expect(await verifier.ask(await login.issueToken("https://billing.internal"))).toMatchObject({
    status: 401,
    challenge: expect.stringContaining("the token is for another audience"),
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
