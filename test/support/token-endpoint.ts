import bcrypt from "bcrypt";
import { createLocalJWKSet, type JWTPayload, jwtVerify } from "jose";
import type { RequestObserver } from "../../src/gateway/request-record.ts";
import { apiKeyEntry } from "./api-keys.ts";
import { startBackend } from "./backend.ts";
import { startIdentityProvider, type TestIdentityProvider } from "./identity-provider.ts";
import { noteSecret } from "./secrets.ts";
import { startSidecar, type TestSidecar } from "./sidecar.ts";

/** The only audience that tokens may be for, unless the YAML says otherwise. */
export const API = "https://api.example.com";
/** The key of the client `acme`. */
export const ACME_KEY = "acme's key: 100 % secret+";
/** The key of the client `batch`. */
export const BATCH_KEY = "batch's key";
/** The password of the client `ops`. */
export const OPS_PASSWORD = "correct horse";

export const CLIENT_CREDENTIALS = "client_credentials";
export const TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
export const JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt";

/** Parameters of a form; a list stands there several times. */
export type Parameters = Readonly<Record<string, string | readonly string[]>>;

/** A sidecar with a token endpoint, and everybody who may use it. */
export interface TestTokenEndpoint extends AsyncDisposable {
  readonly sidecar: TestSidecar;
  /** Of the endpoint. */
  readonly url: string;
  /** Whose tokens may be exchanged. */
  readonly provider: TestIdentityProvider;
  /** Asks for a token. */
  ask(parameters: Parameters, headers?: Readonly<Record<string, string>>): Promise<TokenAnswer>;
  /** Asks as the client `acme`. */
  askAsAcme(parameters: Parameters): Promise<TokenAnswer>;
  /** Asks `acme` to exchange a token of the provider with these claims. */
  exchange(claims?: Readonly<Record<string, unknown>>, parameters?: Parameters): Promise<TokenAnswer>;
  /** The claims of an access token, once its signature, type, issuer and audience are known to be good. */
  claimsOf(answer: TokenAnswer): Promise<JWTPayload>;
}

/** What the endpoint answered. */
export interface TokenAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What {@link startTokenEndpoint} takes. */
export interface TestTokenEndpointOptions {
  /** Who may ask, in the flow form of YAML: keys of `tokenEndpoint`. Default: everybody. */
  readonly callers?: string;
  /** Further keys of `tokenEndpoint`, likewise. Default: {@link API} is the only audience. */
  readonly endpoint?: string;
  /** Claims that a token has to have to be exchanged. Default: none. */
  readonly requiredClaims?: readonly string[];
  /** A further entry of `authenticators`, in YAML. */
  readonly moreAuthenticators?: string;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly onRequestEnd?: RequestObserver;
  /** Further YAML. */
  readonly yaml?: string;
}

/** Starts a sidecar with the clients `acme` and `batch` (API keys), `ops` (password) and `app` (no secret), and an identity provider. */
export async function startTokenEndpoint(options: TestTokenEndpointOptions = {}): Promise<TestTokenEndpoint> {
  const {
    callers = "authenticate: [partners, staff, login], publicClients: [app]",
    endpoint = `audiences: [${API}]`,
    requiredClaims = [],
    moreAuthenticators = "",
    now = Date.now,
    onRequestEnd,
    yaml = "",
  } = options;
  const backend = await startBackend();
  const provider = await startIdentityProvider({ now });
  noteSecret(OPS_PASSWORD);
  const sidecar = await startSidecar(backend.url, {
    now,
    ...(onRequestEnd && { onRequestEnd }),
    yaml: `
authenticators:
  partners:
    type: apiKey
    header: X-Api-Key
    keys:
      - ${apiKeyEntry(ACME_KEY, "acme", 'claims: {plan: gold, scope: "orders.read orders.write"}')}
      - ${apiKeyEntry(BATCH_KEY, "batch", "claims: {scp: [orders.read]}")}
  staff:
    type: basic
    users: [{username: ops, passwordHash: "${await bcrypt.hash(OPS_PASSWORD, 4)}"}]
  login:
    type: jwt
    issuer: "${provider.url}"
    audience: orders
    algorithms: [ES256]
    requiredClaims: ${JSON.stringify(requiredClaims)}
  ${moreAuthenticators}
authenticate: [partners]
tokenEndpoint: {${callers}, ${endpoint}}
${yaml}`,
  });
  const url = `${sidecar.url}/__issuer/token`;

  async function ask(
    parameters: Parameters,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<TokenAnswer> {
    const body = new URLSearchParams(
      Object.entries(parameters).flatMap(([name, value]) => [value].flat().map((one) => [name, one])),
    );
    return answerOf(await fetch(url, { method: "POST", body, headers }));
  }
  const askAsAcme = (parameters: Parameters) =>
    ask({ client_id: "acme", client_secret: ACME_KEY, ...parameters });

  return {
    sidecar,
    url,
    provider,
    ask,
    askAsAcme,
    async exchange(claims = {}, parameters = {}) {
      const subjectToken = await provider.sign(claims);
      return askAsAcme({
        grant_type: TOKEN_EXCHANGE,
        subject_token: subjectToken,
        subject_token_type: JWT_TYPE,
        ...parameters,
      });
    },
    async claimsOf({ body }) {
      const { payload } = await jwtVerify(
        String(body.access_token),
        createLocalJWKSet({ keys: [...sidecar.issuer.jwks().keys] }),
        { issuer: sidecar.issuer.url, audience: API, typ: "at+jwt", currentDate: new Date(now()) },
      );
      return payload;
    },
    async [Symbol.asyncDispose]() {
      await sidecar.close();
      await provider[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
}

/** Reads an answer of the endpoint, which is JSON whatever it says. */
export async function answerOf(response: Response): Promise<TokenAnswer> {
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as TokenAnswer["body"],
  };
}

/** `client_secret_basic` (RFC 6749 §2.3.1). */
export function basic(clientId: string, clientSecret: string): Record<string, string> {
  const encoded = (text: string) => new URLSearchParams({ "": text }).toString().slice(1);
  return { authorization: `Basic ${btoa(`${encoded(clientId)}:${encoded(clientSecret)}`)}` };
}
