import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, type JWTHeaderParameters, SignJWT } from "jose";
import type { SigningAlgorithm } from "../../src/issuer/algorithms.ts";

/** A key pair as an identity provider has it. */
export interface TestKeyPair {
  readonly kid: string;
  readonly algorithm: SigningAlgorithm;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** A JWK, with whatever a test puts into it. */
export type TestJwk = Record<string, unknown>;

/** Claims of a token; an `undefined` one is left out. */
export type TestClaims = Readonly<Record<string, unknown>>;

/** A real HTTP server with discovery and a JWK Set, and the private keys to them. */
export interface TestIdentityProvider extends AsyncDisposable {
  /** Its `iss`. */
  readonly url: string;
  /** The paths that were asked for, in order. */
  readonly requests: string[];
  /** The key that signs. */
  key(): TestKeyPair;
  /** The JWK Set that is served. */
  jwks(): Promise<{ keys: TestJwk[] }>;
  /**
   * Signs a token with the current key: sub caller, aud {@link TEST_AUDIENCE}, five minutes.
   *
   * @param header merged over alg and kid; an `undefined` member is left out
   */
  sign(claims?: TestClaims, header?: Readonly<Record<string, unknown>>, key?: TestKeyPair): Promise<string>;
  /** Makes a new key that signs from now on. The ones before are published behind it unless they are withdrawn. */
  rotate(options?: { readonly withdraw?: boolean }): TestKeyPair;
  /** Publishes these JWKs instead of its own keys. */
  publish(jwks: readonly unknown[]): void;
  /** Answers a path in another way; `undefined` as it did before. */
  answer(path: string, listener: RequestListener | undefined): void;
  /** No connection is accepted any more. */
  takeDown(): Promise<void>;
  /** On the same port again. */
  bringUp(): Promise<void>;
}

/** What {@link startIdentityProvider} takes. */
export interface TestIdentityProviderOptions {
  readonly algorithm?: SigningAlgorithm;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** Stands behind the origin in the issuer's URL. */
  readonly path?: string;
}

/** The `aud` of tokens that say nothing else. */
export const TEST_AUDIENCE = "orders";
/** Where the discovery document of an issuer without a path is. */
export const DISCOVERY_PATH = "/.well-known/openid-configuration";
/** Where its keys are. */
export const JWKS_PATH = "/jwks";

/** Starts an identity provider with one key. */
export async function startIdentityProvider({
  algorithm = "ES256",
  now = Date.now,
  path = "",
}: TestIdentityProviderOptions = {}): Promise<TestIdentityProvider> {
  const requests: string[] = [];
  const listeners = new Map<string, RequestListener>();
  let keys = [generateTestKeyPair("key-1", algorithm)];
  let keysMade = 1;
  let published: readonly unknown[] | undefined;

  const jwks = async () => ({
    keys: (published ?? (await Promise.all(keys.map(publicJwkOf)))) as TestJwk[],
  });
  const server = createServer(async (request, response) => {
    const { url: asked = "" } = request;
    requests.push(asked);
    const listener = listeners.get(asked);
    if (listener) return listener(request, response);
    if (asked === `${path.replace(/\/$/, "")}${DISCOVERY_PATH}`)
      return response.end(JSON.stringify({ issuer: url, jwks_uri: `${origin}${JWKS_PATH}` }));
    if (asked === JWKS_PATH) return response.end(JSON.stringify(await jwks()));
    response.writeHead(404).end();
  });
  const listen = async (port: number) => {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  };
  const takeDown = async () => {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  };
  const port = await listen(0);
  const origin = `http://127.0.0.1:${port}`;
  const url = `${origin}${path}`;
  const key = () => keys[0] as TestKeyPair;

  return {
    url,
    requests,
    key,
    jwks,
    sign: (claims = {}, header = {}, signingKey = key()) =>
      signTestToken({ iss: url, ...timesAt(now()), ...claims }, header, signingKey),
    rotate({ withdraw = false } = {}) {
      keysMade += 1;
      keys = [generateTestKeyPair(`key-${keysMade}`, algorithm), ...(withdraw ? [] : keys)];
      return key();
    },
    publish(jwksToServe) {
      published = jwksToServe;
    },
    answer(path, listener) {
      if (listener) listeners.set(path, listener);
      else listeners.delete(path);
    },
    takeDown,
    async bringUp() {
      await listen(port);
    },
    [Symbol.asyncDispose]: takeDown,
  };
}

/** Signs a token for {@link TEST_AUDIENCE} and the sub caller, where the claims say nothing else. */
async function signTestToken(
  claims: TestClaims,
  header: Readonly<Record<string, unknown>>,
  { algorithm, kid, privateKey }: TestKeyPair,
): Promise<string> {
  const fullHeader = JSON.parse(JSON.stringify({ alg: algorithm, kid, ...header })) as JWTHeaderParameters;
  return await new SignJWT(JSON.parse(JSON.stringify({ sub: "caller", aud: TEST_AUDIENCE, ...claims })))
    .setProtectedHeader(fullHeader)
    .sign(privateKey);
}

/** `iat`, and `exp` five minutes later. */
function timesAt(milliseconds: number): { iat: number; exp: number } {
  const iat = Math.floor(milliseconds / 1000);
  return { iat, exp: iat + 300 };
}

/** The public JWK of a key pair. */
export async function publicJwkOf({ publicKey, kid, algorithm }: TestKeyPair): Promise<TestJwk> {
  return { ...(await exportJWK(publicKey)), kid, alg: algorithm, use: "sig" };
}

const CURVES: Readonly<Record<string, string>> = { ES256: "P-256", ES384: "P-384", ES512: "P-521" };

/** Makes a key pair that fits an algorithm. */
export function generateTestKeyPair(
  kid: string,
  algorithm: SigningAlgorithm,
  modulusLength = 2048,
): TestKeyPair {
  const curve = CURVES[algorithm];
  const pair = curve
    ? generateKeyPairSync("ec", { namedCurve: curve })
    : algorithm === "EdDSA"
      ? generateKeyPairSync("ed25519")
      : generateKeyPairSync("rsa", { modulusLength });
  return { kid, algorithm, ...pair };
}
