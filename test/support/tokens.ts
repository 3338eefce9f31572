import { exportPKCS8, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import type { SigningAlgorithm } from "../../src/issuer/algorithms.ts";
import { startBackend } from "./backend.ts";
import { startSidecar, type TestSidecar } from "./sidecar.ts";

/** The audience that every verifier in a test expects. */
export const AUDIENCE = "https://orders.internal";

/** What a token is like: right in everything, or wrong in one thing alone. */
export type TokenKind = "right" | "for another audience" | "of another issuer" | "that expired";

/** The path that a policy matches, which makes the token so. */
const PATHS: Readonly<Record<TokenKind, string>> = {
  right: "/orders",
  "for another audience": "/another-audience",
  "of another issuer": "/another-issuer",
  "that expired": "/expired",
};

const POLICIES = `
token: {audience: ${AUDIENCE}, expiresIn: 5m}
policies:
  - name: another-audience
    match: {path: /another-audience}
    token: {audience: https://billing.internal}
  - name: another-issuer
    match: {path: /another-issuer}
    token: {additionalClaims: {iss: https://issuer.example}}
  - name: expired
    match: {path: /expired}
    token: {tokenId: true} # so that it is signed at its own time
  - name: everything-else
`;

/** A sidecar that can be asked for tokens of each kind. */
export interface TokenSidecar extends TestSidecar {
  /** Sends a request to the upstream, which gets it with a token of this kind. */
  request(kind?: TokenKind): Promise<Response>;
  /** Signs any claims at all with the sidecar's key, unless `keys` was given. */
  sign(claims: JWTPayload): Promise<string>;
}

/** What else {@link startTokenSidecar} takes. */
export interface TokenSidecarOptions {
  /** What `issuer.keys` is, in YAML. Default: a key from the environment. */
  readonly keys?: string | undefined;
}

/** Starts a sidecar that signs with `algorithm`, in front of `upstream`. */
export async function startTokenSidecar(
  upstream: string,
  algorithm: SigningAlgorithm,
  { keys = "{env: TEST_SIGNING_KEY}" }: TokenSidecarOptions = {},
): Promise<TokenSidecar> {
  let lagMilliseconds = 0;
  const { privateKey } = await generateKeyPair(algorithm, { extractable: true });
  const sidecar = await startSidecar(upstream, {
    yaml: `issuer: {algorithm: ${algorithm}, keys: ${keys}}${POLICIES}`,
    now: () => Date.now() - lagMilliseconds,
    env: { TEST_SIGNING_KEY: await exportPKCS8(privateKey) },
  });
  return {
    ...sidecar,
    async request(kind = "right") {
      lagMilliseconds = kind === "that expired" ? 3_600_000 : 0;
      try {
        return await fetch(sidecar.url + PATHS[kind]);
      } finally {
        lagMilliseconds = 0;
      }
    },
    sign(claims) {
      const [kid = ""] = sidecar.issuer.jwks().keys.map((key) => key.kid);
      return new SignJWT(claims).setProtectedHeader({ alg: algorithm, kid }).sign(privateKey);
    },
  };
}

/** An issuer of which only the tokens matter: a sidecar, and behind it a backend that keeps what it gets. */
export interface TokenService extends AsyncDisposable {
  /** The `iss` of the tokens. */
  readonly issuer: string;
  readonly jwksUri: string;
  /** The token that the backend got for one request through the sidecar. */
  token(kind?: TokenKind): Promise<string>;
}

/** Starts a {@link TokenService}: `await using service = await startTokenService("ES256")`. */
export async function startTokenService(algorithm: SigningAlgorithm): Promise<TokenService> {
  const backend = await startBackend();
  const sidecar = await startTokenSidecar(backend.url, algorithm);
  return {
    issuer: sidecar.issuer.url,
    jwksUri: `${sidecar.issuer.url}/.well-known/jwks.json`,
    async token(kind) {
      await sidecar.request(kind);
      const field = backend.requests.at(-1)?.headers.authorization ?? "";
      return field.replace(/^Bearer /, "");
    },
    async [Symbol.asyncDispose]() {
      await sidecar.close();
      await backend[Symbol.asyncDispose]();
    },
  };
}

/** The same token with one byte of its payload changed: another subject, under the old signature. */
export function withPayloadByteChanged(token: string): string {
  const [header, payload = "", signature] = token.split(".");
  const changed = Buffer.from(payload, "base64url").toString().replace("api-gateway", "bpi-gateway");
  return [header, Buffer.from(changed).toString("base64url"), signature].join(".");
}
