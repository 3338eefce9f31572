import { canonicalFieldName } from "../gateway/field-names.ts";
import type { ListenAddress } from "../gateway/listen/listen-options.ts";
import type { RedisOptions } from "../issuer/keys/redis/redis-options.ts";
import { pendingSecondsOf, type Rotation, retiringSecondsOf } from "../issuer/keys/ring.ts";
import { parseRange } from "../policy/authenticators/address-ranges.ts";
import type { AuthenticatorOptions, JwtOptions } from "../policy/authenticators/options.ts";
import type { Policy, TokenSettings } from "../policy/policy.ts";
import type { Config } from "./config.ts";
import type { KeyPath } from "./document.ts";
import { keyNeedsOf } from "./key-needs.ts";
import { issuerUrlOf } from "./listener-urls.ts";
import type { SidecarFile } from "./schema.ts";
import type { TokenSection } from "./token-section.ts";
import { isWildcard } from "./wildcard.ts";

/** Something doubtful, and the way to the value in the file that it is about. */
export interface Warning {
  readonly path: KeyPath;
  readonly message: string;
}

/**
 * What is doubtful about a configuration that can be used.
 *
 * @param file what {@link config} was made from
 */
export function warningsOf(config: Config, file: SidecarFile): Warning[] {
  return [
    ...aboutIssuerClaims(file),
    ...aboutKeys(config),
    ...aboutReuse(file),
    ...aboutAdmin(config),
    ...aboutUpstreams(file),
    ...aboutIssuerUrl(config),
    ...aboutTrustedProxies(config),
    ...aboutPolicies(config),
    ...aboutAuthenticators(config),
  ];
}

function aboutIssuerClaims({ token, policies = [] }: SidecarFile): Warning[] {
  const message =
    "overrides the issuer: a backend that compares iss with the discovery document will refuse the token";
  const ofPolicies = policies.map((policy, index) => ({
    path: ["policies", index, "token"],
    token: policy.token,
  }));
  return [{ path: ["token"], token }, ...ofPolicies]
    .filter((section) => overridesIssuer(section.token))
    .map(({ path }) => ({ path: [...path, "additionalClaims", "iss"], message }));
}

function overridesIssuer(token: TokenSection | "none" | undefined): boolean {
  return typeof token === "object" && (token.additionalClaims?.iss ?? null) !== null;
}

function aboutKeys(config: Config): Warning[] {
  const { keys } = config.issuer;
  if (keys.kind === "ephemeral") {
    const message =
      "the signing key is lost at every restart, and backends refuse tokens until they fetch the new one; use a directory in production";
    return [{ path: ["issuer", "keys", "ephemeral"], message }];
  }
  if (keys.kind !== "directory" && keys.kind !== "redis") return [];
  return [...aboutRotation(config, keys.rotation), ...(keys.kind === "redis" ? aboutRedis(keys.redis) : [])];
}

function aboutRedis({ tls }: RedisOptions): Warning[] {
  if (!tls?.skipVerification) return [];
  const message =
    "whoever is on the way can take the place of Redis, and learns the password; name its CA in ca instead";
  return [{ path: ["issuer", "keys", "redis", "tls", "dangerouslySkipVerification"], message }];
}

function aboutRotation(config: Config, rotation: Rotation): Warning[] {
  if (rotation.everySeconds === undefined) return [];
  const longest = Math.max(...keyNeedsOf(config).map(({ longestLifetimeSeconds }) => longestLifetimeSeconds));
  const publishedSeconds = pendingSecondsOf(rotation) + retiringSecondsOf(longest);
  const count = 1 + Math.ceil(publishedSeconds / rotation.everySeconds);
  if (count <= MANY_KEYS) return [];
  const message = `about ${count} keys of an algorithm are published at once, because each is kept until its longest token (${longest} s) has ended; rotate less often, or shorten the tokens`;
  return [{ path: ["issuer", "keys", "rotateEvery"], message }];
}

/** A JWK Set that verifiers read again and again should stay small. */
const MANY_KEYS = 8;

