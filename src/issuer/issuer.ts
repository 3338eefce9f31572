import { DURATION_EXPECTED, parseDuration } from "../duration.ts";
import { CountersignError } from "../errors.ts";
import { SIGNING_ALGORITHMS, type SigningAlgorithm } from "./algorithms.ts";
import { type Claims, REMEDY_BY_RESERVED_CLAIM, type TokenRequest } from "./claims-set.ts";
import { KeyError } from "./keys/key-error.ts";
import type { IssuerKeys, KeySet } from "./keys/key-set.ts";
import type { PublicJwk } from "./keys/signing-key.ts";
import { metadataOf, type ProviderMetadata, type TokenEndpointMetadata } from "./metadata.ts";
import type { Tokens } from "./tokens.ts";

/** What a token of {@link Issuer.signJwt} says. */
export interface SignJwtOptions {
  /** The `sub` claim. */
  readonly subject: string;
  /** The `aud` claim; left out where absent. */
  readonly audience?: string | readonly string[] | undefined;
  /** A number of seconds, or a string such as `"5m"`. Default: the issuer's. */
  readonly expiresIn?: number | string | undefined;
  /** Further claims. `iss` may be replaced; `sub`, `aud`, `exp`, `iat`, `nbf` and `jti` are refused. */
  readonly additionalClaims?: Claims | undefined;
  /** Default: the issuer's. */
  readonly algorithm?: SigningAlgorithm | undefined;
  /** Adds `nbf`. Default: false. */
  readonly notBefore?: boolean | undefined;
  /** Adds a unique `jti`. Default: false. */
  readonly tokenId?: boolean | undefined;
}

/** Signs tokens, and says how they are verified. */
export interface Issuer {
  /** The `iss` of the tokens. */
  readonly url: string;
  /** How long verifiers may keep the JWK Set. */
  readonly jwksMaxAgeSeconds: number;
  /**
   * Signs a new token (JWS Compact Serialization, RFC 7515 §3.1). A key that retires before the token ends stays
   * published until then.
   *
   * @throws {CountersignError} ERR_TOKEN_REQUEST when the options ask for a token that cannot be
   * @throws {KeyError} ERR_KEY when there is no key for the algorithm
   */
  signJwt(options: SignJwtOptions): Promise<string>;
  /**
   * An ID token that says which deployment this is; the same one for as long as half its life is left.
   *
   * @param options `audience`: the `aud` claim, one that `identity.audiences` allows; left out where absent
   * @throws {CountersignError} ERR_IDENTITY_UNKNOWN when the issuer has no `identity`
   * @throws {CountersignError} ERR_AUDIENCE_NOT_ALLOWED when the audience is not allowed
   */
  getIdToken(options?: { readonly audience?: string | undefined }): Promise<string>;
  /**
   * The public keys, the signing ones first (RFC 7517 §5). The same object as long as nothing changes.
   *
   * @throws {KeyError} ERR_KEY while other replicas may sign with keys that this one does not know
   */
  jwks(): JwkSet;
  /**
   * The provider's metadata, for discovery. The same object as long as nothing changes.
   *
   * @throws {KeyError} ERR_KEY as {@link Issuer.jwks}
   */
  metadata(): ProviderMetadata;
  /** Reads the keys' source again, and does what is due. It is done every half minute and when the source changes. */
  refreshKeys(): Promise<void>;
  /** Stops watching the keys. */
  close(): Promise<void>;
}

/** A JWK Set (RFC 7517 §5). */
export interface JwkSet {
  readonly keys: readonly PublicJwk[];
}

/** Which deployment this is, for ID tokens. */
export interface Identity {
  readonly subject: string;
  /** Such as account, project, deployment and environment_type. */
  readonly claims: Claims;
  readonly algorithm: SigningAlgorithm;
  readonly lifetimeSeconds: number;
  /** The audiences that a token may be for; any where this is empty. */
  readonly audiences: readonly string[];
}

/** How an issuer issues. */
export interface IssuerSettings {
  /** The default of {@link Issuer.signJwt}. */
  readonly algorithm: SigningAlgorithm;
  /** The default of {@link Issuer.signJwt}. */
  readonly expiresInSeconds: number;
  readonly jwksMaxAgeSeconds: number;
  readonly identity: Identity | undefined;
  /** For the metadata alone: whoever has one answers there. Default: there is none. */
  readonly tokenEndpoint?: TokenEndpointMetadata | undefined;
}