function aboutReuse({ token, policies = [] }: SidecarFile): Warning[] {
  const message = "has no effect: tokenId gives every token an id of its own, so none is used again";
  const contradicts = (section: TokenSection | "none" | undefined) =>
    typeof section === "object" && section.reuse === true && section.tokenId === true;
  return [
    { path: ["token", "reuse"], section: token },
    ...policies.map((policy, index) => ({
      path: ["policies", index, "token", "reuse"],
      section: policy.token,
    })),
  ].flatMap(({ path, section }) => (contradicts(section) ? [{ path, message }] : []));
}

function aboutAdmin({ admin, identity }: Config): Warning[] {
  if (!admin || !identity || isLocal(admin.address)) return [];
  const message =
    "the admin listener can be reached from other machines, and whoever reaches it gets ID tokens of this deployment; listen on 127.0.0.1 unless a firewall is in front";
  return [{ path: ["admin"], message }];
}

function isLocal(address: ListenAddress): boolean {
  return address.kind === "unix" || (address.kind === "tcp" && isLoopback(address.host));
}

function isLoopback(host: string | undefined): boolean {
  return host !== undefined && (host === "localhost" || host === "::1" || host.startsWith("127."));
}

function aboutUpstreams({ upstream, policies = [] }: SidecarFile): Warning[] {
  const message = "whoever is between here and the backend can read every token and change every answer";
  const ofPolicies = policies.map((policy, index) => ({
    path: ["policies", index, "upstream"],
    tls: policy.upstream?.tls,
  }));
  return [{ path: ["upstream"], tls: upstream.tls }, ...ofPolicies].flatMap(({ path, tls }) =>
    tls?.dangerouslySkipVerification
      ? [{ path: [...path, "tls", "dangerouslySkipVerification"], message }]
      : [],
  );
}

function aboutIssuerUrl({ issuer: { url, basePath }, listen, tokenEndpoint }: Config): Warning[] {
  if (url === undefined) {
    const [first] = listen;
    if (!isWildcard(first.address)) return [];
    const message =
      "the sidecar listens on every address and issuer.url is not set, so tokens name 127.0.0.1 as their issuer; set issuer.url to a URL that the backend can reach";
    return [{ path: ["listen"], message }];
  }
  if (new URL(url).pathname.endsWith(basePath)) return [];
  const message = `verifiers look for the keys below this URL, and the sidecar serves them under ${basePath}; end the URL with it, unless a proxy in front rewrites the path, or it is that of a copy (countersign issuer export)`;
  const warnings = [{ path: ["issuer", "url"], message }];
  if (!tokenEndpoint || tokenEndpoint.url !== undefined) return warnings;
  const atToken = `clients look for it at ${url}/token, and the sidecar serves it at ${basePath}/token: say with the key url where they reach it`;
  return [...warnings, { path: ["tokenEndpoint"], message: atToken }];
}

function aboutTrustedProxies({ trustedProxies }: Config): Warning[] {
  const message = "whoever can reach the sidecar may say who the client is, and which host it asks for";
  return trustedProxies.flatMap((range, index) =>
    parseRange(range)?.bits === 0 ? [{ path: ["trustedProxies", index], message }] : [],
  );
}

function aboutPolicies({ policies, issuer: { basePath } }: Config): Warning[] {
  const warnings = policies.flatMap(({ match }, index) =>
    isUnder(basePath, match)
      ? [
          {
            path: ["policies", index, "match", "path"],
            message: `never matches: the issuer answers every path under ${basePath}`,
          },
        ]
      : [],
  );
  const catchAll = policies.findIndex(
    ({ match }) => !match.methods && !match.hosts && matchesEveryPath(match),
  );
  if (catchAll === -1 || catchAll === policies.length - 1) return warnings;
  const message = `never matches: policies[${catchAll}] (${policies[catchAll]?.name}) before it matches every request`;
  return [...warnings, { path: ["policies", catchAll + 1], message }];
}

function isUnder(basePath: string, { path }: Policy["match"]): boolean {
  const source = path?.source ?? "";
  return [`${basePath}/`, `${basePath}{/`].some((start) => source.startsWith(start)) || source === basePath;
}

function matchesEveryPath({ path }: Policy["match"]): boolean {
  return path === undefined || /^\/\{?\*\w+\}?$/.test(path.source);
}

function aboutAuthenticators(config: Config): Warning[] {
  const { authenticators, policies, tokenEndpoint } = config;
  const asked = new Set([
    ...policies.flatMap(({ authenticate }) => authenticate),
    ...(tokenEndpoint ? [...tokenEndpoint.clients, ...tokenEndpoint.tokens] : []),
  ]);
  const tokenFields = new Set(
    policies.flatMap(({ token }) => (token === "none" ? [] : [canonicalFieldName(token.headerName)])),
  );
  const ownUrl = issuerUrlOf(config);
  return Object.entries(authenticators).flatMap(([name, options]) => {
    const path = ["authenticators", name];
    const isOwn = options.type === "jwt" && options.issuer === ownUrl;
    const warnings: Warning[] = asked.has(name)
      ? []
      : [{ path, message: "no policy asks this authenticator" }];
    warnings.push(...(isOwn ? aboutOwnTokens(options, path, config) : aboutTrust(options, path)));
    const isTaken = credentialFieldsOf(options).some((field) => tokenFields.has(canonicalFieldName(field)));
    if (options.forwardCredential && isTaken)
      warnings.push({
        path: [...path, "forwardCredential"],
        message:
          "has no effect: the field belongs to the token; give the token another headerName, or a JWT an originalTokenHeader",
      });
    return warnings;
  });
}

/** Tokens of the issuer here that would never be accepted, or that were not made for this. */
function aboutOwnTokens(
  { algorithms, audiences, typ }: JwtOptions,
  path: KeyPath,
  config: Config,
): Warning[] {
  const isForBackend = config.policies.some(
    ({ token }) =>
      token !== "none" && fixedAudiencesOf(token).some((audience) => audiences.includes(audience)),
  );
  if (typ === undefined && isForBackend) {
    const message =
      "takes what policies put on requests, too: they have this audience; give the API one of its own, or add the key typ: at+jwt";
    return [{ path: [...path, "audience"], message }];
  }
  const signing = new Set(keyNeedsOf(config).map(({ algorithm }) => algorithm));
  if (algorithms.some((algorithm) => signing.has(algorithm))) return [];
  const message = `no token of this issuer is accepted: they are signed with ${[...signing].join(", ")}; add the key algorithms: [${[...signing][0]}]`;
  return [{ path, message }];
}

/** The audiences of a policy's tokens, as far as they do not depend on the request. */
function fixedAudiencesOf({ audience }: TokenSettings): string[] {
  return audience?.kind === "literal" ? [audience.value].flat().map(String) : [];
}

/** Whom an authenticator believes without having a reason to. */
function aboutTrust(options: AuthenticatorOptions, path: KeyPath): Warning[] {
  if (options.type === "jwt" && options.keys.kind !== "file") {
    const key = options.keys.kind === "jwksUri" ? "jwksUri" : "issuer";
    const url = new URL(options.keys.kind === "jwksUri" ? options.keys.url : options.issuer);
    if (url.protocol === "https:" || isLoopback(url.hostname)) return [];
    const message =
      "the keys are fetched over http, so whoever is on the way can put others in their place; use https";
    return [{ path: [...path, key], message }];
  }
  const ranges = "from" in options ? (options.from ?? []) : [];
  return ranges.flatMap((range, index) =>
    parseRange(range)?.bits === 0
      ? [{ path: [...path, "from", index], message: "whoever can reach the sidecar may say who is calling" }]
      : [],
  );
}

function credentialFieldsOf(options: AuthenticatorOptions): string[] {
  if (options.type === "trustedHeader") return [options.header];
  if (options.type === "basic") return ["authorization"];
  return "source" in options && options.source.kind === "header" ? [options.source.name] : [];
}