/** Creates an issuer over keys that have been opened, and the tokens that they sign. */
export function issuerOver(
  url: string,
  keys: IssuerKeys,
  tokens: Tokens,
  { algorithm, expiresInSeconds, jwksMaxAgeSeconds, identity, tokenEndpoint }: IssuerSettings,
): Issuer {
  let documents = documentsOf(keys.current(), url, identity, tokenEndpoint);

  function currentDocuments(): Documents {
    // Asked once: the moment after, they may be withheld.
    const keySet = keys.current();
    // An empty set would be kept by verifiers, and refuse every token.
    if (keySet.withheld !== undefined) throw new KeyError(url, keySet.withheld);
    if (documents.keySet !== keySet) documents = documentsOf(keySet, url, identity, tokenEndpoint);
    return documents;
  }

  return {
    url,
    jwksMaxAgeSeconds,
    async signJwt(options) {
      if (typeof options !== "object" || options === null)
        throw refused("expected a map with the key subject");
      return tokens.tokenFor({
        subject: checkedText("subject", options.subject),
        audience: checkedAudience(options.audience),
        lifetimeSeconds: lifetimeOf(options.expiresIn, expiresInSeconds),
        additionalClaims: checkedClaims(options.additionalClaims),
        notBefore: options.notBefore ?? false,
        tokenId: options.tokenId ?? false,
        reuse: false,
        algorithm: checkedAlgorithm(options.algorithm ?? algorithm),
        purpose: "token",
      });
    },
    async getIdToken(options) {
      if (!identity)
        throw new CountersignError("ERR_IDENTITY_UNKNOWN", "no `identity` is configured for this issuer");
      return tokens.tokenFor(idTokenRequest(identity, options?.audience));
    },
    jwks: () => currentDocuments().jwks,
    metadata: () => currentDocuments().metadata,
    refreshKeys: () => keys.refresh(),
    close: () => keys.close(),
  };
}

interface Documents {
  /** What they were made from. */
  readonly keySet: KeySet;
  readonly jwks: JwkSet;
  readonly metadata: ProviderMetadata;
}

function documentsOf(
  keySet: KeySet,
  url: string,
  identity: Identity | undefined,
  tokenEndpoint: TokenEndpointMetadata | undefined,
): Documents {
  return {
    keySet,
    jwks: Object.freeze({ keys: keySet.published }),
    metadata: metadataOf(url, keySet.published, Object.keys(identity?.claims ?? {}), tokenEndpoint),
  };
}

function idTokenRequest(identity: Identity, audience: string | undefined): TokenRequest {
  const { subject, claims, algorithm, lifetimeSeconds, audiences } = identity;
  if (audience === "") throw new CountersignError("ERR_AUDIENCE_NOT_ALLOWED", "the audience is empty");
  // A token for nobody in particular is one for everybody.
  if (audiences.length > 0 && (audience === undefined || !audiences.includes(audience)))
    throw new CountersignError(
      "ERR_AUDIENCE_NOT_ALLOWED",
      audience === undefined
        ? "name an audience: identity.audiences says which there may be"
        : "this audience is not one of identity.audiences",
    );
  return {
    subject,
    audience,
    lifetimeSeconds,
    additionalClaims: claims,
    notBefore: false,
    tokenId: false,
    reuse: true,
    algorithm,
    purpose: "identity",
  };
}

function refused(problem: string): CountersignError {
  return new CountersignError("ERR_TOKEN_REQUEST", problem);
}

function checkedText(name: string, value: unknown): string {
  if (typeof value === "string" && value !== "") return value;
  throw refused(`${name}: expected a string that is not empty`);
}

function checkedAudience(audience: SignJwtOptions["audience"]): SignJwtOptions["audience"] {
  if (audience === undefined) return undefined;
  if (!Array.isArray(audience)) return checkedText("audience", audience);
  if (audience.length === 0) throw refused("audience: expected at least one");
  return audience.map((one) => checkedText("audience", one));
}

function lifetimeOf(expiresIn: number | string | undefined, defaultSeconds: number): number {
  if (expiresIn === undefined) return defaultSeconds;
  const seconds = parseDuration(expiresIn);
  if (seconds === undefined) throw refused(`expiresIn: ${DURATION_EXPECTED}`);
  return seconds;
}

function checkedAlgorithm(algorithm: SigningAlgorithm): SigningAlgorithm {
  if (SIGNING_ALGORITHMS.includes(algorithm)) return algorithm;
  throw refused(`algorithm: expected one of ${SIGNING_ALGORITHMS.join(", ")}`);
}

const REMEDIES: Readonly<Record<string, string>> = {
  sub: "use subject",
  aud: "use audience",
  exp: "use expiresIn",
  iat: "it is the time of signing",
  nbf: "use notBefore",
  jti: "use tokenId",
};

/** Claims as they will stand in the token: a copy, so that a change by the caller comes too late. */
function checkedClaims(claims: Claims | null = {}): Claims {
  let copy: unknown;
  try {
    copy = JSON.parse(JSON.stringify(claims));
  } catch {
    // A circle, or a bigint.
  }
  if (typeof copy !== "object" || copy === null || Array.isArray(copy))
    throw refused("additionalClaims: expected a map of JSON values");
  // Of the copy: a `toJSON` says what it likes.
  const names = Object.keys(copy);
  // A verifier that merges the claims into an object of its own would change what that inherits.
  if (names.includes("__proto__")) throw refused("additionalClaims.__proto__ cannot be the name of a claim");
  const reserved = Object.keys(REMEDY_BY_RESERVED_CLAIM).find((name) => names.includes(name));
  if (reserved === undefined) return copy as Claims;
  throw refused(`additionalClaims.${reserved} cannot be set; ${REMEDIES[reserved]}`);
}
